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
    """Branch, tag or commit of a hub id."""
    weight: Annotated[float, Field(gt=0, le=4)] = 1.0
    """Scale of the adapter."""
    classes: tuple[str, ...] | None = Field(None, min_length=1)
    """The classes that it is used for; all if none. All adapters of a class are used together."""


class DiffusersSettings(ModelSettings):
    """A pipeline that diffusers loads."""

    source: str
    """A folder in the diffusers format, a hub id, or `embedded/digits`, which ships with Shardmill."""
    revision: str | None = None
    """Branch, tag or commit of a hub model. The whole run uses the commit that it is when the run begins."""
    variant: str | None = None
    """Variant of the weight files, like `fp16`."""
    scheduler: str | None = Field(None, pattern=r"^[A-Z][A-Za-z0-9]*Scheduler$")
    """Class of diffusers that replaces the model's own scheduler, like `DPMSolverMultistepScheduler`."""
    steps: Count = 20
    """Denoising steps."""
    guidance: Annotated[float, Field(ge=0)] = 0.0
    """Classifier-free guidance scale. 0 is off and costs nothing, as are values up to 1 for most families."""
    width: Count | None = None
    """Pixels; the model's own if none."""
    height: Count | None = None
    """Pixels; the model's own if none."""
    attention: Literal["auto", "sdpa", "xformers", "flash"] = "auto"
    """Kernels of attention. If they cannot be used, torch's own are, and the stats say why."""
    offload: Literal["none", "model", "layers"] = "none"
    """For small GPUs: keep whole models, or single layers, in the host's memory until they are needed."""
    adapters: tuple[AdapterSpec, ...] = ()
    """LoRA adapters."""
    vae: str | None = None
    """Autoencoder that replaces the model's own, for the same latents: a folder or hub id. Examples are
    `madebyollin/taesd`, which decodes in a fraction of the time, and one that does not overflow in fp16."""
    vae_revision: str | None = None
    """Branch, tag or commit of a hub autoencoder."""
    optimizations: OptimizationsSpec = OptimizationsSpec()
    """What makes the pipeline faster."""

    @property
    def size(self) -> tuple[int | None, int | None]:
        """Height and width in pixels, as far as the spec gives them."""
        return self.height, self.width

    @property
    def byte_preserving(self) -> Mapping[str, set[str]]:
        """The optimizations that change no byte."""
        return {"optimizations": set(BYTE_PRESERVING)}

    @property
    def parts(self) -> tuple[ModelPart, ...]:
        """The pipeline, its adapters, and the autoencoder."""
        pipeline = ModelPart("model.source", self.source, self.revision, "model_index.json", self.variant)
        adapters = (
            ModelPart(_adapter_place(number), adapter.source, adapter.revision, "pytorch_lora_weights.safetensors")
            for number, adapter in enumerate(self.adapters)
        )
        if self.vae is None:
            return (pipeline, *adapters)
        return (pipeline, *adapters, ModelPart("model.vae", self.vae, self.vae_revision, "config.json", self.variant))

    def with_revisions(self, revisions: Mapping[str, str]) -> Self:
        """Return the settings with other revisions of the pipeline, its adapters and the autoencoder."""
        adapters = tuple(
            adapter.model_copy(update={"revision": revisions.get(_adapter_place(number), adapter.revision)})
            for number, adapter in enumerate(self.adapters)
        )
        revision = revisions.get("model.source", self.revision)
        vae_revision = revisions.get("model.vae", self.vae_revision)
        return self.model_copy(update={"revision": revision, "vae_revision": vae_revision, "adapters": adapters})

    @property
    def named_classes(self) -> Mapping[str, Iterable[str]]:
        """The classes of the adapters."""
        return {f"model.adapters.{n}.classes": adapter.classes or () for n, adapter in enumerate(self.adapters)}

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        optimizations = self.optimizations
        if self.vae is None and self.vae_revision is not None:
            raise ValueError("vae_revision is the revision of an autoencoder: give vae")
        if self.offload != "none" and (optimizations.compile != "none" or optimizations.fp8):
            name = "fp8" if optimizations.fp8 else "compile"
            raise ValueError(f"optimizations.{name} needs the weights on the device: say offload: none, or omit it")
        if optimizations.fp8 and self.adapters:
            raise ValueError("optimizations.fp8 cannot take adapters, which need unchanged weights: omit one of them")
        if optimizations.fp8 and self.dtype not in ("auto", "bf16"):
            raise ValueError(f"optimizations.fp8 converts weights in bf16: say dtype: bf16, not {self.dtype}")
        return self


def _adapter_place(number: int) -> str:
    return f"model.adapters.{number}.source"
