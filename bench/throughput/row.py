"""Rows: one figure of one system, and what it is beside. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Row:
    """One system under one workload.

    bench:  B1 to B8, or `fast path`.
    unit:   of `values`, of which there is one a round; more is better where it begins with `images`.
    ratio:  always the better the larger, and to what: `beside`.
    target: the least ratio that is good enough; None for what has none to reach, as peers.
    note:   what a reader must know of it, or why it was not run.
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
        """Return whether the target is reached; None without a target or a measurement."""
        return None if self.target is None or self.ratio is None else self.ratio >= self.target

    def as_json(self) -> dict[str, Any]:
        """median and spread, the lowest and the highest round, are None where it was not run."""
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
    """The median of the ratios of rounds: the two of a round were measured one after the other, so that what the
    machine does over minutes is in neither."""
    return median(one / other for one, other in zip(ours, theirs, strict=True))


def beside(
    bench: str,
    workload: str,
    rates: Mapping[str, Sequence[float]],
    targets: Mapping[str, float],
    unit: str = "images/s",
    note: str = "",
) -> Iterator[Row]:
    """Rows of rates: ours beside each peer that has a target, and the peers."""
    mine = rates[OURS]
    for peer, target in targets.items():
        ratio = paired(mine, rates[peer])
        yield Row(bench, workload, OURS, unit, tuple(mine), ratio, peer, target, note)
    for peer in rates:
        if peer != OURS:
            yield Row(bench, workload, peer, unit, tuple(rates[peer]), paired(rates[peer], mine), OURS)


def at_least(bench: str, workload: str, values: Sequence[float], unit: str, least: float, note: str = "") -> Row:
    """A row of ours that is beside a fixed figure."""
    ratio = median(values) / least
    return Row(bench, workload, OURS, unit, tuple(values), ratio, f"{least:g} {unit}, the least allowed", 1.0, note)


def at_most(bench: str, workload: str, values: Sequence[float], unit: str, most: float, note: str = "") -> Row:
    """Return the row of a figure that must not be exceeded; the ratio is the limit divided by the figure."""
    ratio = most / max(median(values), 1e-12)
    return Row(bench, workload, OURS, unit, tuple(values), ratio, f"{most:g} {unit}, the most allowed", 1.0, note)


def not_run(bench: str, workload: str, system: str, why: str) -> Row:
    """A row that says why there is no figure."""
    return Row(bench, workload, system, "", note=f"not run: {why}")


def _short(value: float) -> float:
    """Four significant digits: a fifth is noise; 0.97 and 0.9695 stay apart."""
    return float(f"{value:.4g}")
