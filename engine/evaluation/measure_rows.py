"""The table of measures: a row for each prompt strategy and class, from encoded images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.encoders import ClassFits, margins
from engine.evaluation.image_groups import GroupFeatures
from engine.evaluation.measure_plugin import FeaturePair, Measure, MeasuredImages, TooFew, Values
from engine.evaluation.measure_result import ALL_CLASSES, REAL, MeasureRow

_FEWEST = 6
"""Images of a class that both sets need: balls of `manifold` reach to the fifth neighbour."""
_OUTLIER_QUANTILE = 0.01


@dataclass(frozen=True)
class MeasureGroup:
    """The images of a prompt strategy with what is known of each of them; None where it is not known."""

    images: GroupFeatures
    fits: ClassFits | None
    copies: NDArray[np.bool_] | None

    def measured(self, rows: NDArray[np.bool_], pairs: Sequence[FeaturePair]) -> MeasuredImages:
        """Return what measures see of some of the images; pairs without enough images are left out."""
        return MeasuredImages(
            [pair for pair in pairs if _enough(pair)],
            None if self.fits is None else self.fits[rows],
            None if self.copies is None else self.copies[rows],
        )


def fit_to_classes(images: GroupFeatures, real: GroupFeatures) -> ClassFits | None:
    """Return the fit of images to their classes; None if the encoder knows no classes, or only one."""
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
    """Return the rows: first ALL_CLASSES, then class by class one for each group that has images of the class."""
    pairs = _feature_pairs(groups, real, len(classes))
    of_groups = [_group_rows(name, group, pairs[name], classes, measures) for name, group in groups.items()]
    return [rows[label] for label in range(-1, len(classes)) for rows in of_groups if label in rows]


def _feature_pairs(
    groups: Mapping[str, MeasureGroup], real: GroupFeatures, classes: int
) -> dict[str, list[FeaturePair]]:
    """Return what is compared of each group and class.

    Measures depend on the number of images, so all groups with enough of a class give equally many, and REAL no more.
    """
    pairs: dict[str, list[FeaturePair]] = {name: [] for name in groups}
    for label in range(classes):
        of_real = real.features[real.label == label]
        rows = {name: np.flatnonzero(group.images.label == label) for name, group in groups.items()}
        counts = [len(of_class) for name, of_class in rows.items() if name != REAL]
        limit = min((count for count in counts if count >= _FEWEST), default=0)
        for name, group in groups.items():
            pairs[name].append(FeaturePair(of_real, group.images.features[rows[name][:limit]]))
    return pairs


def _group_rows(
    strategy: str,
    group: MeasureGroup,
    pairs: Sequence[FeaturePair],
    classes: Sequence[str],
    measures: Sequence[Measure],
) -> dict[int, MeasureRow]:
    """Return the row of each class that has images by its label, and by -1 that of all classes."""

    def row(class_name: str, images: int, compared: Sequence[FeaturePair], values: Sequence[Values]) -> MeasureRow:
        return MeasureRow(
            strategy=strategy,
            class_name=class_name,
            images=images,
            compared=sum(len(pair.synthetic) for pair in compared),
            real=sum(len(pair.real) for pair in compared),
            values={
                name: of_measure.get(name)
                for measure, of_measure in zip(measures, values, strict=True)
                for name in _value_names(measure)
            },
        )

    rows, of_classes = {}, []
    for label in np.unique(group.images.label).tolist():
        mask = group.images.label == label
        images = group.measured(mask, [pairs[label]])
        of_classes.append([_compute(measure, images) for measure in measures])
        rows[label] = row(classes[label], int(mask.sum()), [pairs[label]], of_classes[-1])
    whole = group.measured(np.ones(len(group.images), np.bool_), pairs)
    # A pooled set would count other shares of the classes as a distance.
    of_all = [
        _compute(measure, whole) if measure.pooled else _mean(measure, of_measure)
        for measure, of_measure in zip(measures, zip(*of_classes, strict=True), strict=True)
    ]
    rows[-1] = row(ALL_CLASSES, len(group.images), whole.pairs, of_all)
    return rows


def _value_names(measure: Measure) -> list[str]:
    names = [name for column in measure.columns for name in (column.name, column.standard_error)]
    return [name for name in names if name is not None]


def _compute(measure: Measure, images: MeasuredImages) -> Values:
    try:
        return measure.compute(images)
    except TooFew:
        return {}


def _mean(measure: Measure, of_classes: Sequence[Values]) -> Values:
    """Return the mean over the classes that have values; the standard errors of classes are independent."""
    known = [values for values in of_classes if values]
    if not known:
        return {}
    means = np.mean([[values[column.name] for column in measure.columns] for values in known], axis=0).tolist()
    mean = {column.name: value for column, value in zip(measure.columns, means, strict=True)}
    for error in (column.standard_error for column in measure.columns):
        if error is not None:
            mean[error] = float(np.sqrt(sum(values[error] ** 2 for values in known)) / len(known))
    return mean


def _enough(pair: FeaturePair) -> bool:
    return min(len(pair.real), len(pair.synthetic)) >= _FEWEST
