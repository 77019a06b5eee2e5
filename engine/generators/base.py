"""The protocol of all generators."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.prompts import Prompt
from shards.codec import Pixels


@dataclass(frozen=True, slots=True)
class Request:
    """One image to make. label: class index; seed: below 2^63, all of the image's randomness."""

    prompt: Prompt
    label: int
    seed: int


@dataclass(frozen=True)
class ModelFacts:
    """What a sample says of the model that made it.

    generation: how many generations of synthetic data lie behind its output; 1 if it learned from real images alone.
    """

    model: str
    revision: str
    license: str
    pipeline: str
    scheduler: str
    generation: int


class Generator(Protocol):
    """Turns requests into images. An image depends on its request and the batch's shape, not on its neighbours."""

    batch_size: int
    facts: ModelFacts
    device: str
    """Kind of device and dtype, for the stats: equal bytes are promised for equal kinds only."""

    def generate(self, requests: Sequence[Request]) -> Pixels:
        """Exactly `batch_size` requests in; uint8 (batch_size, height, width, 3) out, in their order."""
        ...
