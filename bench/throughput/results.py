"""Results: files that are written after every row, and the table in bench/README.md."""

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
    """All rows of a command.

    name:    the command, `cpu` or `gpu`.
    files:   JSON files of all rows.
    table:   Markdown file of the table.
    pages:   Markdown files that show the table between marks with this name.
    machine: facts about this machine, stored with each new row.
    """

    name: str
    files: Sequence[Path]
    table: Path | None
    pages: Sequence[Path]
    machine: Mapping[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, row: Row, stolen: float | None = None) -> None:
        """Add a row, replacing an older one of the same system, and write all files, so that no result is lost.

        stolen: `Stolen.share` since the benchmark began.
        """
        new = {**row.as_json(), "stolen": stolen and round(stolen, 3), "machine": dict(self.machine)}
        others = [old for old in self.rows if not _replaces(new, old)]
        self.rows = sorted([*others, new], key=lambda row: row["bench"])
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
        """Return the benchmark and workload of each row that missed its target."""
        return [f"{row['bench']} {row['workload']}" for row in self.rows if row["ok"] is False]


def _replaces(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    if new["bench"] == old["bench"] and old["workload"] == ALL_OF_IT:
        return True
    same_system = all(new[name] == old[name] for name in ("bench", "workload", "system"))
    return same_system and (old["median"] is None or new["ratio_to"] == old["ratio_to"])


def table(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    """Return the rows as Markdown, with notes and machines."""
    lines = [COLUMNS, "|---|---|---|---|---|---|---|---|---|", *map(line, rows)]
    notes = dict.fromkeys(f"{row['bench']}, {row['workload']}: {row['note']}" for row in rows if row["note"])
    note_lines = [f"- {note}" for note in notes]
    head = f"`python -m bench {name}`: the ratio is the median of the rounds' ratios; more is better."
    footer = [*_machines(rows), *_stolen(rows), ""]
    return "\n".join([head, "", *lines, "", *note_lines, *([""] if note_lines else []), *footer])


def _machines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each machine; if there are several, with the benchmarks that ran on it."""
    machines: dict[str, dict[str, None]] = {}
    for row in rows:
        machines.setdefault(json.dumps(row["machine"]), {})[row["bench"]] = None
    if len(machines) == 1:
        return [f"Machine: {machine}" for machine in machines]
    return [f"- Machine of {', '.join(benchmarks)}: {machine}" for machine, benchmarks in machines.items()]


def _stolen(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line with the share of the cores' time that the host took during each benchmark, if known."""
    shares = {row["bench"]: f"{row['bench']} {row['stolen']:.0%}" for row in rows if row.get("stolen") is not None}
    return ["", f"The machine's host took of its cores' time: {', '.join(shares.values())}."] if shares else []


def line(row: Mapping[str, Any]) -> str:
    """Return a row as a line of the table."""
    median = "not run" if row["median"] is None else f"{row['median']:,.4g} {row['unit']}"
    spread = "" if row["spread"] is None else "{:,.4g} to {:,.4g}".format(*row["spread"])
    ratio = "" if row["ratio"] is None else f"{row['ratio']:,.3g}"
    target = "" if row["target"] is None else f"{row['target']:g}"
    cells = (row["bench"], row["workload"], row["system"], median, spread, ratio, row["ratio_to"], target)
    return f"| {' | '.join(cells)} | {_MARKS[row['ok']]} |"


def put_between(page: str, name: str, text: str) -> str:
    """Return the page with the text between the marks of this name. Raises ValueError if a mark is missing."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, opened, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not opened or not closed:
        raise ValueError(f"the page lacks {begin} or {end}; put both where the table belongs")
    return f"{before}{begin}\n\n{text}\n{end}{after}"
