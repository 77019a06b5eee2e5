"""The table of measures: a row for each prompt strategy and class, from encoded images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.encoders import margins
from engine.evaluation.image_groups import GroupFeatures
from engine.evaluation.manifold import FEWEST
from engine.evaluation.measure_plugin import FeaturePair, Measure, MeasuredImages, TooFew, Values
from engine.evaluation.measure_result import ALL_CLASSES, REAL, MeasureRow

_OUTLIER_QUANTILE = 0.01


@dataclass(frozen=True)
class ClassFits:
    """How well images fit their class.

    margin: float64 (images,). best_other: int64 (images,), the best other class. outlier: bool (images,).
    """

    margin: NDArray[np.float64]
    best_other: NDArray[np.int64]
    outlier: NDArray[np.bool_]

    def __getitem__(self, rows: NDArray[np.bool_]) -> "ClassFits":
        """Return those of some of the images."""
        return ClassFits(self.margin[rows], self.best_other[rows], self.outlier[rows])


@dataclass(frozen=True)
class MeasureGroup:
    """The images of a prompt strategy with what is known of each of them; None where it is not known."""

    images: GroupFeatures
    fits: ClassFits | None
    copies: NDArray[np.bool_] | None

    def measured(self, rows: NDArray[np.bool_], pairs: Sequence[FeaturePair]) -> MeasuredImages:
        """Return what measures see of some of the images."""
        return MeasuredImages(
            pairs,
            None if self.fits is None else self.fits.margin[rows],
            None if self.fits is None else self.fits.outlier[rows],
            None if self.copies is None else self.copies[rows],
        )


def fit_to_classes(images: GroupFeatures, real: GroupFeatures) -> ClassFits | None:
    """Return the margins of images; outliers are below those of 99 of 100 real images of their class.

    None if the encoder knows no classes, or only one.
    """
    if images.scores is None or real.scores is None or images.scores.shape[1] < 2:
        return None
    margin, best_other = margins(images.scores, images.label)
    real_margin, _ = margins(real.scores, real.label)
    outlier = np.zeros(len(images), np.bool_)
    for label in np.unique(images.label):
        if (of_class := real.label == label).any():
            threshold = np.quantile(real_margin[of_class], _OUTLIER_QUANTILE)
            outlier |= (images.label == label) & (margin < threshold)
    return ClassFits(margin, best_other, outlier)


def make_rows(
    groups: Mapping[str, MeasureGroup], real: GroupFeatures, classes: Sequence[str], measures: Sequence[Measure]
) -> list[MeasureRow]:
    """Return the rows: first ALL_CLASSES, then class by class one for each group that has images of the class.

    Measures combine the classes of the first rows, for a pooled set would count other shares of classes as a distance.
    """
    compared = _compared(groups, len(classes))
    of_groups = [
        _GroupTable(name, group, compared[name], real, classes, measures).rows() for name, group in groups.items()
    ]
    return [row for rows in zip(*of_groups, strict=True) for row in rows if row.images]


def _compared(groups: Mapping[str, MeasureGroup], classes: int) -> dict[str, list[NDArray[np.int64]]]:
    """Return the positions of the images of each group and class that are compared with real ones.

    Measures depend on the number of images, so all strategies that have enough images of a class are compared by
    equally many, their first ones, and REAL by no more.
    """
    compared = {
        name: [np.flatnonzero(group.images.label == label) for label in range(classes)]
        for name, group in groups.items()
    }
    for label in range(classes):
        counts = [len(of_classes[label]) for name, of_classes in compared.items() if name != REAL]
        limit = min((count for count in counts if count >= FEWEST), default=0)
        for of_classes in compared.values():
            of_classes[label] = of_classes[label][:limit]
    return compared


@dataclass(frozen=True)
class _GroupTable:
    """The rows of one group. compared: positions of the images of each class that are compared."""

    name: str
    group: MeasureGroup
    compared: Sequence[NDArray[np.int64]]
    real: GroupFeatures
    classes: Sequence[str]
    measures: Sequence[Measure]

    def rows(self) -> list[MeasureRow]:
        """Return the row of all classes, then one for each class; `images` is 0 if the group has none of the class."""
        pairs = [
            FeaturePair(self.real.features[self.real.label == label], self.group.images.features[positions])
            for label, positions in enumerate(self.compared)
        ]
        of_classes = [self._of_class(label, pair) for label, pair in enumerate(pairs)]
        return [
            self._of_all(list(filter(_enough, pairs)), [row.values for row in of_classes if row.images]),
            *of_classes,
        ]

    def _of_class(self, label: int, pair: FeaturePair) -> MeasureRow:
        rows = self.group.images.label == label
        values: dict[str, int | float | None] = {}
        if rows.any():
            images = self.group.measured(rows, [pair] if _enough(pair) else [])
            for measure in self.measures:
                values |= _complete(measure, partial(measure.of_class, images))
        return self._row(self.classes[label], int(rows.sum()), [pair], values)

    def _of_all(self, pairs: Sequence[FeaturePair], of_classes: Sequence[Values]) -> MeasureRow:
        count = len(self.group.images)
        images = self.group.measured(np.ones(count, np.bool_), pairs)
        values: dict[str, int | float | None] = {}
        for measure in self.measures:
            own = [{name: row[name] for name in _value_names(measure)} for row in of_classes]
            values |= _complete(measure, partial(measure.of_all, images, own))
        return self._row(ALL_CLASSES, count, pairs, values)

    def _row(
        self, class_name: str, images: int, pairs: Sequence[FeaturePair], values: dict[str, int | float | None]
    ) -> MeasureRow:
        return MeasureRow(
            strategy=self.name,
            class_name=class_name,
            images=images,
            compared=sum(len(pair.synthetic) for pair in pairs),
            real=sum(len(pair.real) for pair in pairs),
            values=values,
        )


def _enough(pair: FeaturePair) -> bool:
    return min(len(pair.real), len(pair.synthetic)) >= FEWEST


def _value_names(measure: Measure) -> list[str]:
    names = [[column.name, column.standard_error] for column in measure.columns]
    return [name for of_column in names for name in of_column if name is not None]


def _complete(measure: Measure, compute: Callable[[], Values]) -> Values:
    """Return the values of a measure with None for those that it does not give."""
    try:
        values = compute()
    except TooFew:
        values = {}
    return {name: values.get(name) for name in _value_names(measure)}
