"""A measure: how far the mean features of synthetic images are from those of real ones."""

from typing import Literal

import numpy as np

from engine.evaluation.measure_plugin import MEASURES, Measure, MeasuredImages, MeasureSettings, Values
from engine.evaluation.measure_result import Column


class MeanGapSettings(MeasureSettings):
    name: Literal["mean_gap"]


class MeanGap(Measure):
    @property
    def columns(self) -> tuple[Column, ...]:
        return (Column(name="mean_gap", title="mean gap", decimals=3),)

    def of_class(self, images: MeasuredImages) -> Values:
        pair = images.pair
        return {"mean_gap": float(np.linalg.norm(pair.real.mean(axis=0) - pair.synthetic.mean(axis=0)))}


MEASURES.register(MeanGapSettings, MeanGap)
