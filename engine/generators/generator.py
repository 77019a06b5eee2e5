"""The protocol of all generators, and loading of the one that a spec names."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from engine.config.cluster_spec import ClusterSpec
from engine.config.model_settings import GENERATORS, ModelSettings
from engine.config.output_spec import ImageSpec
from engine.generators.conditioning.condition import Condition
from engine.profiling import Span
from engine.types import Prompt
from shards.codec import Pixels
from shards.sample import Scalar


@dataclass(frozen=True, slots=True)
class Request:
    """One image to make. All its randomness comes from `seed`, below 2^63. attempt: 0 for the first."""

    prompt: Prompt
    label: int
    class_name: str
    seed: int
    attempt: int = 0
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Images:
    """A finished batch."""

    pixels: Pixels  # uint8 (batch, height, width, 3)
    masks: NDArray[np.uint8] | None = None  # class indices, uint8 (batch, height, width), if it followed layouts
    refused: tuple[str, ...] = ()  # why the generator itself withholds each image, or ""; empty if it withholds none
    spans: tuple[Span, ...] = ()  # the stages of the batch; if empty, all its time counts as denoising

    def images(self) -> Self:
        """Return the batch itself, so that a finished batch is a PendingImages as well."""
        return self


class PendingImages(Protocol):
    """A batch whose pixels a device may still be copying, while it computes the next batch."""

    def images(self) -> Images:
        """Wait for the pixels. Any thread may call this repeatedly. Raises the errors of the device."""


@dataclass(frozen=True)
class AdapterFacts:
    """A LoRA adapter that a model was run with."""

    source: str
    revision: str
    weight: float
    classes: tuple[str, ...] | None  # those that it was used for; all if None
    generation: int  # how many generations of synthetic data lie behind it
    learned: tuple[str, ...]  # SHA-256 of each real image that it was trained on, as far as its folder records them

    @property
    def summary(self) -> dict[str, Scalar]:
        """Return what each sample records of the adapter."""
        own: dict[str, Scalar] = {"source": self.source, "revision": self.revision, "weight": self.weight}
        return own | {"learned_images": len(self.learned)}


@dataclass(frozen=True)
class ModelFacts:
    """What each sample records of the model that made it."""

    model: str
    revision: str  # commit of a hub model, or digest of the weights
    license: str
    pipeline: str
    scheduler: str
    settings: str  # JSON of what it was run with: steps, guidance and the like
    adapters: tuple[AdapterFacts, ...]
    generation: int  # how many generations of synthetic data lie behind its output; 1 after real images alone

    def for_class(self, name: str) -> "ModelFacts":
        """Return the facts for images of a class: of the adapters, only those that the class uses."""
        used = tuple(adapter for adapter in self.adapters if adapter.classes is None or name in adapter.classes)
        generation = max([self.generation, *(adapter.generation for adapter in used)])
        return replace(self, adapters=used, generation=generation)


class Generator(Protocol):
    """A generator. An image depends on its request and on the batch's shape, not on its neighbours in the batch."""

    batch_size: int
    facts: ModelFacts
    device: str
    """Kind of device, dtype and optimizations, for the stats: equal bytes are promised for equal kinds only."""

    def batch_key(self, request: Request) -> Hashable:
        """Return what the requests of a batch must have in common. Called for all of a unit before any is generated."""

    def generate(self, requests: Sequence[Request]) -> PendingImages:
        """Make one image for each of exactly `batch_size` requests with equal batch keys, in their order."""


def load_generator(model: ModelSettings, image: ImageSpec, cluster: ClusterSpec) -> Generator:
    """Load the model onto this process's device. Raises ModelError."""
    generator: Generator = GENERATORS.make(model, image, cluster)
    return generator
