"""A network's opinion of somebody's own photographs, which no training and no choice has seen."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.data.real_image import RealImage
from engine.data.folder_listing import SUFFIXES, list_class_folders
from engine.errors import DataError, SpecError
from engine.training.classifier.classifier_job import ClassifierJob
from engine.training.classifier.network_factory import Network
from shards.codec import fit_rgb

_BATCH = 64


@dataclass(frozen=True)
class PhotoPrediction:
    """Of one photograph. truth: the class of its folder; None in a flat folder. confidence: of `predicted`, 0 to 1."""

    photo: str
    truth: str | None
    predicted: str
    confidence: float


def list_photos(folder: Path, job: ClassifierJob) -> list[RealImage]:
    """Those in FOLDER/<class>/, or in a flat FOLDER, whose class name is then "".

    Raises DataError for a class that is not the job's and a photo that cannot be read, SpecError for a job of masks.
    """
    if job.spec.model == "unet":
        raise SpecError("--photos: unet gives masks, and photos are judged by classifiers; leave it out")
    found = _listed(folder, job.data.classes)
    for photo in found:
        photo.pixels()
    return found


def _listed(folder: Path, classes: Sequence[str]) -> list[RealImage]:
    if not folder.is_dir():
        raise DataError(f"--photos: {folder} is not a folder; give one with photos, or with a folder of them per class")
    if flat := [file for file in sorted(folder.iterdir()) if file.suffix.lower() in SUFFIXES]:
        return [RealImage(-1, "", str(file), file.read_bytes) for file in flat]
    found = list_class_folders(str(folder), "--photos")
    if unknown := [name for name in found.classes if name not in classes]:
        raise DataError(f"--photos: {folder}/{unknown[0]} is no class; the network knows {', '.join(classes[:20])}")
    return list(found.images)


@torch.inference_mode()
def predict_photos(model: Network, photos: Sequence[RealImage]) -> list[PhotoPrediction]:
    """What a classifier thinks of each, scaled and cut to its size. Raises DataError for one that cannot be read."""
    model.eval()
    found: list[PhotoPrediction] = []
    for start in range(0, len(photos), _BATCH):
        part = photos[start : start + _BATCH]
        pixels = np.stack([fit_rgb(photo.pixels(), *model.form.shape) for photo in part])
        confidence, label = model(torch.from_numpy(pixels).permute(0, 3, 1, 2)).softmax(1).max(1)
        for photo, one, sure in zip(part, label.tolist(), confidence.tolist(), strict=True):
            found.append(PhotoPrediction(photo.origin, photo.class_name or None, model.form.classes[one], sure))
    return found


def accuracy(opinions: Sequence[PhotoPrediction]) -> float | None:
    """Share that is right, 0 to 1; None where no truth is known."""
    known = [one for one in opinions if one.truth is not None]
    return sum(one.truth == one.predicted for one in known) / len(known) if known else None


def compare_predictions(job: ClassifierJob, photos: Sequence[RealImage]) -> dict[str, Any]:
    """What the network thinks of each photograph before its training and after it, for PLACE/photos.json."""
    before, after = (predict_photos(model, photos) for model in (job.first_model(), job.model()))
    return {
        "accuracy": {"before": accuracy(before), "after": accuracy(after)},
        "photos": [
            {"photo": old.photo, "truth": old.truth, "before": _short(old), "after": _short(new)}
            for old, new in zip(before, after, strict=True)
        ],
    }


def _short(opinion: PhotoPrediction) -> dict[str, Any]:
    return {name: value for name, value in asdict(opinion).items() if name in ("predicted", "confidence")}
