"""Precision and recall of synthetic images, by nearest neighbours."""

from typing import Literal

from engine.evaluation.measure_plugin import MEASURES, Measure, MeasuredImages, MeasureSettings, Values
from engine.evaluation.measure_result import Column


class PrecisionRecallSettings(MeasureSettings):
    """Settings of the measure `precision_recall`."""

    name: Literal["precision_recall"]


class PrecisionRecall(Measure):
    """Share of synthetic images near real ones, and of real images near synthetic ones; see `manifold`."""

    order = 30
    columns = (
        Column(name="precision", title="precision", decimals=2),
        Column(name="recall", title="recall", decimals=2),
    )

    def of_class(self, images: MeasuredImages) -> Values:
        """Return both of one class."""
        manifold = images.pair.manifold
        return {"precision": manifold.precision, "recall": manifold.recall}


MEASURES.register(PrecisionRecallSettings, PrecisionRecall)
