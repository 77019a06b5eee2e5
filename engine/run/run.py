"""A run: a folder, or a prefix of an object store, with its spec, its plan and its finished units.

RUN/spec.yaml      the resolved spec
RUN/plan.json      classes, counts of real images, quotas, assets and digest: a `PlanRecord`
RUN/assets/        copies of the files that the spec names, and the images of its conditions
RUN/shards/        the synthetic shards
RUN/real/<split>/  the real images of a split as shards, written by the first command that needs them
"""

import time
from dataclasses import dataclass, replace
from typing import Self

from pydantic import ValidationError

from engine.config.spec import Spec
from engine.config.spec_file import differences, dump_spec, identity, parse_as
from engine.config.strict import Strict
from engine.data.splits import load_splits
from engine.errors import OutputError, RunMismatch, SpecError
from engine.models.resolve import check_models, pin_revisions
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


class PlanRecord(Strict):
    """The content of RUN/plan.json: what a plan follows from besides the spec."""

    classes: tuple[str, ...]
    real: tuple[int, ...]
    quotas: tuple[int, ...]
    assets: dict[str, str]  # SHA-256 of each file that the spec names
    digest: str  # of the plan

    @classmethod
    def of(cls, context: RunContext) -> Self:
        """Return the record of a context's plan."""
        plan = context.plan
        return cls(
            classes=plan.classes,
            real=plan.real,
            quotas=plan.quotas,
            assets=dict(context.assets.digests),
            digest=plan.digest,
        )


@dataclass(frozen=True)
class Run:
    """A context and the store that its units go to."""

    store: Store
    context: RunContext

    @property
    def shards(self) -> Store:
        """The store of the synthetic shards."""
        return self.store / "shards"

    def pending(self) -> list[int]:
        """List the numbers of the unfinished units, from the stats files."""
        plan, done = self.context.plan, set(finished_shards(self.shards))
        return [number for number in range(plan.n_units) if plan.shard_name(number) not in done]

    def stats(self) -> dict[str, Stats]:
        """Read the stats of the finished units, by shard name."""
        return read_all_stats(self.shards)

    def write_card(self) -> None:
        """Write the dataset card and the index files that other readers need, for the finished shards."""
        spec = self.context.spec
        license = next((str(unit["license"]) for unit in self.stats().values() if "license" in unit), "unknown")
        text = f"Synthetic images, made by {spec.model.source}; validate on real ones. Written by Shardmill."
        card = DatasetCard(spec.name, text, license, ("synthetic", "webdataset"), self.context.plan.classes)
        write_card(self.shards, card)
        self.shards.sweep()


def has_begun(place: StoreLike) -> bool:
    """Return whether a run has begun at this place."""
    return open_store(place).size(_SPEC) is not None


def pin_spec(spec: Spec, place: StoreLike) -> Spec:
    """Pin every hub model of the spec to a commit, and a batch size of `auto` to a number.

    A resumed run keeps its commits and its number. For a new run, models are pinned to their present commit, and `auto`
    stays. Raises ModelError where a model cannot be found or is unsafe to load, SpecError where masks do not suit it.
    """
    store = open_store(place)
    begun = _read_spec(store).model if has_begun(store) else None
    model = pin_revisions(spec.model, begun)
    if begun is not None and model.batch_size == "auto":
        model = model.with_batch_size(begun.fixed_batch_size())
    check_models(model)
    check_colours(spec)
    return spec.model_copy(update={"model": model})


def plan_run(spec: Spec, place: StoreLike | None = None) -> RunContext:
    """Read the real data, if the spec has some, and plan the run. Raises DataError, SpecError, RunMismatch.

    place: of the run. The copies of a run that has begun replace prompt banks and layouts that have gone.
    """
    splits = None if spec.data is None else load_splits(spec.data)
    classes = spec.classes or () if splits is None else splits.classes
    real = [0] * len(classes) if splits is None else splits.counts("train")
    plan = make_plan(spec, classes, real)
    begun = load_run(place).context.assets if place is not None and has_begun(place) else Assets()
    assets = gather_assets(spec, plan, splits, begun)
    context = RunContext(spec, plan_of(spec, classes, real, plan.quotas, assets.digests), assets)
    check_sources(context, splits)
    return context


