"""A measure: how far the mean features of synthetic images are from those of real ones."""

from typing import Literal

import numpy as np

from engine.evaluation.measure_plugin import MEASURES, Measure, MeasuredImages, MeasureSettings, Values
from engine.evaluation.measure_result import Column


class MeanGapSettings(MeasureSettings):
    name: Literal["mean_gap"]


class MeanGap(Measure):
    columns = (Column(name="mean_gap", title="mean gap", decimals=3),)

    def compute(self, images: MeasuredImages) -> Values:
        real, synthetic = images.pair
        return {"mean_gap": float(np.linalg.norm(real.mean(axis=0) - synthetic.mean(axis=0)))}


MEASURES.register(MeanGapSettings, MeanGap)
