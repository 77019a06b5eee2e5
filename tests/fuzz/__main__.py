"""`python -m tests.fuzz TARGET SECONDS`: coverage-guided fuzzing by atheris, from the seeds that the target makes.

TARGET is scan, spec, stream or index. The inputs found so far stay in build/fuzz/TARGET; one that raises anything but a
ShardmillError ends it with the traceback, and is kept beside that folder.
"""

import importlib
import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]

_PLACE = Path("build/fuzz")


def main(name: str, seconds: int) -> None:
    """Fuzz one target; ends the process."""
    with atheris.instrument_imports(include=["engine", "shards"]):
        target = importlib.import_module(f"tests.fuzz.{name}")
    corpus = _PLACE / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", f"-artifact_prefix={_PLACE}/{name}-", "-rss_limit_mb=4096", "-timeout=20"]
    atheris.Setup([sys.argv[0], str(corpus), *options], target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
