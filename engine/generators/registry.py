"""All kinds of generators. Each is one file of this folder; here are its settings and how it is loaded."""

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from engine.config.cluster_spec import ClusterSpec
from engine.config.output_spec import ImageSpec
from engine.generators.kinds.class_conditional import ClassConditional, ClassConditionalSettings
from engine.generators.kinds.controlnet import ControlNet, ControlNetSettings
from engine.generators.kinds.image_to_image import ImageToImage, ImageToImageSettings
from engine.generators.kinds.stylegan import StyleGan, StyleGanSettings
from engine.generators.kinds.text_to_image import TextToImage, TextToImageSettings
from engine.generators.protocol import Generator, ModelSettings

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
