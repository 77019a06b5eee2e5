"""`python -m bench collapse-generator`: retrain the embedded generator on its own images, twice.

The table shows how much diversity each generation keeps, and which alpha helps most.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.machine import ROOT, machine
from engine.evaluation.measure_result import ALL_CLASSES, REAL, MeasureResult
from engine.evaluation.sweep_result import SweepResult
from engine.run.run import load_run

SPEC, TRAINING = "jobs/specs/experiments/digits-collapse.yaml", "jobs/specs/digits-generator.yaml"
ROUNDS = 2
_DIVERSITY_MEASURES = ("recall", "coverage")
_ALL_WORLD = {"world": 1, "train": 0, "validation": 0, "test": 0}
_COLOURS = ("#0f766e", "#b45309", "#be123c")

Round = dict[str, Any]


def main(out: Path, work: Path | None) -> None:
    with TemporaryDirectory() as folder:
        rows = _run_rounds((work or Path(folder)).absolute())
    out.mkdir(parents=True, exist_ok=True)
    content = {
        "protocol": f"{SPEC}; then {TRAINING} on the images of the round before, none of them real",
        "rounds": rows,
        "commands": ["python -m bench collapse-generator --out bench/results"],
        "machine": machine(),
    }
    (out / "collapse_generator.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    text = _table(rows, content["machine"])
    (out / "collapse_generator.md").write_text(text, encoding="utf-8")
    _plot(rows, out / "collapse_generator.png")
    print(text)


def _run_rounds(work: Path) -> list[Round]:
    rows, model = [], "embedded/digits"
    for number in range(ROUNDS + 1):
        run = work / f"round{number}"
        _run_job("experiment", SPEC, "--out", str(run), "--set", f"model.source={model}")
        rows.append(_read_round(run, number))
        if number < ROUNDS:
            model = str(work / f"model{number + 1}")
            data = {"source": "webdataset", "path": str(run / "shards"), "synthetic": True, "splits": _ALL_WORLD}
            changes = [f"data={json.dumps(data)}", "pool.copies=8"]
            _run_job(
                "train-generator", TRAINING, "--out", model, *(part for change in changes for part in ("--set", change))
            )
    return rows


def _run_job(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "jobs", *arguments], cwd=ROOT, check=True)


def _read_round(run: Path, number: int) -> Round:
    store = load_run(run).store
    sweep, measures = SweepResult.read(store), MeasureResult.read(store)
    assert sweep is not None
    assert measures is not None
    (row,) = (row for row in measures.rows if row.class_name == ALL_CLASSES and row.strategy != REAL)
    return {
        "generations_of_synthetic_data": number + 1,
        "alpha_star": sweep.alpha_star,
        "alpha_star_range": sweep.alpha_star_range,
        "arms": [{"alpha": arm.alpha, **dict(arm.quality), "lift": dict(arm.lift)} for arm in sweep.arms],
        "fd": row.values["fd"],
        **{key: row.values[key] for key in _DIVERSITY_MEASURES},
    }


def _table(rows: Sequence[Mapping[str, Any]], machine_facts: object) -> str:
    """Return the Markdown table of all rounds."""
    lines = [
        f"`python -m bench collapse-generator`: {SPEC} with the embedded model, and with models that learned only",
        "from the images of the model before. FD, recall and coverage against real validation images by an",
        "encoder of the real world split, mean over classes; accuracy on real validation with 95% intervals.",
        "",
        "| generations | FD | recall | coverage | alpha* [range] | at alpha* over real alone | synthetic alone |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        star = next(arm for arm in row["arms"] if arm["alpha"] == row["alpha_star"])
        alone = row["arms"][-1]
        low, high = row["alpha_star_range"]
        cells = [
            f"{row['generations_of_synthetic_data']}",
            f"{row['fd']:.1f}",
            *(f"{row[key]:.2f}" for key in _DIVERSITY_MEASURES),
            f"{row['alpha_star']:g} [{low:g}, {high:g}]",
            _points(star["lift"]),
            f"{100 * alone['mean']:.1f}% [{100 * alone['low']:.1f}, {100 * alone['high']:.1f}]",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"Machine: {json.dumps(machine_facts)}", ""])


def _points(lift: Mapping[str, float]) -> str:
    return f"{100 * lift['mean']:+.1f} [{100 * lift['low']:+.1f}, {100 * lift['high']:+.1f}]"


def _plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    curve, diversity = figure.subplots(1, 2)
    for colour, row in zip(_COLOURS, rows, strict=False):
        alpha = [arm["alpha"] for arm in row["arms"]]
        curve.plot(
            alpha, [100 * arm["mean"] for arm in row["arms"]], "o-", color=colour,
            label=f"{row['generations_of_synthetic_data']} generation(s), alpha* {row['alpha_star']:g}",
        )  # fmt: skip
        low, high = ([100 * arm[side] for arm in row["arms"]] for side in ("low", "high"))
        curve.fill_between(alpha, low, high, color=colour, alpha=0.12, linewidth=0)
    curve.set(xlabel="alpha, the synthetic fraction", ylabel="% of real validation", title="accuracy against alpha")
    generations = [row["generations_of_synthetic_data"] for row in rows]
    for name in _DIVERSITY_MEASURES:
        diversity.plot(generations, [row[name] for row in rows], "o-", label=name)
    diversity.set(xlabel="generations of synthetic data", title="how much of the real images they cover", ylim=(0, 1))
    diversity.set_xticks(generations)
    for axes in (curve, diversity):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=110)
