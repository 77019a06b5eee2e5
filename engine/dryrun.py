"""Printing a plan, before GPUs are spent on it."""

from rich.console import Console
from rich.table import Table

from engine.estimate import Estimate, Pace, megabytes
from engine.run import Run

_PROMPTS = 8


def print_plan(run: Run, expected: Estimate, pace: Pace | None) -> None:
    """Per class real, to be made, after; units; first prompts, if any; disk; time where a batch was measured."""
    console, plan, recipe = Console(highlight=False), run.recipe.plan, run.recipe
    table = Table(title=f"{recipe.spec.name}: {plan.total:,} images in {plan.n_units:,} units", title_justify="left")
    for heading in ("class", "real", "to be made", "after"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for name, real, quota in zip(plan.classes, plan.real, plan.quotas, strict=True):
        table.add_row(name, f"{real:,}", f"{quota:,}", f"{real + quota:,}")
    console.print(table)
    if recipe.spec.model.takes_prompts:
        console.print("first prompts:")
        for slot in map(plan.slot, range(min(_PROMPTS, plan.total))):
            text = recipe.prompt(slot).text
            console.print(f"  {slot.key}  {plan.classes[slot.label]}: {text}", markup=False, soft_wrap=True)
    done = plan.total - expected.images
    console.print(f"left to make: {expected.images:,} images ({done:,} are finished), {expected.batches:,} batches")
    console.print(f"disk: about {megabytes(expected.disk_bytes)}")
    if pace is None:
        console.print("time: --measure makes one batch, and says")
    else:
        minutes = pace.seconds_per_batch * expected.batches / pace.actors / 60
        rate = recipe.spec.model.batch_size / pace.seconds_per_batch
        console.print(
            f"time: about {minutes:.1f} minutes with {pace.actors} actors at {rate:.1f} img/s, as just measured"
        )
