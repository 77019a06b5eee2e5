"""Shell commands that make, measure and check a run again."""

import shlex

from engine.run.run import Run


def sweep_command(run: Run) -> str:
    """Return the command that measures whether the run's images help."""
    spec, folder = _arguments(run)
    return f"python -m jobs sweep {spec} --out {folder}"


def rerun_commands(run: Run, key: str | None) -> list[tuple[str, str]]:
    """Return pairs of purpose and command. key: of a sample to replay; None if there is none yet."""
    spec, folder = _arguments(run)
    return [
        ("Make the shards, or resume making them", f"python -m jobs generate {spec} --out {folder}"),
        ("Measure whether they help", sweep_command(run)),
        ("Measure how near they are to real images", f"python -m jobs measure {folder}"),
        ("Check every byte and label", f"python -m jobs verify {folder}"),
        ("Make one image again", f"python -m jobs replay {folder} {key or 'KEY'}"),
    ]


def _arguments(run: Run) -> tuple[str, str]:
    return shlex.quote(f"{run.store}/spec.yaml"), shlex.quote(run.store.url)
