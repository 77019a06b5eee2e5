"""Rejects images that are nearly of one colour, as those of a failed decode are."""

from collections.abc import Sequence
from typing import Annotated, Literal

import cv2
from pydantic import Field

from engine.config.cluster_spec import ClusterSpec
from engine.config.filter_settings import FILTERS, FilterSettings
from engine.filters.filter import Verdict
from engine.generators.generator import Request
from shards.codec import Pixels


class BlankSettings(FilterSettings):
    """Settings of the filter `blank`."""

    name: Literal["blank"]
    min_std: Annotated[float, Field(gt=0)] = 4.0
    """Smallest standard deviation over all pixels and channels, on the scale 0 to 255."""


class BlankFilter:
    """Rejects an image whose pixels hardly vary."""

    def __init__(self, settings: BlankSettings, cluster: ClusterSpec) -> None:
        self._min_std = settings.min_std

    def __call__(self, pixels: Pixels, requests: Sequence[Request]) -> list[Verdict]:
        """Judge each image by its standard deviation, which becomes the score `std`."""
        verdicts = []
        for image in pixels:
            # OpenCV sums integers; numpy's std of a large image takes nearly as long as encoding it.
            std = float(cv2.meanStdDev(image.reshape(len(image), -1))[1][0, 0])
            verdicts.append(Verdict("" if std >= self._min_std else "blank", {"score_std": std}))
        return verdicts


FILTERS.register(BlankSettings, BlankFilter, default=True)
