"""Looking at a run while it is made, from any machine that can read its output."""

import json
import time
from argparse import ArgumentTypeError, Namespace
from typing import TYPE_CHECKING

from jobs.arguments import AddCommand, run_argument

if TYPE_CHECKING:
    from rich.console import Console

    from engine.monitoring.run_status import Status

_SHOWN = 50
_SHOWN_STRAGGLERS = 10


def register(command: AddCommand) -> None:
    """The command of this file."""
    text = "How far a run is: classes, rate, failures, stragglers, cost; read from its output alone."
    look = command("status", status, text, "status runs/digits --watch 30")
    run_argument(look)
    look.add_argument("--json", action="store_true", help="one JSON object, for programs")
    look.add_argument(
        "--watch", metavar="SECONDS", type=_seconds, help="again every so many seconds, until the run is complete"
    )


def status(arguments: Namespace) -> None:
    """Print the status of a run, once or until it is complete."""
    from rich.console import Console

    from engine.monitoring.run_status import status as read_status
    from engine.run.run import load_run

    run, console = load_run(arguments.place), Console(highlight=False)
    while True:
        found = read_status(run, time.time())
        if arguments.json:
            print(json.dumps(found.as_json(), ensure_ascii=False), flush=True)
        else:
            if arguments.watch is not None:
                console.clear()
            _show(found, console)
        if arguments.watch is None or found.complete:
            return
        time.sleep(arguments.watch)


def _show(found: "Status", console: "Console") -> None:
    from rich.table import Table

    console.print(_headline(found), markup=False, soft_wrap=True)
    table = Table(box=None)
    for heading in ("class", "made", "planned", "failed"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for one in found.classes[:_SHOWN]:
        table.add_row(one.name, f"{one.kept:,}", f"{one.planned:,}", f"{one.failed:,}")
    if len(found.classes) > _SHOWN:
        table.add_row(f"... {len(found.classes) - _SHOWN} more classes", "", "", "")
    console.print(table)
    for line in _details(found):
        console.print(line, markup=False, soft_wrap=True)


def _headline(found: "Status") -> str:
    from engine.monitoring.run_progress import duration

    made, planned = sum(one.kept for one in found.classes), sum(one.planned for one in found.classes)
    parts = [f"{found.name}: {made:,} of {planned:,} images", f"{found.units_done:,} of {found.units:,} units"]
    if found.images_per_second is not None:
        parts.append(f"{found.images_per_second:.1f} img/s")
    if found.eta_s is not None:
        parts.append(f"ETA {duration(found.eta_s)}")
    return " | ".join(parts)


def _details(found: "Status") -> list[str]:
    from engine.monitoring.estimate import megabytes
    from engine.monitoring.run_progress import duration
    from engine.monitoring.run_status import STRAGGLING

    lines = [f"{megabytes(found.disk_bytes)}, {found.cost} so far"]
    if found.waiting is not None:
        lines.append(f"devices had nothing to do for {100 * found.waiting:.1f}% of the time that units had them")
    if found.complete:
        lines.append("complete")
    elif found.idle_s is None:
        lines.append("no unit is finished so far")
    else:
        ended = found.units_done + len(found.quarantined) == found.units
        more = (
            "; only quarantined ones are left" if ended else "" if found.running else "; it stands still, or has ended"
        )
        lines.append(f"last unit finished {duration(found.idle_s)} ago{more}")
    for title, counts in (("rejected", found.rejected), ("failed slots", found.failed)):
        if counts:
            lines.append(f"{title}: " + ", ".join(f"{n:,} {why}" for why, n in sorted(counts.items())))
    lines += [f"quarantined: {shard}: {why}" for shard, why in list(found.quarantined.items())[:_SHOWN]]
    if found.stragglers:
        lines.append(f"stragglers, over {STRAGGLING:g} times the median of {found.median_s:.1f} s:")
        lines += [f"  {one.shard}: {one.seconds:.1f} s on {one.device}" for one in found.stragglers[:_SHOWN_STRAGGLERS]]
    return lines


def _seconds(text: str) -> float:
    seconds = float(text)  # argparse says of a ValueError that the value is invalid
    if not 0 < seconds < float("inf"):
        raise ArgumentTypeError(f"{text} is no time to wait, like 30")
    return seconds
