"""`python -m bench collapse`: refit a mixture of Gaussians to its own samples, alone and with all earlier samples."""

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
    trajectories = {arm: _run_arm(arm) for arm in ARMS}
    summary = {
        arm: summarise([[generation for generation, _ in seed] for seed in seeds])
        for arm, seeds in trajectories.items()
    }
    out.mkdir(parents=True, exist_ok=True)
    content = {
        "protocol": {"samples": SAMPLES, "generations": GENERATIONS, "seeds": SEEDS, "components": len(TRUTH.weights)},
        "arms": {
            arm: {
                "mean_and_ci95": summary[arm],
                "seeds": [[asdict(seed[generation][0]) for generation in SHOWN] for seed in seeds],
            }
            for arm, seeds in trajectories.items()
        },
        "commands": ["python -m bench collapse --out bench/results"],
        "machine": machine(),
    }
    (out / "collapse.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
    table = _table(summary, content["machine"])
    (out / "collapse.md").write_text(table, encoding="utf-8")
    _plot(summary, {arm: seeds[0] for arm, seeds in trajectories.items()}, out / "collapse.png")
    print(table)


def _run_arm(arm: str) -> list[Trajectory]:
    trajectories = []
    for seed in range(SEEDS):
        trajectories.append(list(refit_generations(TRUTH, SAMPLES, GENERATIONS, seed, accumulate=arm == "accumulate")))
        print(f"{arm}: seed {seed + 1} of {SEEDS}", file=sys.stderr)
    return trajectories


def summarise(seeds: Sequence[Sequence[Generation]]) -> dict[str, list[Interval]]:
    """Return for each measure the mean over seeds and its bootstrap interval, one per generation."""
    # The bootstrap resamples whole trajectories, so all measures and generations share one set of seeds.
    resampled_seeds = np.random.default_rng(0).integers(len(seeds), size=(_REPLICATES, len(seeds)))
    return {name: _intervals(_values(seeds, name), resampled_seeds) for name in MEASURES}


def _values(seeds: Sequence[Sequence[Generation]], measure: str) -> NDArray[np.float64]:
    return np.array([[getattr(generation, measure) for generation in seed] for seed in seeds], float)


def _intervals(values: NDArray[np.float64], resampled_seeds: NDArray[np.int64]) -> list[Interval]:
    low, high = np.percentile(values[resampled_seeds].mean(axis=1), (2.5, 97.5), axis=0)
    intervals = zip(values.mean(axis=0), low, high, strict=True)
    return [tuple(float(f"{value:.5g}") for value in interval) for interval in intervals]


def _table(summary: Mapping[str, Mapping[str, Sequence[Interval]]], machine_facts: object) -> str:
    lines = [
        f"`python -m bench collapse`: a mixture of three Gaussians is fitted to {SAMPLES} real points. Each later",
        f"generation is fitted to {SAMPLES} points of its predecessor, to these alone (replace) or also to the real",
        f"points and those of all predecessors (accumulate). Mean of {SEEDS} seeds and its 95% interval. Modes: true",
        "components that keep at least a tenth of their weight. Variance: share of the truth's. Divergence:",
        "Kullback-Leibler divergence of the model from the truth. A fit adds 1e-6 to each variance, which bounds it.",
        "",
        f"| generation | {' | '.join(f'{arm}: {name}' for name in MEASURES for arm in ARMS)} |",
        "|---" * (1 + len(MEASURES) * len(ARMS)) + "|",
    ]
    for generation in SHOWN:
        cells = [_cell(summary[arm][name][generation]) for name in MEASURES for arm in ARMS]
        lines.append(f"| {generation} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"Machine: {json.dumps(machine_facts)}", ""])


def _cell(interval: Interval) -> str:
    mean, low, high = (f"{value:,.0f}" if interval[0] > 100 else f"{value:.2f}" for value in interval)
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
        for arm, label in ARMS.items():
            mean, low, high = np.array(summary[arm][name]).T
            axes.plot(mean, color=_COLOURS[arm], label=label)
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
