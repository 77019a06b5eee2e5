"""Rows to files, after every one of them, and the table on the page about performance."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.throughput.row import Row

COLUMNS = "| | workload | system | median | lowest to highest | ratio | to | target | |"
ALL_OF_IT = "all of it"
"""The workload of a benchmark that failed."""
_MARKS = {True: "yes", False: "**no**", None: ""}


@dataclass
class Results:
    """The results of one machine.

    name:  of the command, `cpu` or `gpu`.
    files: JSON of all rows, written to each.
    table: Markdown of the same; pages: those that show it, between marks of that name.
    """

    name: str
    files: Sequence[Path]
    table: Path | None
    pages: Sequence[Path]
    machine: Mapping[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, row: Row, stolen: float | None = None) -> None:
        """Keep a row instead of an older one of the same, and write all that is known, by benchmarks: a command that
        is interrupted keeps what it has. stolen: see `Stolen.share`, since its benchmark began."""
        new = {**row.as_json(), "stolen": stolen and round(stolen, 3), "machine": dict(self.machine)}
        kept = [old for old in self.rows if not _replaces(new, old)]
        self.rows = sorted([*kept, new], key=lambda one: one["bench"])
        print(line(new), flush=True)
        for path in self.files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self.rows, indent=1) + "\n", encoding="utf-8")
        text = table(self.rows, self.name)
        if self.table is not None:
            self.table.write_text(text, encoding="utf-8")
        for page in self.pages:
            page.write_text(put_between(page.read_text(encoding="utf-8"), self.name, text), encoding="utf-8")

    @property
    def missed(self) -> list[str]:
        """The rows whose target was not reached."""
        return [f"{row['bench']} {row['workload']}" for row in self.rows if row["ok"] is False]


def _replaces(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    if new["bench"] == old["bench"] and old["workload"] == ALL_OF_IT:
        return True
    same = all(new[name] == old[name] for name in ("bench", "workload", "system"))
    return same and (old["median"] is None or new["ratio_to"] == old["ratio_to"])


def table(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    """Rows as Markdown, with what they were measured on."""
    lines = [COLUMNS, "|---|---|---|---|---|---|---|---|---|", *map(line, rows)]
    notes = dict.fromkeys(f"{row['bench']}, {row['workload']}: {row['note']}" for row in rows if row["note"])
    note_lines = [f"- {note}" for note in notes]
    head = f"`python -m bench {name}`: the ratio is the median of the rounds' ratios; more is better."
    return "\n".join(
        [head, "", *lines, "", *note_lines, *([""] if note_lines else []), *_machines(rows), *_stolen(rows), ""]
    )


def _machines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each, with the benchmarks that were run on it where there are several."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        found.setdefault(json.dumps(row["machine"]), {})[row["bench"]] = None
    if len(found) == 1:
        return [f"Machine: {one}" for one in found]
    return [f"- Machine of {', '.join(names)}: {one}" for one, names in found.items()]


def _stolen(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the share of the cores' time that the host took during each benchmark, where it is known."""
    shares = {row["bench"]: f"{row['bench']} {row['stolen']:.0%}" for row in rows if row.get("stolen") is not None}
    return ["", f"The machine's host took of its cores' time: {', '.join(shares.values())}."] if shares else []


def line(row: Mapping[str, Any]) -> str:
    """One row of the table."""
    median = "not run" if row["median"] is None else f"{row['median']:,.4g} {row['unit']}"
    spread = "" if row["spread"] is None else "{:,.4g} to {:,.4g}".format(*row["spread"])
    ratio = "" if row["ratio"] is None else f"{row['ratio']:,.3g}"
    target = "" if row["target"] is None else f"{row['target']:g}"
    cells = (row["bench"], row["workload"], row["system"], median, spread, ratio, row["ratio_to"], target)
    return f"| {' | '.join(cells)} | {_MARKS[row['ok']]} |"


def put_between(page: str, name: str, text: str) -> str:
    """The page with this text between the marks of this name. Raises ValueError where it has none."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the page lacks {begin} or {end}; put both where the table belongs")
    return f"{before}{begin}\n\n{text}\n{end}{after}"
