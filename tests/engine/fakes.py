"""Fake generators, whose images follow from label and seed, without a model."""

import weakref
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from engine.generators.generator import Images, ModelFacts, Request
from shards.codec import Pixels


class FakeGenerator:
    """A generator of noise from seed and label. Requests that `blank` selects get a single colour."""

    facts = ModelFacts("fake", "r1", "apache-2.0", "FakePipeline", "FakeScheduler", "{}", (), 1)
    device = "none"

    def __init__(self, batch_size: int = 4, size: int = 8, blank: Callable[[Request], bool] = lambda _: False) -> None:
        self.batch_size, self._size, self._blank = batch_size, size, blank
        self.requests: list[Request] = []

    def batch_key(self, request: Request) -> Hashable:
        return ()

    def generate(self, requests: Sequence[Request]) -> Images:
        assert len(requests) == self.batch_size
        assert len({self.batch_key(request) for request in requests}) == 1
        self.requests += requests
        return Images(np.stack([self._draw(request) for request in requests]))

    def _draw(self, request: Request) -> Pixels:
        if self._blank(request):
            return np.full((self._size, self._size, 3), 9, np.uint8)
        drawn = np.random.default_rng(request.seed).integers(0, 200, (self._size, self._size, 3), dtype=np.uint8)
        return drawn + np.uint8(5 * (request.label % 10))


class CountingGenerator(FakeGenerator):
    """A generator that records in `alive`, at each batch, how many batches are in memory, including the new one."""

    def __init__(self, batch_size: int) -> None:
        super().__init__(batch_size)
        self.alive: list[int] = []
        self._held: list[weakref.ref[object]] = []

    def generate(self, requests: Sequence[Request]) -> Images:
        images = super().generate(requests)
        self._held.append(weakref.ref(images.pixels))
        self.alive.append(sum(reference() is not None for reference in self._held))
        return images
