"""What every recipe must do, whatever its generator: the same bytes with one maker and with three actors, the labels of
its plan, and one image again from its key."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.cluster.driver import generate
from engine.config.spec import Spec
from engine.config.spec_file import load_spec
from engine.generators.registry import load_generator
from engine.monitoring.run_progress import RunProgress
from engine.run.run import Run, begin_run, plan_run
from engine.worker.replay import replay
from engine.worker.runner import run_unit
from shards.storage.manifest import read_index_rows
from shards.tools.verify import verify_folder
from tests.conftest import ROOT, hashes

SPECS = ROOT / "jobs" / "specs"
ACTORS = 3


def shipped(name: str, *overrides: str) -> Spec:
    """A shipped spec, with a small model of the same class and small counts in the place of its own."""
    return load_spec(SPECS / name, overrides)


def make_everywhere(spec: Spec, folder: Path) -> Run:
    """Make the spec in this process, and by three actors of the running Ray: equal, valid, replayable."""
    alone = _begin(spec, folder / "alone")
    context = alone.context
    generator = load_generator(context.spec.model, context.spec.output.image, context.spec.cluster)
    for number in reversed(alone.pending()):
        run_unit(context, number, generator, alone.shards)
    alone.write_card()
    together = _begin(spec, folder / "together")
    with RunProgress(context.plan.classes, context.plan.quotas, []) as progress:
        generate(together, progress)
    together.write_card()
    assert context.plan.n_units >= ACTORS, "fewer units than actors show nothing"
    assert hashes(alone.store.local) == hashes(together.store.local)
    _check_labels(alone)
    key = rows(alone)[-1]["key"]
    assert replay(together, key).equal
    return together


def rows(run: Run) -> list[dict[str, Any]]:
    """The index of every sample, in order."""
    names = [run.context.plan.shard_name(number) for number in range(run.context.plan.n_units)]
    return [row for name in names for row in read_index_rows(run.shards.local / f"{name}.tar")]


def members(run: Run, rows: Sequence[dict[str, Any]], member: str) -> list[bytes]:
    """`image` or `mask` of each row."""
    found = []
    for row in rows:
        tar = run.shards.read(f"{run.context.plan.shard_name(row['unit'])}.tar")
        start = row[f"{member}_offset"]
        found.append(tar[start : start + row[f"{member}_size"]])
    return found


def _begin(spec: Spec, folder: Path) -> Run:
    cluster = spec.cluster.model_copy(update={"min_actors": ACTORS, "max_actors": ACTORS, "gpus_per_actor": 0.0})
    context = plan_run(spec.model_copy(update={"cluster": cluster}))
    return begin_run(context, folder)


def _check_labels(run: Run) -> None:
    plan = run.context.plan
    names = [plan.shard_name(number) for number in range(plan.n_units)]
    assert [found.text for found in verify_folder(run.shards, plan.classes, names, plan.digest)] == []
    found = rows(run)
    assert len(found) == plan.total
    for row in found:
        slot = plan.slot_of_key(row["key"])
        assert (row["label"], row["class_name"]) == (slot.label, plan.classes[slot.label])
        assert row["seed"] == plan.seed_of(slot, row["attempt"])
        assert row["synthetic"]
