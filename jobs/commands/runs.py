"""Making a run, and its report."""

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from jobs.arguments import AddCommand, log_argument, run_argument, spec_and_run_arguments

if TYPE_CHECKING:
    from engine.monitoring.budget import Meter
    from engine.monitoring.estimate import Pace
    from engine.monitoring.log import Log
    from engine.run.run import Run
    from engine.worker.batch_size import BatchSizes


def register(command: AddCommand) -> None:
    """The commands of this file."""
    make = command(
        "generate",
        generate,
        "Plan a spec and make its shards; the same command again resumes.",
        "generate jobs/specs/digits.yaml --out runs/digits --set model.steps=8 --dry-run",
    )
    spec_and_run_arguments(make)
    make.add_argument("--dry-run", action="store_true", help="print plan, first prompts and disk; make nothing")
    make.add_argument("--measure", action="store_true", help="a dry run that makes one batch, to tell the time")
    make.add_argument("--profile", action="store_true", help="write RUN/profile.json, a trace of where the time goes")
    log_argument(make)

    run_argument(command("report", report, "Write RUN/report.html again.", "report runs/digits"))


def generate(arguments: Namespace) -> None:
    """Plan, make every unit that is not finished, write the card and the report."""
    from engine.config.spec_file import load_spec

    spec = load_spec(arguments.spec, arguments.overrides)

    from engine.monitoring.log import open_log
    from engine.run.run import Run, is_begun, pinned, plan_run
    from jobs.commands.lint import warn
    from shards.storage.open_store import open_store

    store = open_store(arguments.out)
    recipe = plan_run(pinned(spec, store), store)
    if not is_begun(store):  # a run that goes on was warned of
        warn(recipe)
    run, log = Run(store, recipe), open_log(arguments.log_format)
    if arguments.dry_run or arguments.measure:
        _dry_run(run, arguments.measure, log)
        return
    with _begun(run, log) as begun:
        make(begun, log, arguments.profile)


def report(arguments: Namespace) -> None:
    """Write the report of a run again."""
    from engine.run.run import load_run

    write_report(load_run(arguments.place))


def make(run: "Run", log: "Log", profile: bool = False) -> None:
    """Make what is not finished of a run that was begun, and write its card and report; perhaps a profile too."""
    from engine.errors import OutputError, UnitsFailed
    from engine.monitoring.estimate import check_disk, estimate

    check_disk(run, estimate(run))
    try:
        if run.pending():
            _generate(run, log, profile)
    except UnitsFailed:
        _finish(run, log)
        raise
    if left := len(run.pending()):
        raise OutputError(
            f"{run.store}: {left} units that were made are not there; was it moved? run the same command again"
        )
    _finish(run, log)


@contextmanager
def _begun(run: "Run", log: "Log") -> Iterator["Run"]:
    """The run, its place taken or gone on with. Where the batch size is `auto` it is measured before, by the Ray that
    the block then uses, at the run's cost."""
    from engine.run.run import begin_run

    if run.recipe.spec.model.batch_size != "auto":
        yield begin_run(run.recipe, run.store)
        return

    from engine.cluster.ray_session import ray_session

    with ray_session(run.recipe.spec.cluster):
        sizes = batch_sizes_at_cost(run, log)
        begun = begin_run(run.recipe.with_batch_size(sizes.chosen), run.store)
        sizes.write(begun.store)
        yield begun


def _generate(run: "Run", log: "Log", profile: bool) -> None:
    from contextlib import ExitStack

    from engine.cluster.driver import generate as make
    from engine.cluster.prometheus import Metrics
    from engine.cluster.ray_session import ray_session
    from engine.monitoring.budget import Meter
    from engine.monitoring.contact_sheet import ContactSheet
    from engine.monitoring.cost_file import CostFile, recorded
    from engine.monitoring.run_progress import RunProgress

    recipe, done = run.recipe, list(run.stats().values())
    with ExitStack() as stack:
        if profile:
            stack.callback(_merge_profile, run, log)
        stack.enter_context(ray_session(recipe.spec.cluster))
        meter = Meter(recipe.spec, done, recorded(run.store))
        sheet = stack.enter_context(ContactSheet(run, done, log))
        costs = stack.enter_context(CostFile(run.store, meter, log))
        progress = stack.enter_context(RunProgress(recipe.plan.classes, recipe.plan.quotas, done, meter, log))
        make(run, progress, meter, [Metrics(recipe, done, meter), sheet, costs], profile=profile)


