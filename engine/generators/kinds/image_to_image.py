"""Image-to-image diffusion: a real image, noised to a strength and denoised under a prompt."""

from collections.abc import Hashable, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.config.cluster_spec import ClusterSpec
from engine.config.condition_spec import ConditionSpec, RealCondition
from engine.config.model_settings import GENERATORS
from engine.config.output_spec import ImageSpec
from engine.generators.diffusers_settings import DiffusersSettings
from engine.generators.generator import PendingImages, Request


class ImageToImageSettings(DiffusersSettings):
    """SDEdit (Meng et al., 2021) with a text-to-image model."""

    kind: Literal["image-to-image"]
    strength: Annotated[float, Field(gt=0, le=1)] = 0.6
    """Share of the noise: 1 forgets the image. Of the steps only the last steps * strength are made."""

    @property
    def takes_condition(self) -> bool:
        """The images that it varies."""
        return True

    def check_condition(self, condition: ConditionSpec | None) -> None:
        """Raise ValueError where the condition is not whole real images."""
        super().check_condition(condition)
        if not isinstance(condition, RealCondition) or condition.edges is not None:
            raise ValueError(f"model.kind {self.kind!r} varies whole real images: give condition.source real alone")

    @model_validator(mode="after")
    def _makes_a_step(self) -> Self:
        if int(self.steps * self.strength) < 1:
            raise ValueError(f"steps {self.steps} * strength {self.strength:g} is less than one step; raise one")
        return self


class ImageToImage:
    """Variations of the images of `condition`."""

    def __init__(self, model: ImageToImageSettings, image: ImageSpec, cluster: ClusterSpec) -> None:
        from engine.generators.diffusers_pipeline import DiffusersPipeline

        self._pipe = DiffusersPipeline("AutoPipelineForImage2Image", model, image, cluster)
        self._strength = model.strength
        self.batch_size, self.device, self.facts = model.fixed_batch_size(), self._pipe.device, self._pipe.facts

    def shape(self, request: Request) -> Hashable:
        """Captions of one length, and one adapter."""
        return self._pipe.shape(request)

    def generate(self, requests: Sequence[Request]) -> PendingImages:
        """Noise, denoise and decode one batch."""
        images = self._pipe.controls(requests)
        return self._pipe(requests, image=images, strength=self._strength, **self._pipe.prompts(requests))


GENERATORS.register(ImageToImageSettings, ImageToImage)
