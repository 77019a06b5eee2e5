"""The steps that make a pipeline faster, each of which can be switched."""

from typing import Literal, Self

from pydantic import model_validator

from engine.config.strict import Count, Strict

BYTE_PRESERVING = frozenset({"overlap", "texts_once"})
"""The steps that change when something is done, and no byte of what is made: a run may go on with others."""


class OptimizationsSpec(Strict):
    """How a diffusers pipeline is run. With every setting an image follows from its request, the settings and the
    batch's shape; with all but `max-autotune` the same software and kind of device make the same bytes again."""

    channels_last: bool = True
    """Convolutions with the channels innermost in memory, which is what tensor cores and CPUs compute with."""
    packed: bool = True
    """On a CPU, with channels_last and without compile: bring the weights of convolutions into the layout that oneDNN
    computes with once, and not in each call. In fp32, small layers may add in another order."""
    texts_once: bool = True
    """Encode each distinct text once, and keep it. Off: each batch's texts anew, to see what it saves."""
    overlap: bool = True
    """On a GPU, compute the next batch while the pixels of the last are copied. Changes no byte."""
    compile: Literal["none", "default", "reduce-overhead", "max-autotune"] = "none"
    """torch.compile of the whole denoiser and of the VAE's decoder for fixed shapes. The first batch of each shape then
    takes minutes, or seconds where an actor of the same node had it before. reduce-overhead: as CUDA graphs too.
    max-autotune chooses kernels by timing them, so it takes `nondeterministic: true`."""
    nondeterministic: bool = False
    """Let a step be used whose bytes may differ between nodes and from one day to the next."""
    decode_batch: Count | None = None
    """Images that the VAE decodes at once; if none the whole batch, or equal groups of it where a layer's output would
    have 2**31 values. Part of the batch's shape, and so of the result: where it does not divide the batch, the last are
    padded. Fewer need less memory; they may be faster at large sizes."""
    fp8: bool = False
    """The denoiser's linear layers in 8-bit floats with a scale for each row (torchao), from compute capability 8.9 on;
    the other layers in bf16. Images differ from those in bf16."""

    @model_validator(mode="after")
    def _says_so(self) -> Self:
        if self.compile == "max-autotune" and not self.nondeterministic:
            raise ValueError(
                "compile 'max-autotune' chooses kernels by timing them, so that another actor may make other bytes; "
                "add nondeterministic: true, or choose reduce-overhead"
            )
        return self

    def on(self, device: str, packs: bool) -> "OptimizationsSpec":
        """Those that can be on there. device: cuda, or cpu, where there is nothing to overlap. packs: whether its
        convolutions have a layout of their own."""
        packed = self.packed and packs and self.channels_last and self.compile == "none"
        return self.model_copy(update={"packed": packed, "overlap": self.overlap and device == "cuda"})

    def told(self) -> str:
        """Those that are on, for the stats."""
        on = {name: value for name, value in self if value not in (False, None, "none")}
        return ", ".join(name if value is True else f"{name} {value}" for name, value in on.items())
