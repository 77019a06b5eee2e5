"""Real images, as a source returns them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from engine.data.masks import Mask
from engine.errors import DataError
from shards.codec import CorruptImage, Pixels, decode_rgb


@dataclass(frozen=True)
class RealImage:
    """A real image that is read on demand."""

    label: int
    class_name: str
    origin: str  # path and position, for messages and provenance
    read: Callable[[], bytes]  # returns the encoded bytes
    read_mask: Callable[[], Mask] | None = None  # all images of a set have one, or none has
    generation: int = 0  # of synthetic data behind it; 0 unless a spec takes synthetic images for real ones

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the encoded bytes, in hex. It identifies the image, whatever its name."""
        return hashlib.sha256(self.read()).hexdigest()

    def pixels(self) -> Pixels:
        """Decode to uint8 (height, width, 3). Raises DataError where the image cannot be read."""
        try:
            return decode_rgb(self.read())
        except CorruptImage as error:
            raise DataError(f"{self.origin}: corrupt image ({error}); repair or remove it and run again") from None

    def mask(self) -> Mask:
        """Return class indices, uint8 (height, width), in a whole multiple of the image's size. Raises DataError."""
        assert self.read_mask is not None
        (height, width), mask = self.pixels().shape[:2], self.read_mask()
        times = mask.shape[0] // height
        if not times or mask.shape != (times * height, times * width):
            raise DataError(
                f"{self.origin}: is {width}x{height} pixels, and its mask {mask.shape[1]}x{mask.shape[0]}; save the "
                "mask in the image's size, or in a whole multiple of it"
            )
        return mask


@dataclass(frozen=True)
class RealSet:
    """All images of a source, with its classes in label order. held_out: the data set's own test images, if any."""

    classes: tuple[str, ...]
    images: tuple[RealImage, ...]
    held_out: tuple[RealImage, ...] = ()
