"""Rows of the table: the figures of one system and their ratio to a baseline. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Row:
    """The figures of one system under one workload.

    bench:  B1 to B8, or `fast path`.
    values: one figure per round, in `unit`. More is better if the unit begins with `images`.
    ratio:  ratio to the baseline; larger is always better.
    beside: the baseline of the ratio.
    target: the smallest ratio that is good enough; None if there is no target, as for peers.
    note:   a remark for the reader, or the reason why the system was not run.
    """

    bench: str
    workload: str
    system: str
    unit: str
    values: tuple[float, ...] = ()
    ratio: float | None = None
    beside: str = ""
    target: float | None = None
    note: str = ""

    @property
    def ok(self) -> bool | None:
        """Return whether the target is reached; None if there is no target or no measurement."""
        return None if self.target is None or self.ratio is None else self.ratio >= self.target

    def as_json(self) -> dict[str, Any]:
        """Return the row for the JSON file. median and spread (lowest and highest round) are None if it was not run."""
        return {
            "bench": self.bench,
            "workload": self.workload,
            "system": self.system,
            "unit": self.unit,
            "median": _short(median(self.values)) if self.values else None,
            "spread": [_short(min(self.values)), _short(max(self.values))] if self.values else None,
            "rounds": len(self.values),
            "ratio": None if self.ratio is None else _short(self.ratio),
            "ratio_to": self.beside,
            "target": self.target,
            "ok": self.ok,
            "note": self.note,
        }


OURS = "shardmill"


def paired(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the rounds' ratios.

    Both figures of a round were measured one after the other, so slow changes of the machine's speed cancel out.
    """
    return median(our_rate / their_rate for our_rate, their_rate in zip(ours, theirs, strict=True))


def beside(
    bench: str,
    workload: str,
    rates: Mapping[str, Sequence[float]],
    targets: Mapping[str, float],
    unit: str = "images/s",
    note: str = "",
) -> Iterator[Row]:
    """Yield a row of ours beside each peer that has a target, and a row of each peer beside ours."""
    ours = rates[OURS]
    for peer, target in targets.items():
        ratio = paired(ours, rates[peer])
        yield Row(bench, workload, OURS, unit, tuple(ours), ratio, peer, target, note)
    for peer in rates:
        if peer != OURS:
            yield Row(bench, workload, peer, unit, tuple(rates[peer]), paired(rates[peer], ours), OURS)


def at_least(bench: str, workload: str, values: Sequence[float], unit: str, least: float, note: str = "") -> Row:
    """Return a row of ours whose figure must reach `least`."""
    ratio = median(values) / least
    return Row(bench, workload, OURS, unit, tuple(values), ratio, f"{least:g} {unit}, the least allowed", 1.0, note)


def at_most(bench: str, workload: str, values: Sequence[float], unit: str, most: float, note: str = "") -> Row:
    """Return a row of ours whose figure must not exceed `most`. The ratio is `most` divided by the figure."""
    ratio = most / max(median(values), 1e-12)
    return Row(bench, workload, OURS, unit, tuple(values), ratio, f"{most:g} {unit}, the most allowed", 1.0, note)


def not_run(bench: str, workload: str, system: str, why: str) -> Row:
    """Return a row that states why there is no figure."""
    return Row(bench, workload, system, "", note=f"not run: {why}")


def _short(value: float) -> float:
    """Round to four significant digits. A fifth would be noise; three would merge 0.97 and 0.9695."""
    return float(f"{value:.4g}")
