"""The table: a row for each prompt strategy and class, from images that were looked at. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.distances import Features, Kid, Manifold, TooFew, fid, kid, manifold
from engine.evaluation.encoders import margins
from engine.evaluation.image_groups import GroupFeatures

ALL = "all classes"
REAL = "real (world)"
"""The group of real images that no classifier is judged on, measured as the synthetic ones are."""
FEWEST = 6
"""Images that a comparison needs on both sides: one more than the neighbours that `manifold` counts."""
_UNUSUAL = 0.01


@dataclass(frozen=True)
class MeasureRow:
    """The images of one class that one prompt strategy made, or of all classes.

    images:   that were looked at; of these `compared` with so many `real` ones.
    fid, kid, manifold: see `distances`; None where there are too few. Of all classes: the mean over those that have
              them; but FID of all at once, with equally many of each class.
    margin:   the mean, see `encoder`; outliers: images with a smaller one than 99 of 100 real images of their class.
              None where the encoder knows no classes. copies: images that are copies of real ones.
    """

    strategy: str
    class_name: str
    images: int
    compared: int
    real: int
    fid: float | None
    kid: Kid | None
    manifold: Manifold | None
    margin: float | None
    outliers: int | None
    copies: int | None

    def as_json(self) -> dict[str, Any]:
        """For measures.json."""
        return asdict(self)


@dataclass(frozen=True)
class Fit:
    """How well images fit their class: margin, float64 (images,); the best other class; which are outliers."""

    margin: NDArray[np.float64]
    other: NDArray[np.int64]
    outlier: NDArray[np.bool_]

    def __getitem__(self, rows: NDArray[np.bool_]) -> "Fit":
        """Of some of the images."""
        return Fit(self.margin[rows], self.other[rows], self.outlier[rows])


@dataclass(frozen=True)
class MeasureGroup:
    """The images of a prompt strategy, with what is known of each of them."""

    looked: GroupFeatures
    fit: Fit | None
    copied: NDArray[np.bool_] | None


def judge(looked: GroupFeatures, real: GroupFeatures) -> Fit | None:
    """Images beside real ones of their class; None where the encoder knows no classes, or there is but one."""
    if looked.scores is None or real.scores is None or looked.scores.shape[1] < 2:
        return None
    margin, other = margins(looked.scores, looked.label)
    usual, _ = margins(real.scores, real.label)
    outlier = np.zeros(len(looked), np.bool_)
    for label in np.unique(looked.label):
        if (of_class := real.label == label).any():
            outlier |= (looked.label == label) & (margin < np.quantile(usual[of_class], _UNUSUAL))
    return Fit(margin, other, outlier)


def make_rows(groups: Mapping[str, MeasureGroup], real: GroupFeatures, classes: Sequence[str]) -> list[MeasureRow]:
    """For each group a row of all classes, and then, class by class, one for each group that has images of it.

    Of a class every strategy that has images enough is compared by equally many, its first ones, for the measures
    depend on that number; REAL by no more.
    """
    labels = range(len(classes))
    chosen = {name: [np.flatnonzero(group.looked.label == label) for label in labels] for name, group in groups.items()}
    for label in labels:
        counts = [len(places[label]) for name, places in chosen.items() if name != REAL]
        enough = min((count for count in counts if count >= FEWEST), default=0)
        for places in chosen.values():
            places[label] = places[label][:enough]
    found = []
    for name, group in groups.items():
        rows = [_of_class(name, group, chosen[name][label], real, label, classes[label]) for label in labels]
        found.append([_of_all(name, group, chosen[name], real, [row for row in rows if row.images]), *rows])
    return [row for one in zip(*found, strict=True) for row in one if row.images]


def _of_class(
    name: str, group: MeasureGroup, chosen: NDArray[np.int64], real: GroupFeatures, label: int, class_name: str
) -> MeasureRow:
    ours, theirs = group.looked.features[chosen], real.features[real.label == label]
    enough = min(len(ours), len(theirs)) >= FEWEST
    return MeasureRow(
        name,
        class_name,
        compared=len(ours),
        real=len(theirs),
        fid=_fid(theirs, ours) if enough else None,
        kid=kid(theirs, ours) if enough else None,
        manifold=manifold(theirs, ours) if enough else None,
        **_counts(group, group.looked.label == label),
    )


def _of_all(
    name: str, group: MeasureGroup, chosen: Sequence[NDArray[np.int64]], real: GroupFeatures, rows: Sequence[MeasureRow]
) -> MeasureRow:
    """Class by class, for a pooled measure would count other shares of the classes as a distance."""
    compared = [label for label, some in enumerate(chosen) if min(len(some), (real.label == label).sum()) >= FEWEST]
    kids = [row.kid for row in rows if row.kid is not None]
    manifolds = [row.manifold for row in rows if row.manifold is not None]
    ours = _evenly([group.looked.features[chosen[label]] for label in compared])
    theirs = _evenly([real.features[real.label == label] for label in compared])
    return MeasureRow(
        name,
        ALL,
        compared=sum(len(chosen[label]) for label in compared),
        real=sum(row.real for row in rows if row.kid is not None),
        fid=None if ours is None or theirs is None else _fid(theirs, ours),
        kid=_mean_kid(kids) if kids else None,
        manifold=_mean_manifold(manifolds) if manifolds else None,
        **_counts(group, np.ones(len(group.looked), np.bool_)),
    )


def _counts(group: MeasureGroup, where: NDArray[np.bool_]) -> dict[str, Any]:
    fit, copied = group.fit, group.copied
    return {
        "images": int(where.sum()),
        "margin": None if fit is None or not where.any() else float(fit.margin[where].mean()),
        "outliers": None if fit is None else int(fit.outlier[where].sum()),
        "copies": None if copied is None else int(copied[where].sum()),
    }


def _fid(real: Features, synthetic: Features) -> float | None:
    try:
        return fid(real, synthetic)
    except TooFew:
        return None


def _evenly(of_classes: Sequence[Features]) -> Features | None:
    """Equally many of each class, the first ones."""
    if not of_classes:
        return None
    count = min(map(len, of_classes))
    return np.concatenate([features[:count] for features in of_classes])


def _mean_kid(found: Sequence[Kid]) -> Kid:
    error = np.sqrt(sum(one.standard_error**2 for one in found)) / len(found)
    return Kid(float(np.mean([one.mean for one in found])), float(error))


def _mean_manifold(found: Sequence[Manifold]) -> Manifold:
    return Manifold(*np.mean([list(asdict(one).values()) for one in found], axis=0).tolist())
