"""The command `diversity`: how different the images of prompt strategies are."""

from argparse import Namespace

from jobs.arguments import AddCommand


def register(command: AddCommand) -> None:
    """Add the command."""
    text = "Compare how diverse the images of each run and prompt strategy are, beside real ones."
    added = command("diversity", diversity, text, "diversity runs/one-prompt runs/templates runs/attributes")
    added.add_argument("runs", metavar="RUN", nargs="+", help="finished runs of the same data")


def diversity(arguments: Namespace) -> None:
    """Print a row for the real images, and one for each strategy of each run."""
    from rich.console import Console
    from rich.table import Table

    from engine.evaluation.prompt_diversity import compare_diversity
    from engine.run.run import load_run

    runs = {place.rstrip("/").rpartition("/")[2]: load_run(place) for place in arguments.runs}
    real, *strategies = compare_diversity(runs)
    table = Table(title=f"mean over classes, {real.encoded} images of each", title_justify="left")
    table.add_column("images of", no_wrap=True)
    for heading in ("images", "distinct prompts", "attribute sets", "distance", "Vendi score"):
        table.add_column(heading, justify="right")
    table.add_row(real.group, f"{real.images:,}", "", "", f"{real.distance:.3f}", f"{real.vendi:.2f}")
    for group in strategies:
        prompts = f"{group.prompts:,.0f}", f"{group.combinations:,.0f}"
        table.add_row(group.group, f"{group.images:,}", *prompts, f"{group.distance:.3f}", f"{group.vendi:.2f}")
    Console(highlight=False).print(table)
    print(
        "features: a small classifier trained on the real world split; "
        "an image that does not quite fit its class is far from the others, too"
    )
