"""The shards and the format of their images."""

from typing import Annotated, Literal

from pydantic import Field

from engine.config.strict import Strict


class ImageSpec(Strict):
    """The format of stored images."""

    format: Literal["png", "jpg", "webp"] = "png"
    """png is lossless; jpg and webp take `quality`."""
    size: Annotated[int, Field(ge=4, le=8192)] | None = None
    """Side in pixels. Images are resized on the device with antialiasing. None: as generated."""
    quality: Annotated[int, Field(ge=1, le=100)] = 95
    """Quality of jpg and webp."""


class OutputSpec(Strict):
    """The shards."""

    samples_per_shard: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    """Slots of a unit, and so images of a shard if no slot fails."""
    image: ImageSpec = ImageSpec()
    """Format of every image."""