def begin_run(context: RunContext, place: StoreLike) -> Run:
    """Begin a run at this place, or resume it.

    Raises RunMismatch where another run has begun there, OutputError where it cannot be written, SpecError where the
    batch size is still `auto`: every later command must find the same number.
    """
    context.spec.model.fixed_batch_size()  # raises the SpecError
    store = open_store(place, best_effort=context.spec.cluster.best_effort_commit)
    if has_begun(store):
        _check_same(load_run(store), context)
    try:
        _check_store(store, context)
        run = with_assets(Run(store, context))
        store.replace(_PLAN, PlanRecord.of(context).model_dump_json(indent=1).encode() + b"\n")
        store.replace(_SPEC, dump_spec(context.spec).encode())
        run.shards.sweep()
        # Files of a unit that nobody finished in time may have other bytes, if nodes differ, and would block it.
        remove_unfinished(run, context.spec.cluster.unit_timeout_s)
        store.sweep()
    except OSError as error:
        raise OutputError(f"--out {store}: cannot be written: {error.strerror}; choose another folder") from None
    return run


def with_assets(run: Run) -> Run:
    """Store the assets of a run at its place, and return the run with them."""
    context = run.context
    stored = store_assets(context.assets, context.spec, run.store / "assets")
    return replace(run, context=replace(context, assets=stored))


def remove_unfinished(run: Run, older_than_s: float = 0.0) -> list[str]:
    """Remove tars and indexes of units without a stats file; return their names.

    older_than_s: seconds since a file was written. With 0, no actor may be at work on the run.
    """
    plan, entries = run.context.plan, run.shards.entries()
    shards = {plan.shard_name(number) for number in range(plan.n_units)}
    latest = time.time() - older_than_s
    unfinished = [
        name
        for name, entry in entries.items()
        if name.endswith((".tar", ".parquet"))
        and (shard := name.partition(".")[0]) in shards
        and f"{shard}{STATS_SUFFIX}" not in entries
        and entry.modified < latest
    ]
    for name in unfinished:
        run.shards.remove(name)
    return unfinished


def load_run(place: StoreLike) -> Run:
    """Load the run at a place, without reading the real data again. Raises SpecError, RunMismatch."""
    store = open_store(place)
    if not has_begun(store) or store.size(_PLAN) is None:
        raise SpecError(f"{store}: not a run, it lacks {_SPEC} or {_PLAN}; `generate` makes one")
    spec = _read_spec(store)
    try:
        record = PlanRecord.model_validate_json(store.read(_PLAN))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "content"
        raise RunMismatch(
            f"{store}/{_PLAN}: {where}: {error.errors()[0]['msg']}; it is damaged or of another version of Shardmill"
        ) from None
    plan = plan_of(spec, record.classes, record.real, record.quotas, record.assets)
    if plan.digest != record.digest:
        raise RunMismatch(f"{store}: {_SPEC} was changed after the run was begun; put the old one back")
    assets = stored_assets(record.assets, spec, store / "assets")
    check_stored(assets, spec)
    return Run(open_store(place, best_effort=spec.cluster.best_effort_commit), RunContext(spec, plan, assets))


def _read_spec(store: Store) -> Spec:
    return parse_as(Spec, store.read(_SPEC).decode(), f"{store}/{_SPEC}")


def _check_store(store: Store, context: RunContext) -> None:
    if not context.spec.cluster.best_effort_commit and not store.refuses_overwriting():
        raise OutputError(
            f"--out {store}: this store ignores conditional writes, so two workers of one unit could mix their "
            "files; choose another store, or set cluster.best_effort_commit=true and run one driver"
        )


def _check_same(old: Run, new: RunContext) -> None:
    if old.context.plan.digest == new.plan.digest:
        return
    changes = differences(identity(old.context.spec), identity(new.spec))
    before, after = (dict(zip(p.classes, p.quotas, strict=True)) for p in (old.context.plan, new.plan))
    changes += differences(before, after, "images")
    old_digests = old.context.assets.digests
    changes += [
        f"{name} has other content" for name, digest in new.assets.digests.items() if old_digests.get(name) != digest
    ]
    shown = "; ".join(changes[:8]) + (f"; and {len(changes) - 8} more" if len(changes) > 8 else "")
    raise RunMismatch(f"{old.store} was begun with another spec ({shown}); use another --out, or that spec")
