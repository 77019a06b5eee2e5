"""ControlNet: a Stable Diffusion model that follows edges or a layout (Zhang et al., 2023)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from engine.config.cluster_spec import ClusterSpec
from engine.config.model_settings import GENERATORS, ModelPart
from engine.config.output_spec import ImageSpec
from engine.errors import ModelError
from engine.generators.diffusers_generator import DiffusersGenerator
from engine.generators.diffusers_settings import DiffusersSettings
from engine.generators.generator import PendingImages, Request


class ControlNetSettings(DiffusersSettings):
    """A pipeline and the ControlNet that steers it by the images of `condition`."""

    kind: Literal["controlnet"]
    controlnet: str
    """Folder or hub id of the ControlNet."""
    controlnet_revision: str | None = None
    """Branch, tag or commit of a hub ControlNet."""
    scale: Annotated[float, Field(ge=0, le=4)] = 1.0
    """Strength of the control."""

    @property
    def parts(self) -> tuple[ModelPart, ...]:
        """The parts of the pipeline, and the ControlNet."""
        part = ModelPart("model.controlnet", self.controlnet, self.controlnet_revision, "config.json", self.variant)
        return (*super().parts, part)

    def with_revisions(self, revisions: Mapping[str, str]) -> Self:
        """Return the settings with other revisions, including the ControlNet's."""
        revision = revisions.get("model.controlnet", self.controlnet_revision)
        return super().with_revisions(revisions).model_copy(update={"controlnet_revision": revision})

    @property
    def takes_condition(self) -> bool:
        """True: the condition is the control image."""
        return True

    @model_validator(mode="after")
    def _check_shape(self) -> Self:
        if (self.width is None) != (self.height is None):
            raise ValueError("give width and height, or neither: conditions must have the shape of the images")
        return self


class ControlNet(DiffusersGenerator[ControlNetSettings]):
    """A generator of images that follow their condition. If that is a layout, its mask is the label."""

    loader = "AutoPipelineForText2Image"

    def __init__(self, model: ControlNetSettings, image: ImageSpec, cluster: ClusterSpec) -> None:
        super().__init__(model, image, cluster)
        _check_compatible(self._pipe.pipeline, model)

    def generate(self, requests: Sequence[Request]) -> PendingImages:
        """Make one batch from its control images and prompts."""
        return self._pipe.generate(
            requests,
            self._pipe.stored_masks(requests),
            image=self._pipe.control_images(requests),
            controlnet_conditioning_scale=self._model.scale,
            **self._pipe.encode_prompts(requests),
        )


def _check_compatible(pipe: Any, model: ControlNetSettings) -> None:
    # diffusers only warns, and fails in the first batch.
    controlnet, unet = pipe.controlnet, getattr(pipe, "unet", None)
    if type(controlnet).__name__ != "ControlNetModel":
        raise ModelError(f"model.controlnet: {model.controlnet} is a {type(controlnet).__name__}; give a ControlNet")
    if unet is None:
        raise ModelError(f"model.source: {model.source} has no UNet to steer; give a Stable Diffusion 1, 2 or XL model")
    if controlnet.config.cross_attention_dim != unet.config.cross_attention_dim:
        raise ModelError(
            f"model.controlnet: {model.controlnet} takes texts of width {controlnet.config.cross_attention_dim}, and "
            f"{model.source} of {unet.config.cross_attention_dim}; give one that was made for this family of models"
        )


GENERATORS.register(ControlNetSettings, ControlNet)
