"""Facts about the machine and the software of a measurement."""

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
    """Return the processor, its widest vector instructions, cores, GPU and driver if any, versions and commit."""
    commit = _output("git", "rev-parse", "--short", "HEAD")
    return {
        "cpu": _cpu_field("model name") or platform.machine(),
        "vectors": next((name for name in _VECTORS if name in _cpu_field("flags").split()), "unknown"),
        "cores": os.cpu_count(),
        **_gpu(),
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "commit": commit or "unknown",
    }


class Stolen:
    """The share of the cores' time that the host gave to other machines since this object was made.

    Linux counts it as "steal". If it is large, figures of different minutes are not comparable.
    """

    def __init__(self) -> None:
        self._before = _ticks()

    def share(self) -> float | None:
        """Return the share, 0 to 1; None if the system does not count it or no time has passed."""
        total, stolen = (now - before for now, before in zip(_ticks(), self._before, strict=True))
        return stolen / total if total else None


def _ticks(path: Path = Path("/proc/stat")) -> tuple[int, int]:
    """Return all ticks and the stolen ticks of all cores since boot, see proc_stat(5); zeros without /proc/stat."""
    # Ticks of guests are already part of the first two fields, so only the first eight count.
    ticks = [int(word) for word in path.read_text().split("\n")[0].split()[1:9]] if path.is_file() else []
    return sum(ticks), ticks[7] if len(ticks) == 8 else 0


def _gpu() -> dict[str, object]:
    lines = _output("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader").splitlines()
    if not lines:
        return {}
    name, _, driver = lines[0].partition(", ")
    return {"gpu": name, "gpus": len(lines), "driver": driver}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _output(program: str, *arguments: str) -> str:
    """Return what a program prints; an empty string if it is missing or fails."""
    path = shutil.which(program)
    if path is None:
        return ""
    process = subprocess.run([path, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return process.stdout.strip() if process.returncode == 0 else ""


def _cpu_field(name: str) -> str:
    """Return a field of the first processor in /proc/cpuinfo; an empty string if it is missing."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
