"""Runs to report on, sweeps with known accuracies, and measures of a small encoder."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from engine.config.spec_file import load_spec
from engine.data.splits import load_splits
from engine.evaluation.comparison import write_sweep
from engine.evaluation.neighbours import noop
from engine.evaluation.run_measures import measure_run
from engine.evaluation.sweep import JUDGED, Sweep, Trial, prepare_sweep, trial_predictions
from engine.evaluation.sweep_result import NearCopy, TrialPredictions, TrialResult
from engine.generators.generator import Request
from engine.run.run import Run, begin_run, load_run, plan_run
from engine.training.classifier.evaluate import Predictions
from engine.worker.runner import run_unit
from shards.codec import Pixels, fit_rgb
from shards.storage.manifest import read_rows
from tests.engine.fakes import FakeGenerator

HELPED = {"alpha-0": 0.7, "alpha-0.5": 0.85, "alpha-1": 0.8, "oracle": 0.9}
HURT = {"alpha-0": 0.8, "alpha-0.5": 0.6, "alpha-1": 0.5, "oracle": 0.9}
_OTHER_ARMS = 0.75

NOISE = """
name: digits test
data: {source: digits, train_per_class: 5}
plan: {balance_to: 9}
prompts: {templates: ["a {class} & \\"><script>alert(1)</script>"]}
model: {source: a/model}
output: {samples_per_shard: 16, image: {size: 16}}
sweep: {seeds: 3, alphas: [0, 0.5, 1]}
"""
NOISE_AND_COPIES = """
name: digits test
data: {source: digits, train_per_class: 5}
plan: {balance_to: 17}
prompts: {mix: [{name: noise, templates: ["a {class}"]}, {name: copied, templates: ["the digit {class}"]}]}
model: {source: a/model}
output: {samples_per_shard: 64, image: {size: 16}}
sweep:
  seeds: 3
  alphas: [0, 0.5, 1]
  arms: {oversampling: {balance: oversample}, class_weights: {balance: class_weights}, all_images: {alpha: null}}
budget: {price_per_gpu_hour: 3600}
"""


class Copier(FakeGenerator):
    """A generator of noise for the strategy `noise`, and of paler real train images of the class for `copied`."""

    def __init__(self, run: Run) -> None:
        super().__init__(batch_size=8, size=16)
        assert run.context.spec.data is not None
        train = load_splits(run.context.spec.data).train
        self._train = [[fit_rgb(image.pixels(), 16, 16) for image in train if image.label == n] for n in range(10)]

    def _draw(self, request: Request) -> Pixels:
        if request.prompt.strategy == "noise":
            return super()._draw(request)
        images = self._train[request.label]
        return (images[request.seed % len(images)] * 0.8 + 25).astype(np.uint8)


def make_run(folder: Path, text: str, generator: FakeGenerator | None = None, units: int | None = None) -> Run:
    """Begin a run and make its first `units` units; None for all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "given.yaml"
    path.write_text(text)
    run = begin_run(plan_run(load_spec(path)), folder / "run")
    for number in run.pending()[:units]:
        run_unit(run.context, number, generator or FakeGenerator(8, 16), run.shards)
    return run


def copy_of(run: Run, folder: Path) -> Run:
    """Copy a run to a folder, so that a test may change it."""
    return load_run(shutil.copytree(run.store.url, folder / "run"))


def write_results(
    run: Run, accuracies: Mapping[str, float], *, masks: bool = False, near_copies: Sequence[NearCopy] = ()
) -> None:
    """Write the results of a sweep whose arms have these accuracies."""
    sweep, random = prepare_sweep(run), np.random.default_rng(1)
    for trial in sweep.trials():
        accuracy = accuracies.get(trial.arm, _OTHER_ARMS)
        _trial_result(sweep, trial, accuracy, random, masks).write(run.store / "sweep", f"{trial.name}.json")
    write_sweep(sweep, near_copies)


def _trial_result(sweep: Sweep, trial: Trial, accuracy: float, random: np.random.Generator, masks: bool) -> TrialResult:
    predictions = {}
    for split in JUDGED:
        label = np.array([row["label"] for row in read_rows(sweep.store / "real" / split, ["label"])], np.int64)
        if len(label):
            others = (label + random.integers(1, len(sweep.classes), len(label))) % len(sweep.classes)
            predicted = np.where(random.random(len(label)) < accuracy, label, others)
            predictions[split] = Predictions(label, predicted, random.random(len(label)), np.ones(len(label)))
    ious = {
        split: tuple(((of_split.quality + of_split.confidence) / 2).tolist()) for split, of_split in predictions.items()
    }
    return TrialResult(
        arm=trial.arm,
        seed=trial.seed,
        fingerprint=sweep.fingerprint_of(trial),
        scores={split: of_split.scores(len(sweep.classes)) for split, of_split in predictions.items()},
        predictions={
            split: TrialPredictions(quality=ious[split]) if masks else trial_predictions(of_split)
            for split, of_split in predictions.items()
        },
    )


def measure(run: Run, folder: Path) -> None:
    """Write measures.json with a small encoder of random weights, which is saved in the folder."""
    import torch
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    shape = {"image_size": 16, "patch_size": 8, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    Dinov2Model(Dinov2Config(**shape)).save_pretrained(folder)
    BitImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}).save_pretrained(folder)
    measure_run(run, str(folder), noop)
