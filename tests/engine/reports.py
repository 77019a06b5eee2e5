"""Runs to be reported on, sweeps of them with a known outcome, and a page as a reader sees it."""

import shutil
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from engine.config.spec_file import load_spec
from engine.evaluation.comparison import write_sweep
from engine.evaluation.measure_progress import noop
from engine.evaluation.run_measures import measure_run
from engine.evaluation.sweep import JUDGED, Sweep, Trial, prepare_sweep, trial_predictions
from engine.evaluation.sweep_result import NearCopy, SweepResult
from engine.evaluation.trial_result import TrialPredictions, TrialResult
from engine.report.write_report import write_report
from engine.run.run import Run, begin_run, load_run, plan_run
from engine.training.classifier.evaluate import Predictions
from engine.worker.runner import run_unit
from shards.storage.manifest import read_rows
from tests.engine.fakes import FakeGenerator

HELPED = {"alpha-0": 0.7, "alpha-0.5": 0.85, "alpha-1": 0.8, "oracle": 0.9}
HURT = {"alpha-0": 0.8, "alpha-0.5": 0.6, "alpha-1": 0.5, "oracle": 0.9}
_USUAL = 0.75


def make_run(folder: Path, text: str, generator: FakeGenerator | None = None, units: int | None = None) -> Run:
    """A run with its first `units` units made; all of them if none."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "given.yaml"
    path.write_text(text)
    run = begin_run(plan_run(load_spec(path)), folder / "run")
    for number in run.pending()[:units]:
        run_unit(run.context, number, generator or FakeGenerator(8, 16), run.shards)
    return run


def copy_of(run: Run, folder: Path) -> Run:
    """The same elsewhere, to be changed."""
    return load_run(shutil.copytree(run.store.url, folder / "run"))


def write_answer(
    run: Run, accuracies: Mapping[str, float], *, masks: bool = False, near_copies: Sequence[NearCopy] = ()
) -> SweepResult:
    """What a sweep of the run writes where the networks of each arm are right so often, by chance."""
    sweep, random = prepare_sweep(run), np.random.default_rng(1)
    for trial in sweep.trials():
        result = _trial(sweep, trial, accuracies.get(trial.arm, _USUAL), random, masks)
        result.write(run.store / "sweep")
    return write_sweep(sweep, near_copies)


def _trial(sweep: Sweep, trial: Trial, share: float, random: np.random.Generator, masks: bool) -> TrialResult:
    said = {}
    for split in JUDGED:
        label = np.array([row["label"] for row in read_rows(sweep.store / "real" / split, ["label"])], np.int64)
        if len(label):
            others = (label + random.integers(1, len(sweep.classes), len(label))) % len(sweep.classes)
            predicted = np.where(random.random(len(label)) < share, label, others)
            said[split] = Predictions(label, predicted, random.random(len(label)), np.ones(len(label)))
    predictions = {split: trial_predictions(one) for split, one in said.items()}
    if masks:
        ious = {split: (one.quality + one.confidence) / 2 for split, one in said.items()}
        predictions = {split: TrialPredictions(quality=tuple(one.tolist())) for split, one in ious.items()}
    return TrialResult(
        arm=trial.arm,
        seed=trial.seed,
        fingerprint=sweep.fingerprint_of(trial),  # else `write_sweep` takes it for another one's
        scores={split: one.scores(len(sweep.classes)) for split, one in said.items()},
        predictions=predictions,
    )


def measure(run: Run, folder: Path) -> None:
    """Write measures.json, as a small encoder of random weights sees the images."""
    import torch
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    shape = {"image_size": 16, "patch_size": 8, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    Dinov2Model(Dinov2Config(**shape)).save_pretrained(folder)
    BitImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}).save_pretrained(folder)
    measure_run(run, str(folder), noop)


class Tags(HTMLParser):
    """Every tag with its attributes, and all text as a reader sees it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._text: list[str] = []
        self._within = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._within = tag
        self._text.append(" ")

    def handle_endtag(self, tag: str) -> None:
        self._within = ""
        self._text.append(" ")

    def handle_data(self, data: str) -> None:
        if self._within not in ("style", "title"):
            self._text.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self._text).split())

    @property
    def sections(self) -> list[str]:
        return [found["id"] or "" for tag, found in self.tags if tag == "section"]

    def images(self, kind: str) -> list[str]:
        """Alternative texts of the pictures that begin with this."""
        return [alt for tag, found in self.tags if tag == "img" and (alt := found["alt"] or "").startswith(kind)]

    def of_class(self, name: str) -> list[dict[str, str | None]]:
        """Attributes of the elements of a class of the page's style."""
        return [found for _, found in self.tags if name in (found.get("class") or "").split()]


def read(run: Run) -> Tags:
    """The report of a run, written anew."""
    return Tags(Path(write_report(run)).read_text())
