"""A mixture of three Gaussians refitted on its own samples, alone and with all earlier samples kept: what is lost."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.gaussian_collapse import TRUTH, Generation, Mixture, refit_generations
from bench.machine import machine

SAMPLES, GENERATIONS, SEEDS = 100, 200, 20
SHOWN = (0, 10, 50, 100, 200)
MEASURES = {"modes": "modes kept, of 3", "variance": "variance, true 1", "divergence": "divergence, nats"}
ARMS = {"replace": "the predecessor's samples alone", "accumulate": "real and all earlier samples kept"}
_COLOURS = {"replace": "#c2410c", "accumulate": "#0f766e"}
_REPLICATES = 2000

Trajectory = Sequence[tuple[Generation, Mixture]]
Interval = tuple[float, float, float]
"""A mean over seeds and its 95% bootstrap interval."""


def main(out: Path, work: Path | None) -> None:
    seeds_by_arm = {arm: _arm(arm) for arm in ARMS}
    summary = {arm: summarise([[one for one, _ in seed] for seed in seeds]) for arm, seeds in seeds_by_arm.items()}
    out.mkdir(parents=True, exist_ok=True)
    content = {
        "protocol": {"samples": SAMPLES, "generations": GENERATIONS, "seeds": SEEDS, "components": len(TRUTH.weights)},
        "arms": {
            arm: {"mean_and_ci95": summary[arm], "seeds": [[asdict(seed[at][0]) for at in SHOWN] for seed in seeds]}
            for arm, seeds in seeds_by_arm.items()
        },
        "commands": ["python -m bench collapse --out bench/results"],
        "machine": machine(),
    }
    (out / "collapse.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
    table = _table(summary, content["machine"])
    (out / "collapse.md").write_text(table, encoding="utf-8")
    _plot(summary, {arm: seeds[0] for arm, seeds in seeds_by_arm.items()}, out / "collapse.png")
    print(table)


def _arm(arm: str) -> list[Trajectory]:
    seeds = []
    for seed in range(SEEDS):
        seeds.append(list(refit_generations(TRUTH, SAMPLES, GENERATIONS, seed, accumulate=arm == "accumulate")))
        print(f"{arm}: seed {seed + 1} of {SEEDS}", file=sys.stderr)
    return seeds


def summarise(seeds: Sequence[Sequence[Generation]]) -> dict[str, list[Interval]]:
    """For each measure, its mean over seeds and the interval of that, generation after generation."""
    # Seeds are drawn once for all measures and generations, as what belongs together.
    drawn = np.random.default_rng(0).integers(len(seeds), size=(_REPLICATES, len(seeds)))
    return {name: _intervals(_values(seeds, name), drawn) for name in MEASURES}


def _values(seeds: Sequence[Sequence[Generation]], measure: str) -> NDArray[np.float64]:
    return np.array([[getattr(one, measure) for one in seed] for seed in seeds], float)


def _intervals(values: NDArray[np.float64], drawn: NDArray[np.int64]) -> list[Interval]:
    low, high = np.percentile(values[drawn].mean(axis=1), (2.5, 97.5), axis=0)
    return [
        tuple(float(f"{value:.5g}") for value in mean_and_range)
        for mean_and_range in zip(values.mean(axis=0), low, high, strict=True)
    ]


def _table(summary: Mapping[str, Mapping[str, Sequence[Interval]]], made_on: object) -> str:
    lines = [
        f"`python -m bench collapse`: a mixture of three Gaussians, fitted to {SAMPLES} real points, and then again",
        f"and again to {SAMPLES} points of its predecessor: alone (replace), or with the real points and those of all",
        f"predecessors (accumulate). Mean of {SEEDS} seeds, and the 95% bootstrap interval of the mean. Modes: true",
        "components that keep at least a tenth of their weight; variance: as a share of the truth's; divergence:",
        "Kullback-Leibler, of the model from the truth. A fit adds 1e-6 to each variance, which bounds the divergence.",
        "",
        f"| generation | {' | '.join(f'{arm}: {name}' for name in MEASURES for arm in ARMS)} |",
        "|---" * (1 + len(MEASURES) * len(ARMS)) + "|",
    ]
    for generation in SHOWN:
        cells = [_cell(summary[arm][name][generation]) for name in MEASURES for arm in ARMS]
        lines.append(f"| {generation} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"Machine: {json.dumps(made_on)}", ""])


def _cell(interval: Interval) -> str:
    mean, low, high = (f"{one:,.0f}" if interval[0] > 100 else f"{one:.2f}" for one in interval)
    return f"{mean} ({low} to {high})"


def _plot(
    summary: Mapping[str, Mapping[str, Sequence[Interval]]], examples: Mapping[str, Trajectory], path: Path
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 9.5), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(3, 3)
    for axes, (name, title) in zip(grid[0], MEASURES.items(), strict=True):
        for arm, title in ARMS.items():
            mean, low, high = np.array(summary[arm][name]).T
            axes.plot(mean, color=_COLOURS[arm], label=title)
            axes.fill_between(range(len(mean)), low, high, color=_COLOURS[arm], alpha=0.2, linewidth=0)
        axes.set(title=title, xlabel="generation", yscale="log" if name == "divergence" else "linear")
        axes.grid(alpha=0.3)
    grid[0][0].legend(fontsize="small")
    for row, (arm, example) in zip(grid[1:], examples.items(), strict=True):
        for axes, generation in zip(row, (0, GENERATIONS // 4, GENERATIONS), strict=True):
            points = example[generation][1].sample(500, np.random.default_rng(0))
            axes.scatter(*TRUTH.sample(500, np.random.default_rng(1)).T, s=4, color="#94a3b8", label="truth")
            axes.scatter(*points.T, s=4, color=_COLOURS[arm], label="model")
            axes.set(title=f"{arm}, generation {generation}, seed 0", xlim=(-9, 9), ylim=(-9, 9), aspect="equal")
    grid[1][0].legend(fontsize="small", loc="upper left")
    figure.savefig(path, dpi=110)
