"""The protocol of all generators."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from engine.generators.conditioning.condition import Condition
from engine.profiling import Span
from engine.types import Prompt
from shards.codec import Pixels
from shards.sample import Scalar


@dataclass(frozen=True, slots=True)
class Request:
    """One image to make.

    label:     class index; class_name is its name.
    seed:      below 2^63; the only source of the image's randomness.
    attempt:   0 for the first try at the slot.
    condition: an image or a layout that the generator follows besides the prompt.
    """

    prompt: Prompt
    label: int
    class_name: str
    seed: int
    attempt: int = 0
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Images:
    """A batch that was made.

    pixels: uint8 (batch, height, width, 3).
    masks:  class indices, uint8 (batch, height, width), where the generator was given layouts.
    refused: why the generator itself withholds an image, or "": its safety checker's verdict, or that its numbers
             overflowed. Empty if it withholds none.
    spans:   where the time went; a generator that does not say has spent all of it denoising.
    """

    pixels: Pixels
    masks: NDArray[np.uint8] | None = None
    refused: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()

    def images(self) -> Self:
        """Itself: what a device is still copying is a `Made` as well."""
        return self


class PendingImages(Protocol):
    """A batch whose pixels may still be on their way from a device, which computes the next one meanwhile."""

    def images(self) -> Images:
        """Wait for the pixels. Any thread may call it, any number of times; it raises what went wrong on the device."""
        ...


@dataclass(frozen=True)
class AdapterFacts:
    """A LoRA adapter that a model was run with.

    classes:    whose images it was used for; all if None.
    generation: as that of a model.
    learned:    SHA-256 of each real image that it learned from, as far as its folder says.
    """

    source: str
    revision: str
    weight: float
    classes: tuple[str, ...] | None
    generation: int
    learned: tuple[str, ...]

    @property
    def brief(self) -> dict[str, Scalar]:
        """What a sample says of it; the stats of its shard say all."""
        return {
            "source": self.source,
            "revision": self.revision,
            "weight": self.weight,
            "learned_images": len(self.learned),
        }


@dataclass(frozen=True)
class ModelFacts:
    """What a sample says of the model that made it.

    revision:   commit of a hub model, or digest of the weights.
    settings:   JSON of what it was run with: steps, guidance and the like.
    adapters:   in the order of the spec.
    generation: how many generations of synthetic data lie behind its output; 1 if it learned from real images alone.
    """

    model: str
    revision: str
    license: str
    pipeline: str
    scheduler: str
    settings: str
    adapters: tuple[AdapterFacts, ...]
    generation: int

    def of_class(self, name: str) -> "ModelFacts":
        """What the images of a class say: of the adapters, those that they were made with."""
        used = tuple(one for one in self.adapters if one.classes is None or name in one.classes)
        return replace(self, adapters=used, generation=max([self.generation, *(one.generation for one in used)]))


class Generator(Protocol):
    """Turns requests into images. An image depends on its request and the batch's shape, not on its neighbours."""

    batch_size: int
    facts: ModelFacts
    device: str
    """Kind of device, dtype and attention, for the stats: equal bytes are promised for equal kinds only."""

    def shape(self, request: Request) -> Hashable:
        """Only requests of equal shape may share a batch: the length bucket of a caption, or the adapter it takes.
        It is asked of all requests of a unit before the first of them is made."""
        ...

    def generate(self, requests: Sequence[Request]) -> PendingImages:
        """Exactly `batch_size` requests of one shape in; as many images out, in their order."""
        ...
