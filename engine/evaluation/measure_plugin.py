"""The interface of measures. Each file in `engine.evaluation.measures` is one.

Their columns become columns of RUN/measures.json, of the table that `measure` prints, and of the report.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.config.strict import Strict
from engine.evaluation.encoders import ClassFits
from engine.evaluation.measure_result import Column, EncoderInfo
from engine.evaluation.neighbours import Features
from engine.plugins import PluginFamily

Values = Mapping[str, int | float]
"""Values by column name, without those that are not known."""


class TooFew(ValueError):
    """A set has fewer images than a measure is defined for."""


class MeasureSettings(Strict):
    """The settings of a measure. `name` is a Literal in each; nothing else may be required."""

    name: str


MEASURES = PluginFamily[MeasureSettings](
    "measure", key="name", folder="engine.evaluation.measures", group="shardmill.measures"
)
"""Their factories take (settings, EncoderInfo) and return a Measure."""


class FeaturePair(NamedTuple):
    """Features of images of one class, each float64 (images, dimensions), rows of length sqrt(dimensions)."""

    real: Features
    synthetic: Features


@dataclass(frozen=True)
class MeasuredImages:
    """The images of one prompt strategy, of one class or of all classes.

    pairs: one for each class with enough images; of equal size for every strategy.
    copies: which images are copies of real ones; None for real images.
    """

    pairs: Sequence[FeaturePair]
    fits: ClassFits | None
    copies: NDArray[np.bool_] | None

    @property
    def pair(self) -> FeaturePair:
        """The features of one class. Raises TooFew if the class has too few images to compare."""
        if not self.pairs:
            raise TooFew("too few images")
        return self.pairs[0]


class Measure(ABC):
    """A measure with its columns, which are printed by ascending order.

    pooled: all classes together are measured as one set; otherwise their value is the mean over classes.
    """

    columns: tuple[Column, ...]
    order = 100
    pooled = False

    def __init__(self, settings: MeasureSettings, encoder: EncoderInfo) -> None:
        self.settings, self.encoder = settings, encoder

    @abstractmethod
    def compute(self, images: MeasuredImages) -> Values:
        """Return the values by column name: of one class, or of all classes if `pooled`. May raise TooFew."""


def all_measures(encoder: EncoderInfo) -> list[Measure]:
    """Return every registered measure, in the order of their columns."""
    measures = [MEASURES.make(settings(name=name), encoder) for name, settings in MEASURES.known.items()]
    return sorted(measures, key=lambda measure: measure.order)
