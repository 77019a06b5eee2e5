"""How different the images of prompt strategies are."""

from argparse import Namespace

from jobs.arguments import AddCommand


def register(command: AddCommand) -> None:
    """The commands of this file."""
    text = "Compare how diverse the images of each run and prompt strategy are, beside real ones."
    added = command("diversity", diversity, text, "diversity runs/one-prompt runs/templates runs/attributes")
    added.add_argument("runs", metavar="RUN", nargs="+", help="finished runs of the same data")


def diversity(arguments: Namespace) -> None:
    """Print a row for each strategy of each run, and for the real images."""
    from rich.console import Console
    from rich.table import Table

    from engine.evaluation.prompt_diversity import compare
    from engine.run.run import load_run

    runs = {place.rstrip("/").rpartition("/")[2]: load_run(place) for place in arguments.runs}
    found = compare(runs)
    table = Table(title=f"mean over classes, {found[0].looked_at} images of each", title_justify="left")
    for heading in ("images of", "images", "distinct prompts", "attribute sets", "distance", "Vendi score"):
        first = heading == "images of"
        table.add_column(heading, justify="left" if first else "right", no_wrap=first)
    for one in found:
        told = ("", "") if one.group == found[0].group else (f"{one.prompts:,.0f}", f"{one.combinations:,.0f}")
        table.add_row(one.group, f"{one.images:,}", *told, f"{one.distance:.3f}", f"{one.vendi:.2f}")
    Console(highlight=False).print(table)
    print(
        "features: a small classifier trained on the real world split; "
        "an image that is not quite of its class lies far from the others, too"
    )
