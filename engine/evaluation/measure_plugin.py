"""The interface of measures. Each file in `engine.evaluation.measures` is one.

A measure compares the synthetic images of a prompt strategy with real images and returns named values. Its columns
become columns of RUN/measures.json, of the table that `measure` prints, and of the report. All registered measures run.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.config.strict import Strict
from engine.evaluation.distances import Features
from engine.evaluation.manifold import Manifold, manifold
from engine.evaluation.measure_result import Column, EncoderInfo
from engine.plugins import PluginFamily

Values = Mapping[str, int | float | None]
"""Values by column name. A missing name counts as None."""


class TooFew(ValueError):
    """A set has fewer images than a measure is defined for."""


class MeasureSettings(Strict):
    """The settings of a measure. `name` is a Literal in each and tells them apart; nothing else may be required."""

    name: str


MEASURES = PluginFamily[MeasureSettings](
    "measure", key="name", folder="engine.evaluation.measures", group="shardmill.measures"
)
"""Their factories take (settings, EncoderInfo) and return a Measure."""


@dataclass(frozen=True, eq=False)
class FeaturePair:
    """Features of real and synthetic images of one class, each float64 (images, dimensions), rows of length
    sqrt(dimensions)."""

    real: Features
    synthetic: Features

    @cached_property
    def manifold(self) -> Manifold:
        """Precision, recall, density and coverage, which share one pass over all distances."""
        return manifold(self.real, self.synthetic)


@dataclass(frozen=True)
class MeasuredImages:
    """The images of one prompt strategy, of one class or of all classes.

    pairs:    one for each class with enough images; of equal size for every strategy.
    margins:  float64 (images,), score of each image's class less that of the best other one; None without classes.
    outliers: bool (images,), margins below those of 99 of 100 real images of the class; None without margins.
    copies:   bool (images,), copies of real images; None for real images.
    """

    pairs: Sequence[FeaturePair]
    margins: NDArray[np.float64] | None
    outliers: NDArray[np.bool_] | None
    copies: NDArray[np.bool_] | None

    @property
    def pair(self) -> FeaturePair:
        """The features of one class. Raises TooFew if the class has too few images to compare."""
        if not self.pairs:
            raise TooFew("too few images")
        return self.pairs[0]


class Measure(ABC):
    """A measure with its columns; columns are printed by ascending `order`. Its methods may raise TooFew."""

    order = 100

    def __init__(self, settings: MeasureSettings, encoder: EncoderInfo) -> None:
        self.settings, self.encoder = settings, encoder

    @property
    @abstractmethod
    def columns(self) -> tuple[Column, ...]:
        """The columns for features of this encoder."""

    @abstractmethod
    def of_class(self, images: MeasuredImages) -> Values:
        """Return the values of one class."""

    def of_all(self, images: MeasuredImages, of_classes: Sequence[Values]) -> Values:
        """Return the values of all classes: here the mean over those that have values."""
        known = [values for values in of_classes if None not in values.values()]
        if not known:
            return {}
        means = np.mean([list(map(float, values.values())) for values in known], axis=0)  # type: ignore[arg-type]
        return dict(zip(known[0], means.tolist(), strict=True))


def all_measures(encoder: EncoderInfo) -> list[Measure]:
    """Return every registered measure, in the order of their columns."""
    measures = [MEASURES.make(settings(name=name), encoder) for name, settings in MEASURES.known.items()]
    return sorted(measures, key=lambda measure: measure.order)
