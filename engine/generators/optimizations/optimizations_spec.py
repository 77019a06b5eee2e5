"""The settings of a pipeline's optimizations, each of which can be switched separately."""

from typing import Literal, Self

from pydantic import model_validator

from engine.config.strict import Count, Strict

BYTE_PRESERVING = frozenset({"overlap_copies", "cache_text_embeddings"})
"""The optimizations that change when work is done, and no byte of an image: a run may be resumed with other values."""


class OptimizationsSpec(Strict):
    """How a diffusers pipeline is run. With any settings, an image follows from its request, the settings and the
    batch's shape. With all but `max-autotune`, the same software and kind of device reproduce the same bytes."""

    channels_last: bool = True
    """Store the channels of convolutions innermost in memory, the layout that tensor cores and CPUs compute with."""
    packed_weights: bool = True
    """On a CPU, with channels_last and without compile: convert the weights of convolutions to oneDNN's layout once
    instead of in each call. In fp32, small layers may add in another order."""
    cache_text_embeddings: bool = True
    """Encode each distinct text once, and keep its embedding. If off, encode the texts of each batch anew."""
    overlap_copies: bool = True
    """On a GPU, compute the next batch while the pixels of the last one are copied. Changes no byte."""
    compile: Literal["none", "default", "reduce-overhead", "max-autotune"] = "none"
    """torch.compile of the whole denoiser and of the VAE's decoder for fixed shapes. The first batch of each shape then
    takes minutes, or seconds if an actor of the same node compiled it before. reduce-overhead: as CUDA graphs too.
    max-autotune chooses kernels by timing them, so it requires `nondeterministic: true`."""
    nondeterministic: bool = False
    """Allow settings whose bytes may differ between nodes and from one day to the next."""
    decode_batch: Count | None = None
    """Images that the VAE decodes at once, part of the batch's shape, and so of the result. Fewer need less memory.
    None: the whole batch, or equal groups of it if a layer's output would have 2**31 values."""
    fp8: bool = False
    """Convert the denoiser's linear layers to 8-bit floats with a scale for each row (torchao), from compute capability
    8.9 on. The other layers stay in bf16. Images differ from those in bf16."""

    @model_validator(mode="after")
    def _check_determinism(self) -> Self:
        if self.compile == "max-autotune" and not self.nondeterministic:
            raise ValueError(
                "compile 'max-autotune' chooses kernels by timing them, so another actor may make other bytes; "
                "add nondeterministic: true, or choose reduce-overhead"
            )
        return self

    def effective(self, device: str, can_pack: bool) -> "OptimizationsSpec":
        """Return the settings with those off that have no effect on this device. can_pack: see `packed_weights`."""
        packed_weights = self.packed_weights and can_pack and self.channels_last and self.compile == "none"
        overlap_copies = self.overlap_copies and device == "cuda"
        return self.model_copy(update={"packed_weights": packed_weights, "overlap_copies": overlap_copies})

    @property
    def summary(self) -> str:
        """The names of the settings that are on, with values that are not booleans, for the stats."""
        active = {name: value for name, value in self if value not in (False, None, "none")}
        return ", ".join(name if value is True else f"{name} {value}" for name, value in active.items())
