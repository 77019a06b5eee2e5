"""Text-to-image diffusion: every family that AutoPipelineForText2Image of diffusers loads."""

from collections.abc import Sequence
from typing import Literal

from engine.config.model_settings import GENERATORS
from engine.generators.diffusers_generator import DiffusersGenerator
from engine.generators.diffusers_settings import DiffusersSettings
from engine.generators.generator import PendingImages, Request


class TextToImageSettings(DiffusersSettings):
    """A text-to-image pipeline."""

    kind: Literal["text-to-image"] = "text-to-image"


class TextToImage(DiffusersGenerator[TextToImageSettings]):
    """A generator of images from prompts."""

    loader = "AutoPipelineForText2Image"

    def generate(self, requests: Sequence[Request]) -> PendingImages:
        """Make one batch from its prompts."""
        return self._pipe.generate(requests, **self._pipe.encode_prompts(requests))


GENERATORS.register(TextToImageSettings, TextToImage, default=True)
