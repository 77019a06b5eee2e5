"""Number of synthetic images that are copies of real ones."""

from typing import Literal

from engine.evaluation.measure_plugin import MEASURES, Measure, MeasuredImages, MeasureSettings, Values
from engine.evaluation.measure_result import Column


class CopiesSettings(MeasureSettings):
    """Settings of the measure `copies`."""

    name: Literal["copies"]


class CopyCount(Measure):
    """Copies among all images, not only among the compared ones."""

    order, pooled = 60, True
    columns = (Column(name="copies", title="copies", decimals=0),)

    def compute(self, images: MeasuredImages) -> Values:
        """Return the number; nothing for real images."""
        return {} if images.copies is None else {"copies": int(images.copies.sum())}


MEASURES.register(CopiesSettings, CopyCount)
