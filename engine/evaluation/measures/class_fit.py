"""Fit of images to their class: mean margin, and the number of outliers."""

from collections.abc import Sequence
from typing import Literal

from engine.evaluation.measure_plugin import MEASURES, Measure, MeasuredImages, MeasureSettings, Values
from engine.evaluation.measure_result import Column


class ClassFitSettings(MeasureSettings):
    """Settings of the measure `class_fit`."""

    name: Literal["class_fit"]


class ClassFit(Measure):
    """Mean margin and outliers of all images, not only of the compared ones."""

    order = 50

    @property
    def columns(self) -> tuple[Column, ...]:
        """Both, unless the encoder knows no classes."""
        margin = Column(name="margin", title="margin", decimals=2)
        outliers = Column(name="outliers", title="outliers", decimals=0)
        return (margin, outliers) if self.encoder.knows_classes else ()

    def of_class(self, images: MeasuredImages) -> Values:
        """Return both of one class."""
        if images.margins is None or images.outliers is None:
            return {}
        return {"margin": float(images.margins.mean()), "outliers": int(images.outliers.sum())}

    def of_all(self, images: MeasuredImages, of_classes: Sequence[Values]) -> Values:
        """Return both over all images."""
        return self.of_class(images)


MEASURES.register(ClassFitSettings, ClassFit)
