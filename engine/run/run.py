"""A run: a folder, or a prefix of an object store, with what it was begun with and the units that are finished.

RUN/spec.yaml      the resolved spec
RUN/plan.json      classes, counts of real images, quotas and digest
RUN/inputs/        copies of the files that the spec names, and the images of its conditions
RUN/shards/        the synthetic shards
RUN/real/<split>/  the real images of a split as shards, once a sweep needed them
"""

import json
import time
from dataclasses import dataclass, replace

from engine.config.spec import Spec
from engine.config.spec_file import differences, dump_spec, identity, parse_as
from engine.data.splits import load_splits
from engine.errors import OutputError, RunMismatch, SpecError
from engine.models.resolve import check_models, pin
from engine.run.assets import Assets, check_stored, gather_assets, store_assets, stored_assets
from engine.run.plan import make_plan, plan_of
from engine.run.preflight import check_colours, check_sources
from engine.run.run_context import RunContext
from shards.stats import STATS_SUFFIX, Stats
from shards.storage.manifest import finished_shards, read_all_stats
from shards.storage.open_store import open_store
from shards.storage.store import Store, StoreLike
from shards.writing.dataset_card import DatasetCard, write_card

_SPEC, _PLAN = "spec.yaml", "plan.json"


@dataclass(frozen=True)
class Run:
    """A recipe and the place that it fills."""

    store: Store
    recipe: RunContext

    @property
    def shards(self) -> Store:
        """Where the synthetic shards are."""
        return self.store / "shards"

    def pending(self) -> list[int]:
        """Numbers of the units that are not finished, by listing the stats files."""
        plan, done = self.recipe.plan, set(finished_shards(self.shards))
        return [number for number in range(plan.n_units) if plan.shard_name(number) not in done]

    def stats(self) -> dict[str, Stats]:
        """Stats of the finished units by shard name."""
        return read_all_stats(self.shards)

    def write_card(self) -> None:
        """Write the files that other people's readers look for, for the shards finished so far."""
        spec = self.recipe.spec
        license = next((str(one["license"]) for one in self.stats().values() if "license" in one), "unknown")
        text = f"Synthetic images, made by {spec.model.source}; validate on real ones. Written by Shardmill."
        card = DatasetCard(spec.name, text, license, ("synthetic", "webdataset"), self.recipe.plan.classes)
        write_card(self.shards, card)
        self.shards.sweep()


def is_begun(place: StoreLike) -> bool:
    """Whether a run was begun there."""
    return open_store(place).size(_SPEC) is not None


def pinned(spec: Spec, place: StoreLike) -> Spec:
    """The spec with every hub model pinned to a commit, and a batch size of `auto` to a number: those that the run
    there was begun with. Where none was, models are what they are now, and `auto` stays.

    Raises ModelError where a model cannot be had or must not be loaded, SpecError where masks do not suit it.
    """
    store = open_store(place)
    begun = _read_spec(store).model if is_begun(store) else None
    model = pin(spec.model, begun)
    if begun is not None and model.batch_size == "auto":
        model = model.with_batch_size(begun.fixed_batch_size())
    check_models(model)
    check_colours(spec)
    return spec.model_copy(update={"model": model})


def plan_run(spec: Spec, place: StoreLike | None = None) -> RunContext:
    """The recipe of a spec, reading the real data where there is some. Raises DataError, SpecError, RunMismatch.

    place: of the run; once it is begun, its copies stand in for prompts and layouts that are gone.
    """
    splits = None if spec.data is None else load_splits(spec.data)
    classes = spec.classes or () if splits is None else splits.classes
    real = [0] * len(classes) if splits is None else splits.counts("train")
    plan = make_plan(spec, classes, real)
    begun = load_run(place).recipe.inputs if place is not None and is_begun(place) else Assets()
    inputs = gather_assets(spec, plan, splits, begun)
    recipe = RunContext(spec, plan_of(spec, classes, real, plan.quotas, inputs.digests), inputs)
    check_sources(recipe, splits)
    return recipe


