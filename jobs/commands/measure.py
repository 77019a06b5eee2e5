"""Which synthetic images are near real ones: the measures of each class and prompt strategy."""

import json
import sys
from argparse import ArgumentTypeError, Namespace
from typing import TYPE_CHECKING, Any

from jobs.arguments import AddCommand, run_argument
from jobs.printing import say, visible

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN = 60
_WIDTH = 120
_LISTED = 10


def register(command: AddCommand) -> None:
    """The command of this file."""
    text = (
        "Measure each class and prompt strategy of a run against strictly real images: FID, KID, precision, recall, "
        "density, coverage, fit to the class with outliers, copies of real images."
    )
    added = command("measure", measure, text, "measure runs/digits")
    run_argument(added)
    added.add_argument(
        "--encoder",
        metavar="NAME",
        default="offline",
        help="what sees the images: `offline` trains a small classifier on the real world split (the default); or a "
        "hub id or folder of a CLIP or DINOv2 model, such as facebook/dinov2-base",
    )
    added.add_argument("--most", metavar="N", type=_count, help="look at so many images of each class and strategy")
    added.add_argument("--json", action="store_true", help="print what RUN/measures.json holds")


def measure(arguments: Namespace) -> None:
    """Measure, and print the table, the outliers and the copies."""
    from engine.evaluation.run_measures import NAME, measure_run
    from engine.run.run import load_run
    from jobs.progress import shown

    run = load_run(arguments.place)
    print(f"measuring {run.store} by the {arguments.encoder} encoder", file=sys.stderr)
    found = measure_run(run, arguments.encoder, shown, arguments.most)
    if arguments.json:
        print(json.dumps(found, ensure_ascii=False))
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.width = max(console.width, _WIDTH)  # a narrow terminal folds lines rather than losing columns
    console.print(_table(found))
    for line in _lines(found):
        say(line)
    say(f"all of it: {run.store}/{NAME}")


def _table(found: dict[str, Any]) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    title = f"against {found['reference']['images']:,} real images of {found['reference']['split']}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in ("class", "strategy"):
        table.add_column(heading, no_wrap=True)
    for heading in ("n", "FID", "KID", "prec.", "recall", "dens.", "cover.", "margin", "outliers", "copies"):
        table.add_column(heading, justify="right")
    for row in found["rows"][:_SHOWN]:
        table.add_row(escape(visible(row["class_name"])), row["strategy"], *_cells(row))
    return table


def _cells(row: dict[str, Any]) -> list[str]:
    kid, among = row["kid"], row["manifold"] or dict.fromkeys(("precision", "recall", "density", "coverage"))
    return [
        f"{row['compared']:,}",
        _number(row["fid"], 1),
        "" if kid is None else f"{kid['mean']:.3f} ± {kid['standard_error']:.3f}",
        *(_number(one, 2) for one in among.values()),
        _number(row["margin"], 2),
        *("" if row[name] is None else f"{row[name]:,}" for name in ("outliers", "copies")),
    ]


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _lines(found: dict[str, Any]) -> list[str]:
    """What the table does not say."""
    encoder, outliers, copies = found["encoder"], found["outliers"], found["copies"]
    lines = [f"... {len(found['rows']) - _SHOWN} more rows"] * (len(found["rows"]) > _SHOWN)
    lines.append(f"features: {encoder['told']}")
    lines += [
        f"outlier: {one['key']} ({one['class_name']}, {one['strategy']}) looks like {one['other']}, "
        f"margin {one['margin']:.2f}"
        for one in outliers[:_LISTED]
    ]
    lines.append(f"copies of real images: {copies['found']:,}, looked for among {copies['of_real']:,}")
    lines += [
        f"copy: {one['key']} ({one['class_name']}) of {one['real']}{', mirrored' * one['mirrored']}"
        for one in copies["images"][:_LISTED]
    ]
    return lines


def _count(text: str) -> int:
    count = int(text)  # argparse says of a ValueError that the value is invalid
    if count < 1:
        raise ArgumentTypeError(f"{text} is no number of images, like 500")
    return count
