"""Text-to-image diffusion: whatever AutoPipelineForText2Image of diffusers knows, from Stable Diffusion to Z-Image."""

from collections.abc import Hashable, Sequence
from typing import Literal

from engine.config.cluster_spec import ClusterSpec
from engine.config.model_settings import GENERATORS
from engine.config.output_spec import ImageSpec
from engine.generators.diffusers_settings import DiffusersSettings
from engine.generators.generator import PendingImages, Request


class TextToImageSettings(DiffusersSettings):
    """A prompt in, an image out."""

    kind: Literal["text-to-image"] = "text-to-image"


class TextToImage:
    """Images from prompts."""

    def __init__(self, model: TextToImageSettings, image: ImageSpec, cluster: ClusterSpec) -> None:
        from engine.generators.diffusers_pipeline import DiffusersPipeline

        self._pipe = DiffusersPipeline("AutoPipelineForText2Image", model, image, cluster)
        self.batch_size, self.device, self.facts = model.fixed_batch_size(), self._pipe.device, self._pipe.facts

    def shape(self, request: Request) -> Hashable:
        """Captions of one length, and one adapter."""
        return self._pipe.shape(request)

    def generate(self, requests: Sequence[Request]) -> PendingImages:
        """Denoise and decode one batch."""
        return self._pipe(requests, **self._pipe.prompts(requests))


GENERATORS.register(TextToImageSettings, TextToImage, default=True)
