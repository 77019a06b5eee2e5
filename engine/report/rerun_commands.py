"""Shell commands that make, measure and check a run again."""

import shlex

from engine.run.run import Run


def rerun_commands(run: Run, key: str | None) -> list[tuple[str, str]]:
    """Return pairs of purpose and command. key: of a sample to replay; None if there is none yet."""
    folder = shlex.quote(run.store.url)
    spec = shlex.quote(f"{run.store}/spec.yaml")
    commands = [
        ("Make the shards, or resume making them", f"generate {spec} --out {folder}"),
        ("Measure whether they help", sweep_arguments(run)),
        ("Measure how near they are to real images", f"measure {folder}"),
        ("Check every byte and label", f"verify {folder}"),
        ("Make one image again", f"replay {folder} {key or 'KEY'}"),
    ]
    return [(purpose, f"python -m jobs {command}") for purpose, command in commands]
