"""From measurements to rows, and from rows to a table. Pure."""

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
    """One measurement of samples/s."""

    workload: str
    mode: str
    system: str
    rate: float


def rows(measured: Iterable[Measured], settings: Mapping[str, str]) -> list[Row]:
    """A row for every workload, mode and system, in the order of their first measurement. Ratios are this row's median
    over that of webdataset, of the fastest of the others, and of the limit, in the same workload and mode."""
    rates: dict[tuple[str, str], dict[str, list[float]]] = {}
    for one in measured:
        rates.setdefault((one.workload, one.mode), {}).setdefault(one.system, []).append(one.rate)
    return [
        _row(workload, mode, system, found, settings) for (workload, mode), found in rates.items() for system in found
    ]


def _row(
    workload: str, mode: str, system: str, rates: Mapping[str, Sequence[float]], settings: Mapping[str, str]
) -> Row:
    medians = {name: median(found) for name, found in rates.items()}
    peers = {name: rate for name, rate in medians.items() if name in PEERS}
    best = max(peers, key=lambda name: peers[name], default=None)
    mine = medians[system]
    return {
        "workload": workload,
        "mode": mode,
        "system": system,
        "median": round(mine, 1),
        "min": round(min(rates[system]), 1),
        "max": round(max(rates[system]), 1),
        "rounds": len(rates[system]),
        "ratio_to_webdataset": _ratio(mine, medians.get(REFERENCE)),
        "ratio_to_best_peer": _ratio(mine, None if best is None else peers[best]),
        "best_peer": best,
        "ratio_to_limit": _ratio(mine, medians.get(LIMIT)),
        "settings": settings[system],
    }


def impossible(found: Sequence[Row]) -> list[str]:
    """A line for every row that is faster than decoding alone, by more than noise: its measurement is wrong."""
    return [
        f"{row['workload']}, {row['mode']}: {row['system']} has {row['ratio_to_limit']:.2f} of the decode limit: "
        "its timed window holds work that was done before, or the machine was not quiet; do not use this row"
        for row in found
        if (row.get("ratio_to_limit") or 0) > _NOISE
    ]


def mix_rows(workload: str, found: Sequence[Mapping[str, float]]) -> list[Row]:
    """Rows of one source and of a mix of two, which every process measured in turns; the ratio is the median of its
    ratios."""
    names = {"one": f"{OURS}, MixedStream of one source", "two": f"{OURS}, MixedStream of two sources"}
    return [
        {
            "workload": workload,
            "mode": "one process",
            "system": name,
            "median": round(median(one[kind] for one in found), 1),
            "min": round(min(one[kind] for one in found), 1),
            "max": round(max(one[kind] for one in found), 1),
            "rounds": len(found),
            "ratio_to_one_source": round(median(one[kind] / one["one"] for one in found), 4),
        }
        for kind, name in names.items()
    ]


def with_memory(row: Row, found: Mapping[str, Sequence[float]]) -> Row:
    """The row with megabytes in the first and the last of ten epochs, and the most in any."""
    facts = {}
    for kind, epochs in found.items():
        facts |= {f"{kind}_first_epoch_mb": round(epochs[0]), f"{kind}_last_epoch_mb": round(epochs[-1])}
        facts[f"{kind}_peak_mb"] = round(max(epochs))
    return {**row, **facts}


def markdown(found: Sequence[Row], facts: Mapping[str, Mapping[str, Any]], machine: Mapping[str, Any]) -> str:
    """The table of every workload, settings, and what it was measured on."""
    lines = ["`python -m bench loader`: samples/s of decoded uint8 batches, median (lowest to highest round).", ""]
    for workload in dict.fromkeys(row["workload"] for row in found):
        about = facts[workload]
        lines += [
            f"## {workload}",
            "",
            f"{about['count']:,} samples an epoch ({about['source']}); mean {about['mean_bytes']:,.0f} bytes.",
            "",
            *_workload_lines([row for row in found if row["workload"] == workload]),
            "",
        ]
    lines += [f"**Wrong: {line}**\n" for line in impossible(found)]
    lines += ["## Settings", "", "| system | what was chosen |", "|---|---|"]
    lines += [f"| {name} | {text} |" for name, text in _settings(found).items()]
    return "\n".join([*lines, "", f"Machine: {json.dumps(machine)}", ""])


def _workload_lines(found: Sequence[Row]) -> list[str]:
    lines = [
        "| mode | system | samples/s | to webdataset | to the fastest other | of the limit | memory, epoch 1 and 10 |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found:
        ratios_to = [row.get(f"ratio_to_{name}") for name in ("webdataset", "best_peer", "limit")]
        ratios = " | ".join("" if one is None else f"{one:.2f}" for one in ratios_to)
        if "ratio_to_one_source" in row:
            ratios = f"{row['ratio_to_one_source']:.3f} of one source | | "
        if "ratio_to_local" in row:
            ratios = f"{row['ratio_to_local']:.2f} of local | | "
        memory = f"{row['pss_first_epoch_mb']}, {row['pss_last_epoch_mb']} MB" if "pss_peak_mb" in row else ""
        spread = f"{row['median']:,.0f} ({row['min']:,.0f} to {row['max']:,.0f})"
        lines.append(f"| {row['mode']} | {row['system']} | {spread} | {ratios} | {memory} |")
    return lines


def _settings(found: Sequence[Row]) -> dict[str, str]:
    return {row["system"]: row["settings"] for row in found if "settings" in row}


def _ratio(mine: float, other: float | None) -> float | None:
    return None if other is None else round(mine / other, 3)
