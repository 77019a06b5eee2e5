"""A generator that paints stripes: as wide as the label says, as bright as the seed says."""

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np

from engine.config.cluster_spec import ClusterSpec
from engine.config.model_settings import GENERATORS, ModelSettings
from engine.config.output_spec import ImageSpec
from engine.generators.generator import Images, ModelFacts, Request


class StripesSettings(ModelSettings):
    kind: Literal["stripes"]
    source: str = "stripes"
    side: int = 16


class Stripes:
    facts = ModelFacts("stripes", "1", "apache-2.0", "Stripes", "none", "{}", (), 1)
    device = "cpu, numpy"

    def __init__(self, settings: StripesSettings, image: ImageSpec, cluster: ClusterSpec) -> None:
        self.batch_size, self._side = settings.fixed_batch_size(), settings.side

    def batch_key(self, request: Request) -> Hashable:
        return None

    def generate(self, requests: Sequence[Request]) -> Images:
        columns = np.arange(self._side)
        pixels = [
            np.where(columns // (request.label + 1) % 2, 255, request.seed % 256) * np.ones((self._side, 1), np.uint8)
            for request in requests
        ]
        return Images(np.repeat(np.stack(pixels).astype(np.uint8)[..., None], 3, axis=3))


GENERATORS.register(StripesSettings, Stripes)
