"""An environment of the benchmark's own, made once: the other loaders need packages that clash with ours."""

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

from bench.machine import ROOT

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def python(folder: Path) -> Path:
    """The interpreter of the environment in `folder`/venv; it is made if it is not there, or not of these requirements.

    SHARDMILL_BENCH_PYTHON names another one to use instead.
    """
    python = os.environ.get("SHARDMILL_BENCH_PYTHON")
    if python:
        return Path(python)
    place, marker = folder / "venv", folder / "venv" / "requirements.sha256"
    digest = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
    interpreter = place / "bin" / "python"
    if not marker.is_file() or marker.read_text(encoding="ascii") != digest:
        print(f"making the environment {place} (once; several GB)", flush=True)
        venv.create(place, clear=True, with_pip=True)
        line = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS]
        subprocess.run(line, check=True)
        marker.write_text(digest, encoding="ascii")  # last: an installation that was cut short is made again
    return interpreter


def variables() -> dict[str, str]:
    """The environment variables of a measuring process."""
    quiet = {"PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    return {**os.environ, **quiet, "PYTHONPATH": str(ROOT)}
