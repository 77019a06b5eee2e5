"""The protocol of all generators."""

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from engine.config.strict import Count, Strict
from engine.errors import SpecError
from engine.profiling import Span
from shards.codec import Pixels
from shards.sample import Scalar

if TYPE_CHECKING:
    from engine.generators.conditioning.condition import Condition
    from engine.prompts import Prompt


@dataclass(frozen=True, slots=True)
class ModelPart:
    """One model that a spec names: a folder, or a hub repository at a revision.

    place:    its key in the spec, for messages.
    revision: branch, tag or commit of a hub repository; once pinned, a commit or `name@commit`.
    index:    the file without which a folder holds no such model.
    variant:  of the weight files, where there is such.
    """

    place: str
    source: str
    revision: str | None
    index: str
    variant: str | None = None

    @property
    def commit(self) -> str | None:
        """The commit that the revision is pinned to."""
        last = (self.revision or "").rpartition("@")[2]
        return last if re.fullmatch("[0-9a-f]{40}", last) else None


DEFAULT_BATCH_SIZE = 16


class ModelSettings(Strict):
    """What the settings of every generator have. `kind` is a Literal in each, and tells them apart."""

    kind: str
    source: str
    """Where the model is."""
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: bf16 where the device has the instructions; else fp16 on a GPU, fp32 on a CPU."""
    batch_size: Count | Literal["auto"] = DEFAULT_BATCH_SIZE
    """Images of a forward pass. It is part of the result: the last batch of a unit is padded, never shrunk. Where the
    device has no room for it, whole units are made in batches of half the size, which their stats name.
    auto: when the run begins, one actor measures which size is fast on its device; the run keeps that number."""

    @property
    def parts(self) -> tuple[ModelPart, ...]:
        """The models to fetch before it can be loaded, the main one first."""
        return ()

    def with_revisions(self, revisions: Mapping[str, str]) -> Self:
        """The same with the revisions of these parts, by their place, replaced."""
        return self

    def fixed_batch_size(self) -> int:
        """The batch size as a number. Raises SpecError where it is yet to be measured."""
        if self.batch_size == "auto":
            raise SpecError("model.batch_size: auto is measured when `generate` begins a run; give a number here")
        return self.batch_size

    def with_batch_size(self, batch_size: int) -> Self:
        """The same for batches of another size."""
        return self.model_copy(update={"batch_size": batch_size})

    def check_files(self) -> None:
        """Raises ModelError where a file that is no part is missing, before anything is spent. Opens none."""

    @property
    def takes_prompts(self) -> bool:
        """Whether it reads prompts."""
        return True

    @property
    def takes_condition(self) -> bool:
        """Whether it needs the images of the spec's `condition`."""
        return False

    @property
    def named_classes(self) -> Mapping[str, Iterable[str]]:
        """Class names that the settings hold, by their place."""
        return {}


@dataclass(frozen=True, slots=True)
class Request:
    """One image to make.

    label:     class index, and class_name its name.
    seed:      below 2^63, all of the image's randomness.
    condition: what the image must follow besides the prompt, if the run has such.
    """

    prompt: "Prompt"
    label: int
    class_name: str
    seed: int
    condition: "Condition | None" = None


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
