"""The plot of an experiment: accuracy against alpha, a bar for every arm, and confusion matrices."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from engine.evaluation.sweep_result import ArmResult, SweepResult
from engine.report.verdict_text import METRIC_NAMES

_COLOURS = ("#0f766e", "#c2410c", "#4338ca", "#be185d")
_GREY = "#64748b"

Sweeps = Mapping[str, SweepResult]
"""Results by the name of the generator."""


def plot(sweeps: Sweeps, path: Path) -> None:
    """Write the plot as a PNG file."""
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
        shown = _arms_with_confusion(sweep)
        cells = row.get_subplotspec().subgridspec(1, len(shown))
        for cell, arm in zip(cells, shown, strict=True):
            _confusion(figure.add_subplot(cell), arm, sweep.classes, name)
    figure.savefig(path, dpi=100)


def _curves(axes: Axes, sweeps: Sweeps) -> None:
    for colour, (name, sweep) in zip(_COLOURS, sweeps.items(), strict=False):
        alpha = list(sweep.by_alpha)
        quality = [arm.quality for arm in sweep.arms]
        label = name or "real and synthetic"
        axes.plot(alpha, [100 * interval.mean for interval in quality], "o-", color=colour, label=label)
        low, high = [100 * interval.low for interval in quality], [100 * interval.high for interval in quality]
        axes.fill_between(alpha, low, high, color=colour, alpha=0.15, linewidth=0)
        for x, arm in sweep.by_alpha.items():
            seeds = 100 * np.array(arm.quality_per_seed)
            axes.scatter([x] * len(seeds), seeds, s=9, color=colour, alpha=0.6)
    measure = METRIC_NAMES[next(iter(sweeps.values())).metric]
    axes.set(xlabel="alpha, the synthetic fraction", ylabel="% on real validation", title=f"{measure} against alpha")
    axes.grid(alpha=0.3)
    axes.legend()


def _bars(axes: Axes, sweeps: Sweeps) -> None:
    bars = [
        (f"{name} {arm.name}".strip(), arm, _GREY if arm.alpha is None else colour)
        for colour, (name, sweep) in zip(_COLOURS, sweeps.items(), strict=False)
        for arm in sweep.by_name.values()
    ]
    for position, (_, arm, colour) in enumerate(reversed(bars)):
        for shift, interval, marker, size in ((0.12, arm.quality, "o", 5), (-0.12, arm.macro_f1, "s", 4)):
            if interval is not None:
                ends = [100 * interval.low, 100 * interval.high]
                axes.plot(ends, [position + shift] * 2, color=colour, linewidth=1.4)
                axes.plot([100 * interval.mean], [position + shift], marker, color=colour, markersize=size)
    axes.set_yticks(range(len(bars)), [name.replace("_", " ") for name, _, _ in reversed(bars)])
    measure = METRIC_NAMES[next(iter(sweeps.values())).metric]
    f1 = ", macro F1 (squares)" if any(arm.macro_f1 for _, arm, _ in bars) else ""
    axes.set(title=f"every arm: {measure} (circles){f1}, %")
    axes.grid(alpha=0.3, axis="x")


def _arms_with_confusion(sweep: SweepResult) -> list[ArmResult]:
    """Return the arms whose confusion matrices are shown: first, middle and last alpha, and the best alternative."""
    arms = sweep.arms
    shown = [arms[0], *([arms[len(arms) // 2]] if len(arms) > 2 else []), arms[-1]]
    best = max(sweep.alternatives, key=lambda arm: arm.quality.mean, default=None)
    return shown if best is None else [*shown, best]


def _confusion(axes: Axes, arm: ArmResult, classes: Sequence[str], name: str) -> None:
    counts = np.array(arm.confusion, float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=7)
    axes.set_yticks(range(len(classes)), classes, fontsize=7)
    axes.set_title(f"{name} {arm.name}".strip(), fontsize=9)
