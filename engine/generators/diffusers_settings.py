"""The settings that all diffusers pipelines share."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.config.model_settings import ModelPart, ModelSettings
from engine.config.strict import Count, Strict
from engine.generators.optimizations.optimizations_spec import BYTE_PRESERVING, OptimizationsSpec


class AdapterSpec(Strict):
    """LoRA weights on top of the model (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021)."""

    source: str
    """Folder that `python -m jobs finetune` wrote, another with `pytorch_lora_weights.safetensors`, or a hub id."""
    revision: str | None = None
    """Of a hub id: branch, tag or commit."""
    weight: Annotated[float, Field(gt=0, le=4)] = 1.0
    """Scale of the adapter."""
    classes: tuple[str, ...] | None = Field(None, min_length=1)
    """The classes that it is used for; all if none. Those of one class are used together."""


class DiffusersSettings(ModelSettings):
    """A pipeline that diffusers loads."""

    source: str
    """A folder in the diffusers format, a hub id, or `embedded/digits`, which ships with Shardmill."""
    revision: str | None = None
    """Of a hub model: branch, tag or commit. The commit that it is when the run begins is what the whole run uses."""
    variant: str | None = None
    """Of the weight files, like `fp16`."""
    scheduler: str | None = Field(None, pattern=r"^[A-Z][A-Za-z0-9]*Scheduler$")
    """Class of diffusers that replaces the model's own scheduler, like `DPMSolverMultistepScheduler`."""
    steps: Count = 20
    """Denoising steps."""
    guidance: Annotated[float, Field(ge=0)] = 0.0
    """Classifier-free guidance scale, as the model's pipeline counts it; 0 is off and costs nothing, and for most
    families all up to 1 is."""
    width: Count | None = None
    """Pixels; the model's own if none."""
    height: Count | None = None
    """Pixels; the model's own if none."""
    attention: Literal["auto", "sdpa", "xformers", "flash"] = "auto"
    """Kernels of attention; where the wished ones cannot be used, torch's own, and one line says why."""
    offload: Literal["none", "model", "layers"] = "none"
    """For small GPUs: keep whole models, or single layers, in the host's memory until they are needed."""
    adapters: tuple[AdapterSpec, ...] = ()
    """LoRA adapters."""
    vae: str | None = None
    """Autoencoder in place of the model's own, of the same latents: a folder or hub id, like `madebyollin/taesd`, which
    decodes in a fraction of the time, or one that does not overflow in fp16."""
    vae_revision: str | None = None
    """Of a hub autoencoder: branch, tag or commit."""
    fast: OptimizationsSpec = OptimizationsSpec()
    """The steps that make it faster."""

    @property
    def size(self) -> tuple[int | None, int | None]:
        """Height and width in pixels, as far as the spec says."""
        return self.height, self.width

    @property
    def same_bytes(self) -> Mapping[str, set[str]]:
        """The optimizations that change no byte."""
        return {"fast": set(BYTE_PRESERVING)}

    @property
    def parts(self) -> tuple[ModelPart, ...]:
        """The pipeline, its adapters, and the autoencoder."""
        adapters = (
            ModelPart(f"model.adapters.{n}.source", one.source, one.revision, "pytorch_lora_weights.safetensors")
            for n, one in enumerate(self.adapters)
        )
        vae = (
            []
            if self.vae is None
            else [ModelPart("model.vae", self.vae, self.vae_revision, "config.json", self.variant)]
        )
        return (
            ModelPart("model.source", self.source, self.revision, "model_index.json", self.variant),
            *adapters,
            *vae,
        )

    def with_revisions(self, revisions: Mapping[str, str]) -> Self:
        """Those of the pipeline, its adapters, and the autoencoder."""
        adapters = tuple(
            one.model_copy(update={"revision": revisions.get(f"model.adapters.{n}.source", one.revision)})
            for n, one in enumerate(self.adapters)
        )
        own = {"revision": ("model.source", self.revision), "vae_revision": ("model.vae", self.vae_revision)}
        found = {name: revisions.get(place, before) for name, (place, before) in own.items()}
        return self.model_copy(update={**found, "adapters": adapters})

    @property
    def named_classes(self) -> Mapping[str, Iterable[str]]:
        """Those of the adapters."""
        return {f"model.adapters.{n}.classes": one.classes or () for n, one in enumerate(self.adapters)}

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.vae is None and self.vae_revision is not None:
            raise ValueError("vae_revision is of an autoencoder: give vae")
        if self.offload != "none" and (self.fast.compile != "none" or self.fast.fp8):
            step = "fp8" if self.fast.fp8 else "compile"
            raise ValueError(f"fast.{step} needs the weights to stay on the device: say offload: none, or leave it out")
        if self.fast.fp8 and self.adapters:
            raise ValueError("fast.fp8 cannot take adapters, which need the weights as they are: leave one of them out")
        if self.fast.fp8 and self.dtype not in ("auto", "bf16"):
            raise ValueError(f"fast.fp8 is made of weights in bf16: say dtype: bf16, not {self.dtype}")
        return self
