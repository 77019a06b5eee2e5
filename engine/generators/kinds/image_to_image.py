"""Image-to-image diffusion: add noise to a real image, and denoise it under a prompt."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.config.condition_spec import ConditionSpec, RealCondition
from engine.config.model_settings import GENERATORS
from engine.generators.diffusers_generator import DiffusersGenerator
from engine.generators.diffusers_settings import DiffusersSettings
from engine.generators.generator import PendingImages, Request


class ImageToImageSettings(DiffusersSettings):
    """A text-to-image model that is used for SDEdit (Meng et al., 2021)."""

    kind: Literal["image-to-image"]
    strength: Annotated[float, Field(gt=0, le=1)] = 0.6
    """Share of the noise: 1 ignores the image. Only the last steps * strength of the steps are made."""

    @property
    def takes_condition(self) -> bool:
        """True: the condition is the image to vary."""
        return True

    def check_condition(self, condition: ConditionSpec | None) -> None:
        """Raise ValueError if the condition is anything but whole real images."""
        super().check_condition(condition)
        if not isinstance(condition, RealCondition) or condition.edges is not None:
            raise ValueError(f"model.kind {self.kind!r} varies whole real images: give condition.source real alone")

    @model_validator(mode="after")
    def _check_steps(self) -> Self:
        if int(self.steps * self.strength) < 1:
            raise ValueError(f"steps {self.steps} * strength {self.strength:g} is less than one step; raise one")
        return self


class ImageToImage(DiffusersGenerator[ImageToImageSettings]):
    """A generator of variations of the images of `condition`."""

    loader = "AutoPipelineForImage2Image"

    def generate(self, requests: Sequence[Request]) -> PendingImages:
        """Make one batch from its images and prompts."""
        images, prompts = self._pipe.control_images(requests), self._pipe.encode_prompts(requests)
        return self._pipe.generate(requests, image=images, strength=self._model.strength, **prompts)


GENERATORS.register(ImageToImageSettings, ImageToImage)
