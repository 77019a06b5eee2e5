"""`python -m bench diversity`: compare three wordings of prompts at the same number of images.

The arms are one prompt per class, templates, and templates with attributes. The benchmark measures the diversity in the
features of a classifier that was trained on real images, the coverage of the attributes as measured on pixels, and the
accuracy on real validation images of classifiers that train on each arm.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml

from bench.machine import ROOT, machine
from engine.evaluation.prompt_diversity import Diversity, compare_diversity
from engine.evaluation.sweep_result import SweepResult
from engine.run.run import load_run
from engine.training.generator.image_attributes import Thresholds, measure
from shards import ShardStream

SPEC = "jobs/specs/digits.yaml"
ALPHAS = (0.5, 1.0)
SEEDS = 5
TEMPLATES = (
    "a handwritten digit {class}",
    "a handwritten {class}",
    "the digit {class}",
    "an image of a {class}",
    "a photo of the handwritten number {class}",
    "handwritten digit {class}",
    "the handwritten digit {class}",
    "a handwritten digit, class {class}",
)
ARMS: dict[str, dict[str, Any]] = {
    "one prompt": {"templates": [TEMPLATES[0]], "attributes": {}},
    "templates": {"templates": list(TEMPLATES), "attributes": {}},
    "templates and attributes": {},
}
"""Each arm replaces these fields of the spec's prompts."""


def main(out: Path, work: Path | None) -> None:
    with TemporaryDirectory() as temporary:
        folder = work or Path(temporary)
        for name, prompts in ARMS.items():
            _run_arm(folder / name, prompts)
        rows = _rows(folder)
    out.mkdir(parents=True, exist_ok=True)
    content = {"spec": SPEC, "alphas": ALPHAS, "seeds": SEEDS, "arms": rows, "machine": machine()}
    (out / "diversity.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    table = _table(rows, content["machine"])
    (out / "diversity.md").write_text(table, encoding="utf-8")
    print(table)


def _run_arm(run: Path, prompts: dict[str, Any]) -> None:
    settings = [f"sweep.alphas={list(ALPHAS)}", f"sweep.seeds={SEEDS}"]
    settings += [f"prompts.{key}={yaml.safe_dump(value, default_flow_style=True)}" for key, value in prompts.items()]
    overrides = [part for setting in settings for part in ("--set", setting)]
    for command in ("generate", "sweep"):
        line = [sys.executable, "-m", "jobs", command, SPEC, "--out", str(run.absolute()), *overrides]
        subprocess.run(line, cwd=ROOT, check=True)


def _rows(folder: Path) -> list[dict[str, Any]]:
    runs = {name: load_run(folder / name) for name in ARMS}
    real, *synthetic = compare_diversity(runs)
    rows = [_row("real (world split)", real, folder / next(iter(ARMS)) / "real" / "world", None)]
    for name, diversity in zip(ARMS, synthetic, strict=True):
        rows.append(_row(name, diversity, folder / name / "shards", SweepResult.read(runs[name].store)))
    return rows


def _row(name: str, diversity: Diversity, shards: Path, sweep: SweepResult | None) -> dict[str, Any]:
    arms = {} if sweep is None else sweep.by_alpha
    accuracy = {str(alpha): arm.quality_per_seed for alpha, arm in arms.items() if alpha in (0.0, *ALPHAS)}
    return {
        "arm": name,
        "images": diversity.images,
        "distinct_prompts_of_a_class": diversity.prompts,
        "distance": diversity.distance,
        "vendi": diversity.vendi,
        "encoded_of_a_class": diversity.encoded,
        "attribute_coverage": coverage(ShardStream(shards, shuffle=False), diversity.encoded),
        "accuracy": accuracy,
    }


def coverage(stream: ShardStream, count: int) -> float:
    """Return the share of attribute combinations that the first `count` images of a class reach, averaged over classes.

    Each of the four attributes is measured on the pixels and has three values, the thirds of its range.
    """
    thresholds, classes = _thresholds()
    shares = []
    for label in range(classes):
        rows = np.flatnonzero(stream.index.label == label)[:count]
        images = stream.read(rows.tolist()).image
        values = [thresholds.words(measure(image, list(thresholds.cuts)), label) for image in images]
        combinations = {tuple(sorted(words.items())) for words in values}
        shares.append(len(combinations) / 3 ** len(thresholds.cuts))
    return float(np.mean(shares))


def _thresholds() -> tuple[Thresholds, int]:
    attributes = json.loads((ROOT / "engine/embedded/digits/attributes.json").read_text(encoding="utf-8"))
    cuts = {
        name: tuple((low, high) for low, high in attribute["cuts"].values()) for name, attribute in attributes.items()
    }
    return Thresholds(cuts), len(next(iter(cuts.values())))


def _table(rows: Sequence[dict[str, Any]], machine_facts: object) -> str:
    lines = [
        f"`python -m bench diversity`: {SPEC}, the same number of images in every arm; accuracy on real validation,",
        f"mean (and range) of {SEEDS} seeds, with 10 real images of each class at alpha 0.5 and none at 1.",
        "",
        "| prompts | images | distinct a class | distance | Vendi score | attribute coverage | alpha 0.5 | alpha 1 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        prompts = f"{row['distinct_prompts_of_a_class']:.0f}" if row["accuracy"] else ""
        accuracy = [_spread(row["accuracy"].get(str(alpha))) for alpha in ALPHAS]
        lines.append(
            f"| {row['arm']} | {row['images']:,} | {prompts} | {row['distance']:.3f} | {row['vendi']:.2f} "
            f"| {100 * row['attribute_coverage']:.0f}% | {' | '.join(accuracy)} |"
        )
    baseline = rows[1]["accuracy"]["0.0"]
    lines += [
        "",
        f"Without synthetic images: {_spread(baseline)}. Features: a small classifier trained on the real world",
    ]
    lines += [
        f"split; {rows[0]['encoded_of_a_class']} images of each class and arm. Machine: {json.dumps(machine_facts)}",
        "",
    ]
    return "\n".join(lines)


def _spread(values: Sequence[float] | None) -> str:
    if not values:
        return ""
    return f"{100 * float(np.mean(values)):.1f}% ({100 * min(values):.1f} to {100 * max(values):.1f})"
