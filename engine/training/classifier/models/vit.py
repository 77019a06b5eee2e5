"""A vision transformer by its configuration (Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021)."""

from typing import Any, Literal, Self

from pydantic import model_validator

from engine.config.classifier_settings import CLASSIFIERS, ClassifierSettings
from engine.config.strict import Count
from engine.errors import SpecError


class VitSettings(ClassifierSettings):
    """Settings of the classifier `vit`."""

    kind: Literal["vit"]
    patch: Count = 16
    """Side of a patch in pixels; it divides the side of an image."""
    hidden: Count = 128
    """Width of a token."""
    layers: Count = 4
    """Transformer blocks."""
    heads: Count = 2
    """Attention heads; they divide `hidden`."""
    intermediate: Count = 256
    """Width of the hidden layer of each block's perceptron."""

    @model_validator(mode="after")
    def _heads_divide_hidden(self) -> Self:
        if self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is not divisible by heads {self.heads}")
        return self


def make_vit(settings: VitSettings, shape: tuple[int, int], classes: int, first_weights: Any) -> Any:
    """Return an untrained transformer for square images. Raises SpecError if patches do not divide them."""
    from torchvision.models import VisionTransformer

    height, width = shape
    if height != width or height % settings.patch:
        raise SpecError(
            f"train.model.patch: images of {height}x{width} cannot be cut into squares of {settings.patch} pixels"
        )
    return VisionTransformer(
        image_size=height,
        patch_size=settings.patch,
        num_layers=settings.layers,
        num_heads=settings.heads,
        hidden_dim=settings.hidden,
        mlp_dim=settings.intermediate,
        num_classes=classes,
    )


CLASSIFIERS.register(VitSettings, make_vit)
