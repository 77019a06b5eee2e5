"""All kinds of generators. Each is one file of this folder; here are its settings and how it is loaded."""

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from engine.generators.base import Generator, ModelSettings
from engine.generators.class_conditional import ClassConditional, ClassConditionalSettings
from engine.generators.controlnet import ControlNet, ControlNetSettings
from engine.generators.image_to_image import ImageToImage, ImageToImageSettings
from engine.generators.stylegan import StyleGan, StyleGanSettings
from engine.generators.text_to_image import TextToImage, TextToImageSettings
from engine.spec.cluster import ClusterSpec
from engine.spec.output import ImageSpec

DEFAULT = "text-to-image"

_MAKERS: dict[type[ModelSettings], Any] = {
    TextToImageSettings: TextToImage,
    ImageToImageSettings: ImageToImage,
    ControlNetSettings: ControlNet,
    ClassConditionalSettings: ClassConditional,
    StyleGanSettings: StyleGan,
}


def _kind(value: Any) -> Any:
    return value.get("kind", DEFAULT) if isinstance(value, dict) else getattr(value, "kind", None)


ModelSpec = Annotated[
    Annotated[TextToImageSettings, Tag("text-to-image")]
    | Annotated[ImageToImageSettings, Tag("image-to-image")]
    | Annotated[ControlNetSettings, Tag("controlnet")]
    | Annotated[ClassConditionalSettings, Tag("class-conditional")]
    | Annotated[StyleGanSettings, Tag("stylegan")],
    Discriminator(_kind),
]
"""The settings of any generator, told apart by `kind`."""


def load_generator(model: ModelSettings, image: ImageSpec, cluster: ClusterSpec) -> Generator:
    """Load the model onto this process's device. Raises ModelError."""
    generator: Generator = _MAKERS[type(model)](model, image, cluster)
    return generator
