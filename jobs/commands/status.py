"""The command that shows the status of a run, from any machine that can read its output."""

import json
import time
from argparse import ArgumentTypeError, Namespace
from typing import TYPE_CHECKING

from engine.monitoring.formatting import format_bytes, format_duration
from jobs.arguments import AddCommand, run_argument

if TYPE_CHECKING:
    from rich.console import Console

    from engine.monitoring.run_status import RunStatus

_SHOWN = 50
_SHOWN_STRAGGLERS = 10


def register(command: AddCommand) -> None:
    """Add the command of this file."""
    text = "Show how far a run is: classes, rate, failures, stragglers, cost; read from its output alone."
    parser = command("status", status, text, "status runs/digits --watch 30")
    run_argument(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")
    parser.add_argument(
        "--watch", metavar="SECONDS", type=_seconds, help="repeat every so many seconds, until the run is complete"
    )


def status(arguments: Namespace) -> None:
    """Print the status of a run, once or until it is complete."""
    from rich.console import Console

    from engine.monitoring.run_status import read_status
    from engine.run.run import load_run

    run, console = load_run(arguments.place), Console(highlight=False)
    while True:
        current = read_status(run, time.time())
        if arguments.json:
            print(json.dumps(current.as_json(), ensure_ascii=False), flush=True)
        else:
            if arguments.watch is not None:
                console.clear()
            _show(current, console)
        if arguments.watch is None or current.complete:
            return
        time.sleep(arguments.watch)


def _show(current: "RunStatus", console: "Console") -> None:
    from rich.table import Table

    console.print(_headline(current), markup=False, soft_wrap=True)
    table = Table(box=None)
    for heading in ("class", "made", "planned", "failed"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for counts in current.classes[:_SHOWN]:
        table.add_row(counts.name, f"{counts.kept:,}", f"{counts.planned:,}", f"{counts.failed:,}")
    if len(current.classes) > _SHOWN:
        table.add_row(f"... {len(current.classes) - _SHOWN} more classes", "", "", "")
    console.print(table)
    for line in _details(current):
        console.print(line, markup=False, soft_wrap=True)


def _headline(current: "RunStatus") -> str:
    made, planned = (sum(getattr(counts, field) for counts in current.classes) for field in ("kept", "planned"))
    parts = [f"{current.name}: {made:,} of {planned:,} images", f"{current.units_done:,} of {current.units:,} units"]
    if current.images_per_second is not None:
        parts.append(f"{current.images_per_second:.1f} img/s")
    if current.eta_s is not None:
        parts.append(f"ETA {format_duration(current.eta_s)}")
    return " | ".join(parts)


def _details(current: "RunStatus") -> list[str]:
    from engine.monitoring.run_status import STRAGGLER_FACTOR

    lines = [f"{format_bytes(current.disk_bytes)}, {current.cost} so far"]
    if current.wait_share is not None:
        lines.append(f"devices waited for {100 * current.wait_share:.1f}% of the time of the finished units")
    lines.append(_activity(current))
    for title, counts in (("rejected", current.rejected), ("failed slots", current.failed)):
        if counts:
            lines.append(f"{title}: " + ", ".join(f"{n:,} {reason}" for reason, n in sorted(counts.items())))
    lines += [f"quarantined: {shard}: {error}" for shard, error in list(current.quarantined.items())[:_SHOWN]]
    if current.stragglers:
        lines.append(f"stragglers, over {STRAGGLER_FACTOR:g} times the median of {current.median_s:.1f} s:")
        slowest = current.stragglers[:_SHOWN_STRAGGLERS]
        lines += [f"  {unit.shard}: {unit.seconds:.1f} s on {unit.device}" for unit in slowest]
    return lines


def _activity(current: "RunStatus") -> str:
    if current.complete:
        return "complete"
    if current.idle_s is None:
        return "no unit is finished so far"
    last = f"last unit finished {format_duration(current.idle_s)} ago"
    if current.units_done + len(current.quarantined) == current.units:
        return f"{last}; only quarantined units are left"
    return last if current.running else f"{last}; the run is stuck or has ended"


def _seconds(text: str) -> float:
    seconds = float(text)  # argparse reports a ValueError as an invalid value
    if not 0 < seconds < float("inf"):
        raise ArgumentTypeError(f"{text} is not a positive number of seconds, like 30")
    return seconds
