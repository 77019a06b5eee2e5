"""A filter that rejects dark images."""

from collections.abc import Sequence
from typing import Literal

from engine.config.cluster_spec import ClusterSpec
from engine.config.filter_settings import FILTERS, FilterSettings
from engine.filters.filter import Verdict
from engine.generators.generator import Request
from shards.codec import Pixels


class DarkSettings(FilterSettings):
    name: Literal["dark"]
    min_mean: float = 150.0


class Dark:
    def __init__(self, settings: DarkSettings, cluster: ClusterSpec) -> None:
        self._min_mean = settings.min_mean

    def __call__(self, pixels: Pixels, requests: Sequence[Request]) -> list[Verdict]:
        means = pixels.mean(axis=(1, 2, 3))
        return [Verdict("dark" if mean < self._min_mean else "", {"score_mean": float(mean)}) for mean in means]


FILTERS.register(DarkSettings, Dark)
