"""How images are stored."""

from typing import Annotated, Literal

from pydantic import Field

from engine.config.strict import Strict


class ImageSpec(Strict):
    """How an image is stored."""

    format: Literal["png", "jpg", "webp"] = "png"
    """png is lossless; jpg and webp take `quality`."""
    size: Annotated[int, Field(ge=4, le=8192)] | None = None
    """Pixels of both sides, resized with antialiasing on the device; as generated if none."""
    quality: Annotated[int, Field(ge=1, le=100)] = 95
    """Of jpg and webp."""


class OutputSpec(Strict):
    """The shards."""

    samples_per_shard: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    """Slots of a unit, so images of a shard where none fails."""
    image: ImageSpec = ImageSpec()
    """Form of every image."""
