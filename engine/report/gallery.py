"""A gallery of real validation images with the predictions of networks trained with and without synthetic images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import RunMismatch
from engine.evaluation.sweep_result import ArmResult, SweepResult, TrialPredictions, TrialResult
from engine.report.even_choice import choose_evenly
from engine.report.sample_refs import SMALL, SampleRef, Thumbnail, make_thumbnail, read_sample_table, sample_refs
from engine.report.verdict_text import arm_title
from engine.run.run import Run
from shards.storage.manifest import finished_shards
from shards.storage.store import Store

_MOST_IMAGES = 200
_CORRECT_ABOVE = 0.5
_SEED = 0
"""Seed of the trainings whose predictions are shown."""


@dataclass(frozen=True)
class ImagePrediction:
    """The prediction for one image. class_name, confidence: None for masks. quality: IoU for masks, else 1 or 0."""

    class_name: str | None
    confidence: float | None
    quality: float

    @property
    def correct(self) -> bool:
        """Return whether the class is correct; for masks, whether the IoU is above one half."""
        return self.quality > _CORRECT_ABOVE


@dataclass(frozen=True)
class GalleryArm:
    """An arm whose predictions are shown. colour: "real" for real images alone, else "synthetic"."""

    title: str
    colour: str


@dataclass(frozen=True)
class GalleryImage:
    """A validation image with one prediction of each arm."""

    label: int
    thumbnail: Thumbnail
    predictions: Sequence[ImagePrediction]


@dataclass(frozen=True)
class GalleryClass:
    """Numbers of images and of mistakes of the first arm, of one class: shown, and in validation altogether."""

    label: int
    name: str
    shown: int
    images: int
    shown_mistakes: int
    mistakes: int


@dataclass(frozen=True)
class Gallery:
    """Shown images. arms: first the one at alpha*, then the one that it is compared with."""

    arms: Sequence[GalleryArm]
    classes: Sequence[GalleryClass]
    images: Sequence[GalleryImage]


def make_gallery(run: Run, sweep: SweepResult) -> Gallery | None:
    """Return the gallery, or None if predictions or images no longer exist. Raises ShardError, RunMismatch."""
    arms = _compared_arms(sweep)
    samples = _validation_samples(run.store / "real" / "validation")
    predictions = [_read_predictions(run.store / "sweep", arm.name, sweep.classes) for arm in arms]
    if not samples or any(len(of_arm) != len(samples) for of_arm in predictions):
        return None
    label = np.array([sample.row["label"] for sample in samples], np.int64)
    chosen = choose_images(label, predictions[0])
    images = [
        GalleryImage(int(label[row]), make_thumbnail(samples[row], SMALL), [of_arm[row] for of_arm in predictions])
        for row in chosen
    ]
    return Gallery(
        [_gallery_arm(arm, sweep.alpha_star) for arm in arms],
        _count_classes(run.context.plan.classes, label, predictions[0], chosen),
        images,
    )


def choose_images(
    label: NDArray[np.int64], predictions: Sequence[ImagePrediction], most: int = _MOST_IMAGES
) -> list[int]:
    """Return rows of at most `most` images, sorted by class: equally many of each class while it has more.

    Of a class mistakes come first, the most confident (for masks the worst) first, then other images in an order that
    is random but the same on every call.
    """
    random = np.random.default_rng(0).permutation(len(label)).tolist()

    def rank(row: int) -> tuple[bool, float, int]:
        prediction = predictions[row]
        severity = 0.0 if prediction.correct else prediction.quality - (prediction.confidence or 0.0)
        return prediction.correct, severity, random[row]

    queues = [sorted(np.flatnonzero(label == value).tolist(), key=rank) for value in np.unique(label)]
    chosen: list[int] = []
    for place in range(max(map(len, queues), default=0)):
        chosen += choose_evenly([queue[place] for queue in queues if place < len(queue)], most - len(chosen))
    return sorted(chosen, key=lambda row: (label[row], *rank(row)))


def _compared_arms(sweep: SweepResult) -> list[ArmResult]:
    if sweep.alpha_star > 0:
        return [sweep.chosen, sweep.baseline]
    return [sweep.baseline, *([] if sweep.best_mixture is None else [sweep.best_mixture])]


def _gallery_arm(arm: ArmResult, alpha_star: float) -> GalleryArm:
    if arm.alpha == 0:
        return GalleryArm("real images alone", "real")
    return GalleryArm(arm_title(arm, alpha_star), "synthetic")


def _validation_samples(folder: Store) -> list[SampleRef]:
    """Return all samples of a folder in the order of predictions."""
    return [
        sample
        for shard in finished_shards(folder)
        for sample in sample_refs(folder, shard, read_sample_table(folder, shard))
    ]


def _read_predictions(folder: Store, arm: str, classes: Sequence[str]) -> list[ImagePrediction]:
    """Return the validation predictions of an arm; none if it has no result."""
    name = f"{arm}-{_SEED}.json"
    trial = TrialResult.read(folder, name)
    if trial is None:
        return []
    try:
        return _image_predictions(trial.predictions["validation"], classes)
    except (ValueError, KeyError, IndexError) as error:
        raise RunMismatch(f"{folder}/{name}: damaged ({error!r}); remove it and run sweep again") from None


def _image_predictions(predictions: TrialPredictions, classes: Sequence[str]) -> list[ImagePrediction]:
    if predictions.predicted is None or predictions.confidence is None:
        return [ImagePrediction(None, None, quality) for quality in predictions.quality]
    columns = zip(predictions.predicted, predictions.confidence, predictions.quality, strict=True)
    return [ImagePrediction(classes[label], confidence, quality) for label, confidence, quality in columns]


def _count_classes(
    names: Sequence[str], label: NDArray[np.int64], predictions: Sequence[ImagePrediction], chosen: Sequence[int]
) -> list[GalleryClass]:
    wrong = np.array([not prediction.correct for prediction in predictions])
    shown = np.zeros(len(label), np.bool_)
    shown[list(chosen)] = True
    classes = []
    for value in np.unique(label).tolist():
        of_class = label == value
        counts = [int((of_class & subset).sum()) for subset in (shown, True, shown & wrong, wrong)]
        classes.append(GalleryClass(value, names[value], *counts))
    return classes
