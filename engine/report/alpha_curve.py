"""The curve over alpha as SVG that takes its colours from the page, so that it follows light and dark."""

import io
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from engine.report.findings import Findings

# Colours that matplotlib writes into the SVG, and the property of the page's style that each becomes.
_INK, _SOFT, _LINE, _REAL, _SYNTHETIC, _CARD = "#010203", "#020304", "#030405", "#040506", "#050607", "#060708"
_PROPERTIES = {_INK: "ink", _SOFT: "soft", _LINE: "line", _REAL: "real", _SYNTHETIC: "synthetic", _CARD: "card"}
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small, sharp, and found by a search in the page
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _SOFT,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "font.size": 13,
    "axes.labelsize": 13,
    "xtick.labelsize": 13,
    "ytick.labelsize": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
}
_DPI = 72  # of SVG: one point is one unit
_LEFT, _RIGHT, _BELOW, _ABOVE = 50, 62, 54, 32  # room for the labels
_TICK, _LABEL = 40, 36  # for one label: below the axis across, of a line up
_MARGIN = 0.08


def curve(findings: Findings, width: int, height: int) -> str:
    """The measure on real validation against alpha, as an <svg> element of this shape in CSS pixels."""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": f"{width}x{height}"}):  # ids differ between charts of a page
        figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
        across, up = width - _LEFT - _RIGHT, height - _BELOW - _ABOVE
        axes = figure.add_axes((_LEFT / width, _BELOW / height, across / width, up / height))
        _draw_references(axes, findings, up)
        _draw_arms(axes, findings, across)
        _mark_alpha_star(axes, findings)
        _dress(axes, sorted(findings.arms), across, up)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return _adapt(text.getvalue())


def _draw_references(axes: Axes, findings: Findings, up: int) -> None:
    names = {"all real": (findings.baseline, "-"), "oracle": (findings.oracle, (0, (5, 3)))}
    lines = [(name, arm.quality, style) for name, (arm, style) in names.items() if arm is not None]
    for _, interval, style in lines:
        axes.axhspan(interval.low, interval.high, color=_REAL, alpha=0.08, linewidth=0)
        axes.axhline(interval.mean, color=_REAL, linewidth=1.4, linestyle=style, zorder=2)
    heights = _apart([interval.mean for _, interval, _ in lines], _LABEL / up * _span(findings))
    for (name, interval, _), y in zip(lines, heights, strict=True):
        axes.text(
            1.015, y, f"{name}\n{interval.mean:.1%}", transform=axes.get_yaxis_transform(), color=_REAL, va="center"
        )


def _draw_arms(axes: Axes, findings: Findings, across: int) -> None:
    alphas = list(findings.arms)
    beside = 11 * (max(alphas) or 1.0) / across
    means = [arm.quality.mean for arm in findings.arms.values()]
    axes.plot(alphas, means, color=_SYNTHETIC, linewidth=2, zorder=3)
    for alpha, arm in findings.arms.items():
        color = _SYNTHETIC if alpha > 0 else _REAL
        axes.plot([alpha - beside] * len(arm.points), arm.points, "o", color=color, alpha=0.5, ms=5, mew=0, zorder=3)
        axes.vlines(alpha, arm.quality.low, arm.quality.high, color=color, linewidth=1.8, zorder=4)
        axes.plot([alpha], [arm.quality.mean], "o", color=color, markersize=8, mec=_CARD, mew=1.5, zorder=5)


def _mark_alpha_star(axes: Axes, findings: Findings) -> None:
    star, best = findings.alpha_star, findings.chosen.quality.mean
    axes.axvline(star, color=_INK, linewidth=1, linestyle=(0, (1, 3)), zorder=1)
    axes.plot([star], [best], "o", color="none", markersize=15, mec=_INK, mew=1.4, zorder=6)
    place = "left" if star < 0.12 else "right" if star > 0.88 else "center"
    axes.text(star, 1.03, f"alpha* = {star:g}", transform=axes.get_xaxis_transform(), ha=place, weight="bold")


def _dress(axes: Axes, alphas: Sequence[float], across: int, up: int) -> None:
    reach = alphas[-1] or 1.0
    axes.set_xlim(-0.05 * reach, 1.05 * reach)
    axes.margins(y=_MARGIN)
    if min((b - a for a, b in pairwise(alphas)), default=1.0) / reach * across > _TICK:
        axes.set_xticks(alphas, [f"{alpha:g}" for alpha in alphas])
    axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(max(3, up // 50), steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    axes.grid(axis="y", color=_LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, pad=7)
    axes.set_xlabel("alpha, the synthetic fraction", labelpad=8)
    axes.patch.set_visible(False)
    axes.figure.patch.set_visible(False)


def _span(findings: Findings) -> float:
    """How much of the upward axis the drawing takes."""
    arms = [arm for arm in (*findings.arms.values(), findings.oracle) if arm is not None]
    values = [value for arm in arms for value in (arm.quality.low, arm.quality.high, *arm.points)]
    return (max(values) - min(values)) * (1 + 2 * _MARGIN)


def _apart(values: Sequence[float], room: float) -> list[float]:
    """The values, of which there are one or two, moved away from each other until they are `room` apart."""
    if len(values) == 1:
        return list(values)
    first, second = values
    push = max(0.0, room - abs(first - second)) / 2 * (1 if first > second else -1)
    return [first + push, second - push]


def _adapt(svg: str) -> str:
    """The <svg> element alone, in the page's colours and without its fixed size."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    for color, name in _PROPERTIES.items():
        svg = svg.replace(color, f"var(--{name})")
    return svg.replace("<svg ", '<svg aria-hidden="true" ', 1).strip()
