"""A gallery of predictions: real validation images, and what networks with and without synthetic images say of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import RunMismatch
from engine.report.findings import Findings
from engine.report.pictures import SMALL, Picture, SampleRef, index, picture, samples, spread
from engine.run.run import Run
from shards.storage.manifest import finished_shards
from shards.storage.retries import FileMissing
from shards.storage.store import Store

_MOST = 200
_RIGHT = 0.5
SEED = 0
"""Of the trainings whose predictions are shown."""
_ALONE = "real images alone"


@dataclass(frozen=True)
class Prediction:
    """Of one image. name, confidence: both None for masks. quality: IoU for masks, else 1 or 0."""

    name: str | None
    confidence: float | None
    quality: float

    @property
    def right(self) -> bool:
        """For masks: whether more than half of truth and prediction together is common to both."""
        return self.quality > _RIGHT


@dataclass(frozen=True)
class GalleryImage:
    """A validation image with the predictions of the arms, in their order."""

    label: int
    picture: Picture
    predictions: Sequence[Prediction]


@dataclass(frozen=True)
class GalleryGroup:
    """What is shown of a class: so many of its images and mistakes in validation; the mistakes are of the first arm."""

    label: int
    name: str
    shown: int
    images: int
    shown_mistakes: int
    mistakes: int


@dataclass(frozen=True)
class Gallery:
    """arms: names, that of alpha* first (where that is 0 the baseline), then what it is compared with."""

    arms: Sequence[str]
    groups: Sequence[GalleryGroup]
    shots: Sequence[GalleryImage]

    alone: str = _ALONE
    """Name of the arm without synthetic images."""

    @property
    def images(self) -> int:
        """In validation."""
        return sum(group.images for group in self.groups)

    @property
    def mistakes(self) -> int:
        """Of the first arm, in validation."""
        return sum(group.mistakes for group in self.groups)

    @property
    def shown_mistakes(self) -> int:
        """Of the first arm, among those shown."""
        return sum(group.shown_mistakes for group in self.groups)


def make_gallery(run: Run, findings: Findings) -> Gallery | None:
    """None where the predictions or the images are not there any more. Raises ShardError, RunMismatch."""
    star, mixture = findings.alpha_star, findings.best_mixture
    alphas = [star, 0.0] if star else [0.0] if mixture is None else [0.0, mixture]
    told = [_predictions(run.store / "sweep", findings.arms[alpha].name, findings.classes) for alpha in alphas]
    rows = _validation(run.store / "real" / "validation")
    if not rows or any(one is None or len(one) != len(rows) for one in told):
        return None
    predictions = [one for one in told if one is not None]
    label = np.array([sample.row["label"] for sample in rows], np.int64)
    chosen = choose(label, predictions[0])
    shots = [
        GalleryImage(int(label[row]), picture(rows[row], SMALL), [of_arm[row] for of_arm in predictions])
        for row in chosen
    ]
    return Gallery([_name(alpha, star) for alpha in alphas], _groups(run, label, predictions[0], chosen), shots)


def choose(label: NDArray[np.int64], predictions: Sequence[Prediction], most: int = _MOST) -> list[int]:
    """Rows of at most `most` images: of each class equally many while it has some, its mistakes first, of these the
    surest (for masks the worst) first, and then others as chance will have it, the same on every call. By class."""
    random = np.random.default_rng(0).permutation(len(label))

    def order(row: int) -> tuple[Any, ...]:
        one = predictions[row]
        return (1, 0.0, random[row]) if one.right else (0, one.quality - (one.confidence or 0.0), random[row])

    queues = [sorted(np.flatnonzero(label == value).tolist(), key=order) for value in np.unique(label)]
    chosen: list[int] = []
    for turn in range(max(map(len, queues), default=0)):
        chosen += spread([queue[turn] for queue in queues if turn < len(queue)], most - len(chosen))
    return sorted(chosen, key=lambda row: (label[row], *order(row)))


def _validation(place: Store) -> list[SampleRef]:
    """All of its samples, in the order of predictions; none where there is no such place."""
    return [sample for shard in finished_shards(place) for sample in samples(place, shard, index(place, shard))]


def _predictions(place: Store, arm: str, classes: Sequence[str]) -> list[Prediction] | None:
    file = f"{arm}-{SEED}.json"
    try:
        found: Mapping[str, Any] = json.loads(place.read(file))["predictions"]["validation"]
        named = [classes[number] for number in found["predicted"]] if "predicted" in found else None
        nothing = [None] * len(found["quality"])
        columns = [nothing, nothing] if named is None else [named, found["confidence"]]
        return [Prediction(*one) for one in zip(*columns, found["quality"], strict=True)]
    except FileMissing:
        return None
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise RunMismatch(f"{place}/{file}: damaged ({error!r}); remove it and run sweep again") from None


def _groups(
    run: Run, label: NDArray[np.int64], predictions: Sequence[Prediction], chosen: Sequence[int]
) -> list[GalleryGroup]:
    wrong = np.array([not one.right for one in predictions])
    shown = np.zeros(len(label), np.bool_)
    shown[list(chosen)] = True
    found = []
    for value in np.unique(label).tolist():
        of_class = label == value
        counts = [int((of_class & some).sum()) for some in (shown, True, shown & wrong, wrong)]
        found.append(GalleryGroup(value, run.recipe.plan.classes[value], *counts))
    return found


def _name(alpha: float, star: float) -> str:
    if alpha == 0:
        return _ALONE
    return f"alpha{'*' * (alpha == star)} {alpha:g}"
