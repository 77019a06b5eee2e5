"""The machine and the versions that a measurement was made with."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("torch", "diffusers", "ray", "numpy", "opencv-python-headless")
_VECTORS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")
ROOT = Path(__file__).parents[1]


def machine() -> dict[str, object]:
    """Processor with its widest vectors, cores, GPU and its driver where there is one, versions and commit."""
    commit = _said("git", "rev-parse", "--short", "HEAD")
    return {
        "cpu": _of_cpu("model name") or platform.machine(),
        "vectors": next((one for one in _VECTORS if one in _of_cpu("flags").split()), "unknown"),
        "cores": os.cpu_count(),
        **_gpu(),
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "commit": commit or "unknown",
    }


class Stolen:
    """Share of the cores' time that this machine's host gave to others since this was made, as Linux counts it. Where
    that is much, figures of one minute and the next do not belong together."""

    def __init__(self) -> None:
        self._before = _ticks()

    def share(self) -> float | None:
        """0 to 1; None where the system does not say, or no time has gone by."""
        all_, stolen = (now - before for now, before in zip(_ticks(), self._before, strict=True))
        return stolen / all_ if all_ else None


def _ticks(path: Path = Path("/proc/stat")) -> tuple[int, int]:
    """Return the ticks of all cores since the start, and the stolen ones (proc_stat(5)); zeros without that file."""
    counted = [int(word) for word in path.read_text().split("\n")[0].split()[1:9]] if path.is_file() else []
    return sum(counted), counted[7] if len(counted) == 8 else 0


def _gpu() -> dict[str, object]:
    lines = _said("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader").splitlines()
    if not lines:
        return {}
    name, _, driver = lines[0].partition(", ")
    return {"gpu": name, "gpus": len(lines), "driver": driver}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _said(program: str, *arguments: str) -> str:
    """Return the output of a program; "" if it is missing or fails."""
    path = shutil.which(program)
    if path is None:
        return ""
    done = subprocess.run([path, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _of_cpu(name: str) -> str:
    """Return a field of the first processor in /proc/cpuinfo; "" if it is missing."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