def _merge_profile(run: "Run", log: "Log") -> None:
    from engine.monitoring.trace import merge

    path = merge(run.store)
    log.say("profile", f"profile: {path}; open it at https://ui.perfetto.dev", path=path)


def _dry_run(run: "Run", measured: bool, log: "Log") -> None:
    from engine.config.model_settings import DEFAULT_BATCH_SIZE
    from engine.monitoring.dry_run import print_plan
    from engine.monitoring.estimate import check_disk, estimate

    if run.recipe.spec.model.batch_size == "auto":
        size = _batch_sizes(run, log).chosen if measured else DEFAULT_BATCH_SIZE
        if not measured:
            print(f"batch size: auto, to be measured when the run begins; {size} in what follows")
        run = replace(run, recipe=run.recipe.with_batch_size(size))
    expected = estimate(run)
    pace = _measure(run) if measured else None
    print_plan(run, expected, pace)
    check_disk(run, expected)


def _measure(run: "Run") -> "Pace":
    from engine.cluster.driver import measure
    from engine.cluster.ray_session import ray_session

    with _inputs(run) as begun, ray_session(run.recipe.spec.cluster):
        return measure(begun.recipe, begun.store)


def batch_sizes_at_cost(run: "Run", log: "Log") -> "BatchSizes":
    """Within the budget, and written down before the run is begun: a measurement that fails has a cost, too."""
    from engine.errors import BudgetSpent
    from engine.monitoring.budget import Meter
    from engine.monitoring.cost_file import CostFile, recorded

    meter = Meter(run.recipe.spec, (), recorded(run.store))
    if spent := meter.exhausted():
        raise BudgetSpent(f"no batch size was measured: {spent}")
    try:
        return _batch_sizes(run, log, meter)
    finally:
        if meter.seconds:  # else the place may be one that cannot be written, which is told already
            CostFile(run.store, meter, log).write()


def _batch_sizes(run: "Run", log: "Log", meter: "Meter | None" = None) -> "BatchSizes":
    from engine.cluster.batch_size_trial import measure_batch_sizes
    from engine.cluster.ray_session import ray_session

    with _inputs(run) as begun, ray_session(run.recipe.spec.cluster):
        return measure_batch_sizes(begun.recipe, begun.store, log, meter)


@contextmanager
def _inputs(run: "Run") -> Iterator["Run"]:
    """The run with its inputs where actors on other nodes find them: where it will keep them in a bucket, else for a
    while beside the folder to be."""
    from tempfile import TemporaryDirectory

    from engine.errors import OutputError
    from engine.run.run import with_inputs
    from shards.storage.open_store import open_store

    if run.store.local is None:
        yield with_inputs(run)
        return
    beside = next(folder for folder in run.store.local.parents if folder.is_dir())
    try:
        made = TemporaryDirectory(prefix=".measure-", dir=beside)
    except OSError as error:
        raise OutputError(f"--out {run.store}: {beside} cannot be written: {error.strerror}") from None
    with made as place:
        yield with_inputs(replace(run, store=open_store(place)))


def _finish(run: "Run", log: "Log") -> None:
    from engine.report import write_report

    run.write_card()
    log.say("finished", summary(run))
    path = write_report(run)
    log.say("report", f"report: {path}", path=path)


def summary(run: "Run") -> str:
    """What is finished, in one line."""
    stats, plan = run.stats().values(), run.recipe.plan
    kept, failed = sum(one["count"] for one in stats), sum(len(one["failures"]) for one in stats)
    made = f"{len(stats)} of {plan.n_units} shards in {run.shards}, {kept:,} images"
    return f"{made}; {plan.total:,} slots planned, {failed:,} failed"


def write_report(run: "Run") -> None:
    """Write the report, and say where it is."""
    from engine.report import write_report

    print(f"report: {write_report(run)}")
