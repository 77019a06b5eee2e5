"""Number of synthetic images that are copies of real ones."""

from collections.abc import Sequence
from typing import Literal

from engine.evaluation.measure_plugin import MEASURES, Measure, MeasuredImages, MeasureSettings, Values
from engine.evaluation.measure_result import Column


class CopiesSettings(MeasureSettings):
    """Settings of the measure `copies`."""

    name: Literal["copies"]


class CopyCount(Measure):
    """Copies among all images, not only among the compared ones."""

    order = 60
    columns = (Column(name="copies", title="copies", decimals=0),)

    def of_class(self, images: MeasuredImages) -> Values:
        """Return the number of one class."""
        return {} if images.copies is None else {"copies": int(images.copies.sum())}

    def of_all(self, images: MeasuredImages, of_classes: Sequence[Values]) -> Values:
        """Return the number over all images."""
        return self.of_class(images)


MEASURES.register(CopiesSettings, CopyCount)
