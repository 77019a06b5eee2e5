"""Density and coverage of synthetic images, by nearest neighbours."""

from typing import Literal

from engine.evaluation.measure_plugin import MEASURES, Measure, MeasuredImages, MeasureSettings, Values
from engine.evaluation.measure_result import Column


class DensityCoverageSettings(MeasureSettings):
    """Settings of the measure `density_coverage`."""

    name: Literal["density_coverage"]


class DensityCoverage(Measure):
    """Density of synthetic images around real ones, and share of real images with one nearby; see `manifold`."""

    order = 40
    columns = (
        Column(name="density", title="density", decimals=2),
        Column(name="coverage", title="coverage", decimals=2),
    )

    def of_class(self, images: MeasuredImages) -> Values:
        """Return both of one class."""
        manifold = images.pair.manifold
        return {"density": manifold.density, "coverage": manifold.coverage}


MEASURES.register(DensityCoverageSettings, DensityCoverage)
