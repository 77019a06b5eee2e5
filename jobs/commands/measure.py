"""The command `measure`: how near the synthetic images of each class and prompt strategy are to real ones."""

import sys
from argparse import ArgumentTypeError, Namespace
from typing import TYPE_CHECKING

from jobs.arguments import AddCommand, run_argument
from jobs.printing import escape_control_characters, print_text
from jobs.progress import print_progress

if TYPE_CHECKING:
    from rich.table import Table

    from engine.evaluation.measure_result import Column, MeasureResult, MeasureRow

_ROWS = 60
_WIDTH = 140
_LISTED = 10


def register(command: AddCommand) -> None:
    """Add the command."""
    text = (
        "Measure each class and prompt strategy of a run against strictly real images: Fréchet and kernel distance, "
        "precision, recall, density, coverage, fit to the class with outliers, copies of real images."
    )
    added = command("measure", measure, text, "measure runs/digits")
    run_argument(added)
    added.add_argument(
        "--encoder",
        metavar="NAME",
        default="offline",
        help="what encodes the images: `offline` trains a small classifier on the real world split (the default); or a "
        "hub id or folder of a CLIP or DINOv2 model, such as facebook/dinov2-base",
    )
    added.add_argument("--most", metavar="N", type=_count, help="encode at most N images of each class and strategy")
    added.add_argument("--json", action="store_true", help="print what RUN/measures.json holds")


def measure(arguments: Namespace) -> None:
    """Measure a run; print the table, the outliers and the copies."""
    from engine.evaluation.run_measures import measure_run
    from engine.run.run import load_run

    run = load_run(arguments.place)
    print(f"measuring {run.store} by the {arguments.encoder} encoder", file=sys.stderr)
    result = measure_run(run, arguments.encoder, print_progress, arguments.most)
    if arguments.json:
        print(result.model_dump_json())
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.width = max(console.width, _WIDTH)  # a narrow terminal folds lines rather than losing columns
    console.print(_table(result))
    for line in _lines(result):
        print_text(line)
    print_text(f"all of it: {run.store}/{result.FILE}")


def _table(result: "MeasureResult") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    title = f"against {result.reference.images:,} real images of {result.reference.split}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in ("class", "strategy"):
        table.add_column(heading, no_wrap=True)
    for heading in ("n", *(escape(escape_control_characters(column.title)) for column in result.columns)):
        table.add_column(heading, justify="right")
    for row in result.rows[:_ROWS]:
        cells = (_cell(row, column) for column in result.columns)
        table.add_row(escape(escape_control_characters(row.class_name)), row.strategy, f"{row.compared:,}", *cells)
    return table


def _cell(row: "MeasureRow", column: "Column") -> str:
    value = row.values[column.name]
    if value is None:
        return ""
    text = f"{value:,.{column.decimals}f}"
    error = row.values[column.standard_error] if column.standard_error else None
    return text if error is None else f"{text} ± {error:.{column.decimals}f}"


def _lines(result: "MeasureResult") -> list[str]:
    """Return what the table does not show."""
    lines = []
    if (hidden := len(result.rows) - _ROWS) > 0:
        lines.append(f"... {hidden} more rows")
    lines.append(f"features: {result.encoder.description}")
    lines += [
        f"outlier: {image.key} ({image.class_name}, {image.strategy}) looks like {image.resembles}, "
        f"margin {image.margin:.2f}"
        for image in result.outliers[:_LISTED]
    ]
    lines.append(f"copies of real images: {result.copies.count:,}, searched among {result.copies.real_images:,}")
    lines += [
        f"copy: {match.key} ({match.class_name}) of {match.real}{', mirrored' if match.mirrored else ''}"
        for match in result.copies.listed[:_LISTED]
    ]
    return lines


def _count(text: str) -> int:
    count = int(text)  # argparse says of a ValueError that the value is invalid
    if count < 1:
        raise ArgumentTypeError(f"{text} is no number of images, like 500")
    return count
