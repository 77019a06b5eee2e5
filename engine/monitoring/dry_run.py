"""Printing a plan, before GPUs are spent on it."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from engine.config.spec import Spec
from engine.monitoring.budget import Cost, cost_of, overspent
from engine.monitoring.estimate import Estimate, Pace, megabytes
from engine.monitoring.run_progress import duration
from engine.run.run import Run
from engine.run.run_context import RunContext

_PROMPTS = 8


def print_plan(run: Run, expected: Estimate, pace: Pace | None) -> None:
    """Per class real, to be made, after; units; first prompts, if any; disk, time and money, as far as they are known.

    pace: where a batch was measured. Time and money are also known where units are finished.
    """
    console, plan, context = Console(highlight=False), run.context.plan, run.context
    console.print(_classes(context))
    if context.spec.model.takes_prompts:
        console.print("first prompts:")
        for slot in map(plan.slot, range(min(_PROMPTS, plan.total))):
            text = context.prompt(slot).text
            console.print(f"  {slot.key}  {plan.classes[slot.label]}: {text}", markup=False, soft_wrap=True)
    done, batches = plan.total - expected.images, sum(expected.batches)
    console.print(f"left to make: {expected.images:,} images ({done:,} are finished), {batches:,} batches")
    console.print(f"disk: about {megabytes(expected.disk_bytes)}")
    for line in _time_and_money(context.spec, expected, pace):
        console.print(line, soft_wrap=True)


def _classes(context: RunContext) -> Table:
    plan = context.plan
    table = Table(title=f"{context.spec.name}: {plan.total:,} images in {plan.n_units:,} units", title_justify="left")
    for heading in ("class", "real", "to be made", "after"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for name, real, quota in zip(plan.classes, plan.real, plan.quotas, strict=True):
        table.add_row(name, f"{real:,}", f"{quota:,}", f"{real + quota:,}")
    return table


def _time_and_money(spec: Spec, expected: Estimate, pace: Pace | None) -> Iterator[str]:
    if pace is not None:
        # Units are what actors share: no unit is made by two, and the last ones keep few of them busy.
        busy = min(pace.actors, len(expected.batches))
        longest = max((sum(expected.batches[first::busy]) for first in range(busy)), default=0)
        seconds, source = pace.seconds_per_batch * sum(expected.batches), "as just measured"
        each = f"{busy} actors of {spec.model.fixed_batch_size() / pace.seconds_per_batch:.1f} img/s each"
        yield f"time: about {duration(pace.seconds_per_batch * longest)} with {each}, {source}"
    elif expected.left_s is not None:
        seconds, source = expected.left_s, "as the finished units went"
        yield f"time: about {duration(seconds)} for one actor, {source}"
    else:
        yield "time: --measure makes one batch, and says"
        return
    cost = cost_of(spec, seconds)
    yield f"cost: about {cost}{_images_per_dollar(cost, expected.images)}, {source}"
    yield from _budget(spec, expected.spent, expected.spent.plus(spec, seconds))


def _images_per_dollar(cost: Cost, images: int) -> str:
    if cost.dollars is None:
        return "; a price comes with budget.price_per_gpu_hour"
    return f", {images / cost.dollars:,.0f} images per dollar" if cost.dollars else ""


def _budget(spec: Spec, spent: Cost, total: Cost) -> Iterator[str]:
    if spec.budget.gpu_hours is not None or spec.budget.dollars is not None:
        limit = overspent(spec, total)
        verdict = f"more than {limit} allows: the run will stop before its end" if limit else "within the budget"
        yield f"with the {spent} that are spent, {total} in all: {verdict}"
