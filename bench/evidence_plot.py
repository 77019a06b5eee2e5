"""The plot of an experiment: the curves of its generators, every arm side by side, and where arms are wrong."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

_COLOURS = ("#0f766e", "#c2410c", "#4338ca", "#be185d")
_GREY = "#64748b"

Sweeps = Mapping[str, Mapping[str, Any]]
"""The content of sweep.json, by generator."""


def measure_of(sweep: Mapping[str, Any]) -> str:
    """What an arm is judged by, in words."""
    return "mean IoU" if sweep["measure"] == "mean_iou" else str(sweep["measure"])


def plot(sweeps: Sweeps, path: Path) -> None:
    """Write a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.6 + 3.4 * len(sweeps)), layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(1 + len(sweeps), 1, squeeze=False, height_ratios=[1.35] + [1] * len(sweeps))[:, 0]
    for axes in rows:
        axes.set_axis_off()
    above = rows[0].get_subplotspec().subgridspec(1, 2)
    _curves(figure.add_subplot(above[0]), sweeps)
    _bars(figure.add_subplot(above[1]), sweeps)
    for row, (name, sweep) in zip(rows[1:], sweeps.items(), strict=True):
        shown = _confusions(sweep)
        cells = row.get_subplotspec().subgridspec(1, len(shown))
        for cell, arm in zip(cells, shown, strict=True):
            _confusion(figure.add_subplot(cell), arm, sweep["classes"], name)
    figure.savefig(path, dpi=100)


def _curves(axes: Axes, sweeps: Sweeps) -> None:
    for colour, (name, sweep) in zip(_COLOURS, sweeps.items(), strict=False):
        arms = sweep["arms"]
        alpha = [arm["alpha"] for arm in arms]
        axes.plot(alpha, [100 * arm["mean"] for arm in arms], "o-", color=colour, label=name or "real and synthetic")
        low, high = ([100 * arm[side] for arm in arms] for side in ("low", "high"))
        axes.fill_between(alpha, low, high, color=colour, alpha=0.15, linewidth=0)
        for arm in arms:
            axes.scatter(
                [arm["alpha"]] * len(arm["points"]), 100 * np.array(arm["points"]), s=9, color=colour, alpha=0.6
            )
    measure = measure_of(next(iter(sweeps.values())))
    axes.set(xlabel="alpha, the synthetic fraction", ylabel="% on real validation", title=f"{measure} against alpha")
    axes.grid(alpha=0.3)
    axes.legend()


def _bars(axes: Axes, sweeps: Sweeps) -> None:
    told = []
    for colour, (name, sweep) in zip(_COLOURS, sweeps.items(), strict=False):
        others = [*sweep["alternatives"], *([sweep["oracle_arm"]] if sweep["oracle_arm"] else [])]
        told += [(f"{name} {arm['name']}".strip(), arm, colour) for arm in sweep["arms"]]
        told += [(f"{name} {arm['name']}".strip(), arm, _GREY) for arm in others]
    for place, (_, arm, colour) in enumerate(reversed(told)):
        for shift, key, marker in ((0.12, None, "o"), (-0.12, "macro_f1", "s")):
            found = arm if key is None else arm[key]
            if found is not None:
                axes.plot([100 * found["low"], 100 * found["high"]], [place + shift] * 2, color=colour, linewidth=1.4)
                axes.plot([100 * found["mean"]], [place + shift], marker, color=colour, markersize=5 - bool(key))
    axes.set_yticks(range(len(told)), [name.replace("_", " ") for name, _, _ in reversed(told)])
    measure = measure_of(next(iter(sweeps.values())))
    f1 = ", macro F1 (squares)" if any(arm["macro_f1"] for _, arm, _ in told) else ""
    axes.set(title=f"every arm: {measure} (circles){f1}, %")
    axes.grid(alpha=0.3, axis="x")


def _confusions(sweep: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """First, middle and last of the curve, and the best alternative."""
    arms = sweep["arms"]
    shown = [arms[0], *([arms[len(arms) // 2]] if len(arms) > 2 else []), arms[-1]]
    best = max(sweep["alternatives"], key=lambda arm: float(arm["mean"]), default=None)
    return shown if best is None else [*shown, best]


def _confusion(axes: Axes, arm: Mapping[str, Any], classes: list[str], name: str) -> None:
    found = np.array(arm["confusion"], float)
    share = found / np.maximum(found.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=7)
    axes.set_yticks(range(len(classes)), classes, fontsize=7)
    axes.set_title(f"{name} {arm['name']}".strip(), fontsize=9)
