"""A run of the fake generator, with some of its units finished."""

from collections.abc import Callable
from pathlib import Path

from engine.config.spec_file import load_spec
from engine.generators.generator import Request
from engine.run.run import Run, begin_run, plan_run
from engine.worker.runner import run_unit
from tests.engine.fakes import FakeGenerator

TEXT = """
name: three
seed: 5
classes: [cat, sea lion, größe]
plan: {per_class: 12}
model: {source: embedded/digits, batch_size: 4}
output: {samples_per_shard: 6, image: {size: 16}}
"""
UNITS = 6


def begin(folder: Path, *overrides: str, place: str | None = None) -> Run:
    """Begin the run at `place`, by default in `folder/run`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "given.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return begin_run(plan_run(load_spec(path, overrides)), place or folder / "run")


def make(run: Run, *units: int, blank: Callable[[Request], bool] = lambda _: False) -> Run:
    """Make these units. Images that `blank` selects get one colour and are rejected."""
    for unit in units:
        run_unit(run.context, unit, FakeGenerator(4, 16, blank), run.shards)
    return run
