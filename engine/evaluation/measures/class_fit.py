"""Fit of images to their class: mean margin, and the number of outliers."""

from typing import Literal

from engine.evaluation.measure_plugin import MEASURES, Measure, MeasuredImages, MeasureSettings, Values
from engine.evaluation.measure_result import Column, EncoderInfo


class ClassFitSettings(MeasureSettings):
    """Settings of the measure `class_fit`."""

    name: Literal["class_fit"]


class ClassFit(Measure):
    """Mean margin and outliers of all images, not only of the compared ones."""

    order, pooled = 50, True
    columns: tuple[Column, ...] = (
        Column(name="margin", title="margin", decimals=2),
        Column(name="outliers", title="outliers", decimals=0),
    )

    def __init__(self, settings: ClassFitSettings, encoder: EncoderInfo) -> None:
        if not encoder.knows_classes:
            self.columns = ()

    def compute(self, images: MeasuredImages) -> Values:
        """Return both; nothing for an encoder that knows no classes."""
        fits = images.fits
        return {} if fits is None else {"margin": float(fits.margin.mean()), "outliers": int(fits.outlier.sum())}


MEASURES.register(ClassFitSettings, ClassFit)
