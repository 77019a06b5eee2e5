"""What every recipe must do, whatever its generator: the labels of its plan, one image again from its key, and the same
bytes by actors of Ray."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.cluster.driver import generate
from engine.config.spec import Spec
from engine.config.spec_file import load_spec
from engine.generators.generator import load_generator
from engine.monitoring.run_progress import RunProgress
from engine.run.run import Run, begin_run, plan_run
from engine.worker.replay import replay
from engine.worker.runner import run_unit
from shards.storage.manifest import read_index_rows
from shards.tools.verify import verify_folder
from tests.conftest import ROOT, hashes, start_ray

SPECS = ROOT / "jobs" / "specs"
ACTORS = 2


def shipped(name: str, *overrides: str) -> Spec:
    """A shipped spec, with a small model of the same class and small counts in the place of its own."""
    return load_spec(SPECS / name, overrides)


def make_recipe(spec: Spec, folder: Path) -> Run:
    """Make the spec in this process, in `folder`; check its labels, and make one image again from its key."""
    run = _begin(spec, folder)
    context = run.context
    generator = load_generator(context.spec.model, context.spec.output.image, context.spec.cluster)
    for number in reversed(run.pending()):
        run_unit(context, number, generator, run.shards)
    run.write_card()
    _check_labels(run)
    assert replay(run, rows(run)[-1]["key"]).equal
    return run


def assert_actors_make_the_same(run: Run, folder: Path) -> None:
    """Make a run of `make_recipe` once more, by two actors of Ray: its bytes are the same."""
    start_ray()
    again = _begin(run.context.spec, folder)
    with RunProgress(run.context.plan.classes, run.context.plan.quotas, []) as progress:
        generate(again, progress)
    assert run.context.plan.n_units > ACTORS
    assert hashes(again.store.local) == hashes(run.store.local)


def rows(run: Run) -> list[dict[str, Any]]:
    """Return the index row of every sample, in order."""
    names = [run.context.plan.shard_name(number) for number in range(run.context.plan.n_units)]
    return [row for name in names for row in read_index_rows(run.shards.local / f"{name}.tar")]


def members(run: Run, rows: Sequence[dict[str, Any]], member: str) -> list[bytes]:
    """Return the `image` or `mask` of each row."""
    contents = []
    for row in rows:
        tar = run.shards.read(f"{run.context.plan.shard_name(row['unit'])}.tar")
        start = row[f"{member}_offset"]
        contents.append(tar[start : start + row[f"{member}_size"]])
    return contents


def _begin(spec: Spec, folder: Path) -> Run:
    cluster = spec.cluster.model_copy(update={"min_actors": ACTORS, "max_actors": ACTORS, "gpus_per_actor": 0.0})
    context = plan_run(spec.model_copy(update={"cluster": cluster}))
    return begin_run(context, folder)


def _check_labels(run: Run) -> None:
    plan = run.context.plan
    names = [plan.shard_name(number) for number in range(plan.n_units)]
    assert [samples.text for samples in verify_folder(run.shards, plan.classes, names, plan.digest)] == []
    samples = rows(run)
    assert len(samples) == plan.total
    for row in samples:
        slot = plan.slot_of_key(row["key"])
        assert (row["label"], row["class_name"]) == (slot.label, plan.classes[slot.label])
        assert row["seed"] == plan.seed_of(slot, row["attempt"])
        assert row["synthetic"]
