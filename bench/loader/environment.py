"""A virtual environment for the benchmark, because the other loaders need packages that conflict with ours."""

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

from bench.machine import ROOT

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def python(folder: Path) -> Path:
    """Return the interpreter of the environment in `folder`/venv, which is created if missing or outdated.

    The environment variable SHARDMILL_BENCH_PYTHON names another interpreter to use instead.
    """
    if override := os.environ.get("SHARDMILL_BENCH_PYTHON"):
        return Path(override)
    place, marker = folder / "venv", folder / "venv" / "requirements.sha256"
    digest = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
    interpreter = place / "bin" / "python"
    if not marker.is_file() or marker.read_text(encoding="ascii") != digest:
        print(f"creating the environment {place} (once; several GB)", flush=True)
        venv.create(place, clear=True, with_pip=True)
        line = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS]
        subprocess.run(line, check=True)
        marker.write_text(digest, encoding="ascii")  # last, so that an interrupted installation is repeated
    return interpreter


def variables() -> dict[str, str]:
    """Return the environment variables of a measuring process."""
    quiet = {"PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    return {**os.environ, **quiet, "PYTHONPATH": str(ROOT)}
