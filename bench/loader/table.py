"""Rows from measurements, and a table from rows. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.loader.systems import LIMIT, OURS, PEERS, REFERENCE

Row = dict[str, Any]
_NOISE = 1.1


@dataclass(frozen=True)
class Measured:
    """A measurement of samples/s."""

    workload: str
    mode: str
    system: str
    rate: float


def rows(measured: Iterable[Measured], settings: Mapping[str, str]) -> list[Row]:
    """Return a row for every workload, mode and system, in the order of their first measurement.

    The ratios divide the median of the row by that of webdataset, of the fastest peer and of the limit, each in the
    same workload and mode.
    """
    rates: dict[tuple[str, str], dict[str, list[float]]] = {}
    for measurement in measured:
        by_system = rates.setdefault((measurement.workload, measurement.mode), {})
        by_system.setdefault(measurement.system, []).append(measurement.rate)
    return [
        _row(workload, mode, system, by_system, settings)
        for (workload, mode), by_system in rates.items()
        for system in by_system
    ]


def _row(
    workload: str, mode: str, system: str, rates: Mapping[str, Sequence[float]], settings: Mapping[str, str]
) -> Row:
    medians = {name: median(system_rates) for name, system_rates in rates.items()}
    peers = {name: rate for name, rate in medians.items() if name in PEERS}
    best = max(peers, key=lambda name: peers[name], default=None)
    own = medians[system]
    return {
        "workload": workload,
        "mode": mode,
        "system": system,
        "median": round(own, 1),
        "min": round(min(rates[system]), 1),
        "max": round(max(rates[system]), 1),
        "rounds": len(rates[system]),
        "ratio_to_webdataset": _ratio(own, medians.get(REFERENCE)),
        "ratio_to_best_peer": _ratio(own, None if best is None else peers[best]),
        "best_peer": best,
        "ratio_to_limit": _ratio(own, medians.get(LIMIT)),
        "settings": settings[system],
    }


def impossible(table: Sequence[Row]) -> list[str]:
    """Return a line for every row that is faster than decoding alone by more than noise: its measurement is wrong."""
    return [
        f"{row['workload']}, {row['mode']}: {row['system']} has {row['ratio_to_limit']:.2f} of the decode limit: "
        "its timed window contains work from before it, or the machine was not quiet; do not use this row"
        for row in table
        if (row.get("ratio_to_limit") or 0) > _NOISE
    ]


def mix_rows(workload: str, measured: Sequence[Mapping[str, float]]) -> list[Row]:
    """Return the rows of one source and of a mix of two. The ratio is the median of the rounds' ratios."""
    names = {"one": f"{OURS}, MixedStream of one source", "two": f"{OURS}, MixedStream of two sources"}
    return [
        {
            "workload": workload,
            "mode": "one process",
            "system": name,
            "median": round(median(rates[kind] for rates in measured), 1),
            "min": round(min(rates[kind] for rates in measured), 1),
            "max": round(max(rates[kind] for rates in measured), 1),
            "rounds": len(measured),
            "ratio_to_one_source": round(median(rates[kind] / rates["one"] for rates in measured), 4),
        }
        for kind, name in names.items()
    ]


def with_memory(row: Row, memory: Mapping[str, Sequence[float]]) -> Row:
    """Return the row with megabytes of the first and the last epoch, and the peak."""
    facts = {}
    for kind, epochs in memory.items():
        facts |= {f"{kind}_first_epoch_mb": round(epochs[0]), f"{kind}_last_epoch_mb": round(epochs[-1])}
        facts[f"{kind}_peak_mb"] = round(max(epochs))
    return {**row, **facts}


def markdown(table: Sequence[Row], facts: Mapping[str, Mapping[str, Any]], machine: Mapping[str, Any]) -> str:
    """Return the table of every workload, the settings and the machine as Markdown."""
    lines = ["`python -m bench loader`: samples/s of decoded uint8 batches, median (lowest to highest round).", ""]
    for workload in dict.fromkeys(row["workload"] for row in table):
        data = facts[workload]
        lines += [
            f"## {workload}",
            "",
            f"{data['count']:,} samples an epoch ({data['source']}); mean {data['mean_bytes']:,.0f} bytes.",
            "",
            *_workload_lines([row for row in table if row["workload"] == workload]),
            "",
        ]
    lines += [f"**Wrong: {line}**\n" for line in impossible(table)]
    lines += ["## Settings", "", "| system | what was chosen |", "|---|---|"]
    lines += [f"| {name} | {text} |" for name, text in _settings(table).items()]
    return "\n".join([*lines, "", f"Machine: {json.dumps(machine)}", ""])


def _workload_lines(table: Sequence[Row]) -> list[str]:
    lines = [
        "| mode | system | samples/s | to webdataset | to the fastest other | of the limit | memory, epoch 1 and 10 |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in table:
        values = [row.get(f"ratio_to_{name}") for name in ("webdataset", "best_peer", "limit")]
        ratios = " | ".join("" if value is None else f"{value:.2f}" for value in values)
        if "ratio_to_one_source" in row:
            ratios = f"{row['ratio_to_one_source']:.3f} of one source | | "
        if "ratio_to_local" in row:
            ratios = f"{row['ratio_to_local']:.2f} of local | | "
        memory = f"{row['pss_first_epoch_mb']}, {row['pss_last_epoch_mb']} MB" if "pss_peak_mb" in row else ""
        spread = f"{row['median']:,.0f} ({row['min']:,.0f} to {row['max']:,.0f})"
        lines.append(f"| {row['mode']} | {row['system']} | {spread} | {ratios} | {memory} |")
    return lines


def _settings(table: Sequence[Row]) -> dict[str, str]:
    return {row["system"]: row["settings"] for row in table if "settings" in row}


def _ratio(rate: float, other: float | None) -> float | None:
    return None if other is None else round(rate / other, 3)
