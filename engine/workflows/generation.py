"""The job `generate`: from a spec to finished shards, a dataset card and the report.

prepare_run   pin the models, read the real data and plan; nothing is written
generate      begin or resume the run and make every unit that is not finished
make_units    the same for a run that has begun; `repair` calls it too
forecast      the plan, disk, time and cost, for a dry run
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory

from engine.config.model_settings import DEFAULT_BATCH_SIZE
from engine.config.spec import Spec
from engine.errors import BudgetSpent, OutputError, UnitsFailed
from engine.monitoring.budget import CostMeter, CostRecorder, read_cost
from engine.monitoring.contact_sheet import ContactSheet
from engine.monitoring.estimate import BatchTiming, Estimate, check_disk, estimate
from engine.monitoring.log import Log
from engine.monitoring.run_progress import RunProgress
from engine.monitoring.trace import merge_profiles
from engine.report.write_report import write_report
from engine.run.run import Run, begin_run, has_begun, pin_spec, plan_run, with_assets
from engine.worker.batch_size import BatchSizes
from engine.workflows.prompt_check import check_prompts
from shards.storage.open_store import open_store

_SHOWN_WARNINGS = 20


def prepare_run(spec: Spec, place: str, log: Log) -> Run:
    """Pin the models, read the real data and plan the run. Nothing is written.

    Findings about the prompts of a new run are logged as warnings. Raises SpecError, ModelError, DataError and
    RunMismatch.
    """
    store = open_store(place)
    context = plan_run(pin_spec(spec, store), store)
    if not has_begun(store):
        findings = check_prompts(context).findings
        for finding in findings[:_SHOWN_WARNINGS]:
            log.message("prompt_warning", f"warning: {finding}", "warning")
        if (more := len(findings) - _SHOWN_WARNINGS) > 0:
            log.message("prompt_warning", f"warning: and {more} more; `lint` shows all", "warning")
    return Run(store, context)


def generate(run: Run, log: Log, *, profile: bool = False) -> None:
    """Begin or resume a run, make every unit that is not finished, and write the card and the report.

    profile: also write RUN/profile.json, a trace of where the time goes. Raises UnitsFailed after everything else is
    finished, BudgetSpent, OutputError, Stopped and what `begin_run` raises.
    """
    if run.context.spec.model.batch_size != "auto":
        make_units(begin_run(run.context, run.store), log, profile=profile)
        return

    from engine.cluster.ray_session import ray_session

    # The batch size is measured on the Ray that then makes the units, and at the run's cost.
    with ray_session(run.context.spec.cluster):
        sizes = batch_sizes_at_cost(run, log)
        begun = begin_run(run.context.with_batch_size(sizes.chosen), run.store)
        sizes.write(begun.store)
        make_units(begun, log, profile=profile)


def make_units(run: Run, log: Log, *, profile: bool = False) -> None:
    """Make the units of a begun run that are not finished, and write its card and report."""
    check_disk(run, estimate(run))
    try:
        if run.pending():
            _make_on_ray(run, log, profile)
    except UnitsFailed:
        _finish(run, log)
        raise
    if left := len(run.pending()):
        raise OutputError(
            f"{run.store}: {left} finished units have disappeared; was it moved? run the same command again"
        )
    _finish(run, log)


def _make_on_ray(run: Run, log: Log, profile: bool) -> None:
    from engine.cluster.driver import generate as drive
    from engine.cluster.prometheus import PrometheusMetrics
    from engine.cluster.ray_session import ray_session

    context, done = run.context, list(run.stats().values())
    with ExitStack() as stack:
        if profile:
            stack.callback(_merge_profile, run, log)
        stack.enter_context(ray_session(context.spec.cluster))
        meter = CostMeter(context.spec, done, read_cost(run.store))
        sheet = stack.enter_context(ContactSheet(run, done, log))
        costs = stack.enter_context(CostRecorder(run.store, meter, log))
        progress = stack.enter_context(RunProgress(context.plan.classes, context.plan.quotas, done, meter, log))
        drive(run, progress, meter, [PrometheusMetrics(context, done, meter), sheet, costs], profile=profile)


def _merge_profile(run: Run, log: Log) -> None:
    path = merge_profiles(run.store)
    log.message("profile", f"profile: {path}; open it at https://ui.perfetto.dev", path=path)


def _finish(run: Run, log: Log) -> None:
    run.write_card()
    log.message("finished", summary(run))
    path = write_report(run)
    log.message("report", f"report: {path}", path=path)


def summary(run: Run) -> str:
    """Describe in one line what is finished."""
    stats, plan = run.stats().values(), run.context.plan
    kept, failed = sum(unit["count"] for unit in stats), sum(len(unit["failures"]) for unit in stats)
    shards = f"{len(stats)} of {plan.n_units} shards in {run.shards}, {kept:,} images"
    return f"{shards}; {plan.total:,} slots planned, {failed:,} failed"


@dataclass(frozen=True)
class Forecast:
    """What a run will make and take."""

    run: Run
    estimate: Estimate
    timing: BatchTiming | None  # of one measured batch; None where nothing was measured
    batch_size_is_assumed: bool  # the spec says `auto`, and nothing was measured


def forecast(run: Run, log: Log, *, measure: bool) -> Forecast:
    """Estimate disk, time and cost of a run. With `measure`, load the model and time one batch."""
    assumed = False
    if run.context.spec.model.batch_size == "auto":
        assumed = not measure
        size = _batch_sizes(run, log).chosen if measure else DEFAULT_BATCH_SIZE
        run = replace(run, context=run.context.with_batch_size(size))
    return Forecast(run, estimate(run), _measure(run) if measure else None, assumed)


def _measure(run: Run) -> BatchTiming:
    from engine.cluster.driver import measure
    from engine.cluster.ray_session import ray_session

    with _with_assets(run) as stored, ray_session(run.context.spec.cluster):
        return measure(stored.context, stored.store)


def batch_sizes_at_cost(run: Run, log: Log) -> BatchSizes:
    """Measure the batch size within the budget. The cost is recorded even if the measurement fails."""
    meter = CostMeter(run.context.spec, (), read_cost(run.store))
    if spent := meter.exhausted():
        raise BudgetSpent(f"no batch size was measured: {spent}")
    try:
        return _batch_sizes(run, log, meter)
    finally:
        if meter.seconds:  # nothing was spent where the output could not even be written
            CostRecorder(run.store, meter, log).write()


def _batch_sizes(run: Run, log: Log, meter: CostMeter | None = None) -> BatchSizes:
    from engine.cluster.batch_size_trial import measure_batch_sizes
    from engine.cluster.ray_session import ray_session

    with _with_assets(run) as stored, ray_session(run.context.spec.cluster):
        return measure_batch_sizes(stored.context, stored.store, log, meter)


@contextmanager
def _with_assets(run: Run) -> Iterator[Run]:
    """Store the assets for actors on other nodes: in the run's bucket, or in a temporary folder beside a local run."""
    if run.store.local is None:
        yield with_assets(run)
        return
    beside = next(folder for folder in run.store.local.parents if folder.is_dir())
    try:
        temporary = TemporaryDirectory(prefix=".measure-", dir=beside)
    except OSError as error:
        raise OutputError(f"--out {run.store}: {beside} cannot be written: {error.strerror}") from None
    with temporary as place:
        yield with_assets(replace(run, store=open_store(place)))