def begin_run(recipe: RunContext, place: StoreLike) -> Run:
    """Take the place for this recipe, or go on with it. Raises RunMismatch, OutputError; SpecError where the batch size
    is yet to be measured, for every command that goes on must find the same.

    Files of units that nobody finished in the time that a unit may take are removed: they may be of other bytes, where
    nodes differ, and would stand in the way.
    """
    recipe.spec.model.fixed_batch_size()  # for its error
    store = open_store(place, best_effort=recipe.spec.cluster.best_effort_commit)
    if is_begun(store):
        _check_same(load_run(store), recipe)
    try:
        _check_store(store, recipe)
        run = with_inputs(Run(store, recipe))
        store.replace(_PLAN, _plan_text(recipe).encode())
        store.replace(_SPEC, dump_spec(recipe.spec).encode())
        run.shards.sweep()
        remove_unfinished(run, recipe.spec.cluster.unit_timeout_s)
        store.sweep()
    except OSError as error:
        raise OutputError(f"--out {store}: cannot be written: {error.strerror}; choose another folder") from None
    return run


def with_inputs(run: Run) -> Run:
    """The run with its inputs stored where it is."""
    recipe = run.recipe
    stored = store_assets(recipe.inputs, recipe.spec, run.store / "inputs")
    return replace(run, recipe=replace(recipe, inputs=stored))


def remove_unfinished(run: Run, older_than_s: float = 0.0) -> list[str]:
    """Remove tars and indexes of units that have no stats file; gives their names. Nobody may be making those units,
    unless the age says so."""
    plan, found = run.recipe.plan, run.shards.entries()
    ours = {plan.shard_name(number) for number in range(plan.n_units)}
    names = [name for name in found if name.endswith((".tar", ".parquet")) and name.partition(".")[0] in ours]
    old = time.time() - older_than_s
    gone = [n for n in names if f"{n.partition('.')[0]}{STATS_SUFFIX}" not in found and found[n].modified < old]
    for name in gone:
        run.shards.remove(name)
    return gone


def load_run(place: StoreLike) -> Run:
    """The run at a place, without reading the real data again. Raises SpecError, RunMismatch."""
    store = open_store(place)
    if not is_begun(store) or store.size(_PLAN) is None:
        raise SpecError(f"{store}: not a run, it lacks {_SPEC} or {_PLAN}; `generate` makes one")
    spec = _read_spec(store)
    found = json.loads(store.read(_PLAN))
    if lacking := {"classes", "real", "quotas", "inputs", "digest"} - found.keys():
        raise RunMismatch(f"{store}/{_PLAN}: lacks {min(lacking)}; another version of Shardmill began this run")
    plan = plan_of(spec, found["classes"], found["real"], found["quotas"], found["inputs"])
    if plan.digest != found["digest"]:
        raise RunMismatch(f"{store}: {_SPEC} was changed after the run was begun; put the old one back")
    inputs = stored_assets(found["inputs"], spec, store / "inputs")
    check_stored(inputs, spec)
    return Run(open_store(place, best_effort=spec.cluster.best_effort_commit), RunContext(spec, plan, inputs))


def _read_spec(store: Store) -> Spec:
    return parse_as(Spec, store.read(_SPEC).decode(), f"{store}/{_SPEC}")


def _check_store(store: Store, recipe: RunContext) -> None:
    if not recipe.spec.cluster.best_effort_commit and not store.refuses_overwriting():
        raise OutputError(
            f"--out {store}: this store overwrites files where it is asked not to, so that two workers of one unit "
            "could mix their files; choose another store, or set cluster.best_effort_commit=true and run one driver"
        )


def _plan_text(recipe: RunContext) -> str:
    plan, inputs = recipe.plan, dict(recipe.inputs.digests)
    content = {
        "classes": plan.classes,
        "real": plan.real,
        "quotas": plan.quotas,
        "inputs": inputs,
        "digest": plan.digest,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _check_same(old: Run, new: RunContext) -> None:
    if old.recipe.plan.digest == new.plan.digest:
        return
    changes = differences(identity(old.recipe.spec), identity(new.spec))
    before, after = (dict(zip(p.classes, p.quotas, strict=True)) for p in (old.recipe.plan, new.plan))
    changes += differences(before, after, "images")
    digests = old.recipe.inputs.digests
    changes += [
        f"{name} has other content" for name, digest in new.inputs.digests.items() if digests.get(name) != digest
    ]
    shown = "; ".join(changes[:8]) + (f"; and {len(changes) - 8} more" if len(changes) > 8 else "")
    raise RunMismatch(f"{old.store} was begun with another spec ({shown}); use another --out, or that spec")
