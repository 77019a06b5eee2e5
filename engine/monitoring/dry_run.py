"""The printed plan and forecast of a run, for a dry run."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from engine.config.spec import Spec
from engine.monitoring.budget import NO_COST, Cost, reached_limit
from engine.monitoring.estimate import BatchTiming, Estimate, remaining_time
from engine.monitoring.formatting import format_bytes, format_duration
from engine.run.run import Run
from engine.run.run_context import RunContext

_PROMPTS = 8


def print_plan(run: Run, rest: Estimate, timing: BatchTiming | None) -> None:
    """Print class counts, the first prompts, disk, and time and cost by a measured batch or by finished units."""
    console, plan, context = Console(highlight=False), run.context.plan, run.context
    console.print(_class_table(context))
    if context.spec.model.takes_prompts:
        console.print("first prompts:")
        for slot in map(plan.slot, range(min(_PROMPTS, plan.total))):
            text = context.prompt(slot).text
            console.print(f"  {slot.key}  {plan.classes[slot.label]}: {text}", markup=False, soft_wrap=True)
    finished, batches = plan.total - rest.images, sum(rest.batches_per_unit)
    console.print(f"left to make: {rest.images:,} images ({finished:,} are finished), {batches:,} batches")
    console.print(f"disk: about {format_bytes(rest.disk_bytes)}")
    for line in _time_and_cost(context.spec, rest, timing):
        console.print(line, soft_wrap=True)


def _class_table(context: RunContext) -> Table:
    plan = context.plan
    table = Table(title=f"{context.spec.name}: {plan.total:,} images in {plan.n_units:,} units", title_justify="left")
    for heading in ("class", "real", "to be made", "after"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for name, real, quota in zip(plan.classes, plan.real, plan.quotas, strict=True):
        table.add_row(name, f"{real:,}", f"{quota:,}", f"{real + quota:,}")
    return table


def _time_and_cost(spec: Spec, rest: Estimate, timing: BatchTiming | None) -> Iterator[str]:
    remaining = remaining_time(rest, timing)
    if remaining is None:
        yield "time: unknown; --measure times one batch"
        return
    if timing is None:
        source, actors = "at the speed of the finished units", "for one actor"
    else:
        rate = spec.model.fixed_batch_size() / timing.seconds_per_batch
        source, actors = "as just measured", f"with {remaining.actors} actors of {rate:.1f} img/s each"
    yield f"time: about {format_duration(remaining.seconds)} {actors}, {source}"
    cost = NO_COST.plus(spec, remaining.actor_seconds)
    yield f"cost: about {cost}{_images_per_dollar(cost, rest.images)}, {source}"
    if spec.budget.gpu_hours is not None or spec.budget.dollars is not None:
        total = rest.spent.plus(spec, remaining.actor_seconds)
        limit = reached_limit(spec, total)
        verdict = f"above {limit}; the run will stop before its end" if limit else "within the budget"
        yield f"budget: {rest.spent} spent so far, {total} in all: {verdict}"


def _images_per_dollar(cost: Cost, images: int) -> str:
    if cost.dollars is None:
        return "; set budget.price_per_gpu_hour to see dollars"
    return f", {images / cost.dollars:,.0f} images per dollar" if cost.dollars else ""
