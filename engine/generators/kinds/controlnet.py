"""ControlNet: a Stable Diffusion model that follows edges or a layout (Zhang et al., 2023)."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from engine.config.cluster_spec import ClusterSpec
from engine.config.model_settings import GENERATORS, ModelPart
from engine.config.output_spec import ImageSpec
from engine.errors import ModelError
from engine.generators.diffusers_settings import DiffusersSettings
from engine.generators.generator import PendingImages, Request


class ControlNetSettings(DiffusersSettings):
    """A pipeline and the ControlNet that steers it by the images of `condition`."""

    kind: Literal["controlnet"]
    controlnet: str
    """Folder or hub id of the ControlNet."""
    controlnet_revision: str | None = None
    """Of a hub ControlNet: branch, tag or commit."""
    scale: Annotated[float, Field(ge=0, le=4)] = 1.0
    """How much it steers."""

    @property
    def parts(self) -> tuple[ModelPart, ...]:
        """The ControlNet as well."""
        part = ModelPart("model.controlnet", self.controlnet, self.controlnet_revision, "config.json", self.variant)
        return (*super().parts, part)

    def with_revisions(self, revisions: Mapping[str, str]) -> Self:
        """That of the ControlNet as well."""
        revision = revisions.get("model.controlnet", self.controlnet_revision)
        return super().with_revisions(revisions).model_copy(update={"controlnet_revision": revision})

    @property
    def takes_condition(self) -> bool:
        """The images that steer it."""
        return True

    @model_validator(mode="after")
    def _has_a_shape(self) -> Self:
        if (self.width is None) != (self.height is None):
            raise ValueError("give width and height, or neither: conditions must have the shape of the images")
        return self


class ControlNet:
    """Images that follow their condition; where that is a layout, its mask is the label."""

    def __init__(self, model: ControlNetSettings, image: ImageSpec, cluster: ClusterSpec) -> None:
        from engine.generators.diffusers_pipeline import DiffusersPipeline

        self._pipe = DiffusersPipeline("AutoPipelineForText2Image", model, image, cluster)
        _check_fit(self._pipe.diffusers, model)
        self._scale = model.scale
        self.batch_size, self.device, self.facts = model.fixed_batch_size(), self._pipe.device, self._pipe.facts

    def shape(self, request: Request) -> Hashable:
        """Captions of one length, and one adapter."""
        return self._pipe.shape(request)

    def generate(self, requests: Sequence[Request]) -> PendingImages:
        """Denoise and decode one batch under its control images."""
        return self._pipe(
            requests,
            self._pipe.masks(requests),
            image=self._pipe.controls(requests),
            controlnet_conditioning_scale=self._scale,
            **self._pipe.prompts(requests),
        )


def _check_fit(pipe: Any, model: ControlNetSettings) -> None:
    # diffusers itself warns at most, and fails in the midst of the first batch.
    net, unet = pipe.controlnet, getattr(pipe, "unet", None)
    if type(net).__name__ != "ControlNetModel":
        raise ModelError(f"model.controlnet: {model.controlnet} is a {type(net).__name__}; give a ControlNet")
    if unet is None:
        raise ModelError(f"model.source: {model.source} has no UNet to steer; give a Stable Diffusion 1, 2 or XL model")
    if net.config.cross_attention_dim != unet.config.cross_attention_dim:
        raise ModelError(
            f"model.controlnet: {model.controlnet} takes texts of width {net.config.cross_attention_dim}, and "
            f"{model.source} of {unet.config.cross_attention_dim}; give one that was made for this family of models"
        )


GENERATORS.register(ControlNetSettings, ControlNet)
