"""Predictions of a network for a user's own photos, which no training and no choice has seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.data.open_source import SUFFIXES, list_class_folders
from engine.data.real_image import RealImage
from engine.errors import DataError, SpecError
from engine.training.classifier.classifier_job import ClassifierJob
from engine.training.classifier.network_factory import Network
from shards.codec import fit_rgb

_BATCH = 64


@dataclass(frozen=True)
class PhotoPrediction:
    """The prediction for one photo. truth: class of its folder, None in a flat folder. confidence: of `predicted`."""

    photo: str
    truth: str | None
    predicted: str
    confidence: float


def list_photos(folder: Path, job: ClassifierJob) -> list[RealImage]:
    """Return the photos in FOLDER/<class>/, or in a flat FOLDER with class name "". Raises DataError, SpecError."""
    if job.spec.model.labels_pixels:
        raise SpecError(f"--photos: {job.spec.model.kind} labels pixels, and photos need a classifier; leave it out")
    photos = _list_images(folder, job.data.classes)
    for photo in photos:
        photo.pixels()  # Decode every photo before hours are spent on the training.
    return photos


def _list_images(folder: Path, classes: Sequence[str]) -> list[RealImage]:
    if not folder.is_dir():
        raise DataError(f"--photos: {folder} is not a folder; give one with photos, or with a folder of them per class")
    if flat := [file for file in sorted(folder.iterdir()) if file.suffix.lower() in SUFFIXES]:
        return [RealImage(-1, "", str(file), file.read_bytes) for file in flat]
    listing = list_class_folders(str(folder), "--photos")
    if unknown := [name for name in listing.classes if name not in classes]:
        raise DataError(f"--photos: {folder}/{unknown[0]} is no class; the network knows {', '.join(classes[:20])}")
    return list(listing.images)


@torch.inference_mode()
def predict_photos(model: Network, photos: Sequence[RealImage]) -> list[PhotoPrediction]:
    """Predict the class of each photo, scaled and cut to the network's size. Raises DataError for an unreadable one."""
    model.eval()
    predictions: list[PhotoPrediction] = []
    for start in range(0, len(photos), _BATCH):
        batch = photos[start : start + _BATCH]
        pixels = np.stack([fit_rgb(photo.pixels(), *model.info.shape) for photo in batch])
        confidences, labels = model(torch.from_numpy(pixels).permute(0, 3, 1, 2)).softmax(1).max(1)
        for photo, label, confidence in zip(batch, labels.tolist(), confidences.tolist(), strict=True):
            predicted = model.info.classes[label]
            predictions.append(PhotoPrediction(photo.origin, photo.class_name or None, predicted, confidence))
    return predictions


def accuracy(predictions: Sequence[PhotoPrediction]) -> float | None:
    """Return the share of right predictions, 0 to 1; None if no truth is known."""
    known = [photo for photo in predictions if photo.truth is not None]
    return sum(photo.truth == photo.predicted for photo in known) / len(known) if known else None


def compare_predictions(job: ClassifierJob, photos: Sequence[RealImage]) -> dict[str, Any]:
    """Return the predictions for each photo before and after the training: the content of photos.json."""
    before, after = (predict_photos(model, photos) for model in (job.initial_model(), job.trained_model()))
    return {
        "accuracy": {"before": accuracy(before), "after": accuracy(after)},
        "photos": [
            {
                "photo": old.photo,
                "truth": old.truth,
                "before": {"predicted": old.predicted, "confidence": old.confidence},
                "after": {"predicted": new.predicted, "confidence": new.confidence},
            }
            for old, new in zip(before, after, strict=True)
        ],
    }
