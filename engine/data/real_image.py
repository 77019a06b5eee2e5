"""The protocol of a source of real images."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from engine.data.masks import Mask
from engine.errors import DataError
from shards.codec import CorruptImage, Pixels, decode_rgb


@dataclass(frozen=True)
class RealImage:
    """One real image, read when asked for.

    label:     index into its set's classes.
    origin:    where it is, for messages and provenance.
    read:      gives its encoded bytes.
    read_mask: gives the class of every pixel, where the set has masks; all images of a set have one, or none has.
    generation: how many generations of synthetic data lie behind it: 0, but where synthetic images are asked for.
    """

    label: int
    class_name: str
    origin: str
    read: Callable[[], bytes]
    read_mask: Callable[[], Mask] | None = None
    generation: int = 0

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the encoded bytes, in hex: its identity, so that a copy under another name is the same image."""
        return hashlib.sha256(self.read()).hexdigest()

    def pixels(self) -> Pixels:
        """Decoded to uint8 (height, width, 3). Raises DataError with the place of an image that cannot be read."""
        try:
            return decode_rgb(self.read())
        except CorruptImage as error:
            raise DataError(f"{self.origin}: corrupt image ({error}); mend or remove it and run again") from None

    def mask(self) -> Mask:
        """Class indices, uint8 (height, width), of the image's pixels or of a whole multiple of them on both sides.

        Raises DataError for a mask that cannot be read or is of another size; of a set without masks none may be asked.
        """
        assert self.read_mask is not None
        (high, wide), found = self.pixels().shape[:2], self.read_mask()
        times = found.shape[0] // high
        if not times or found.shape != (times * high, times * wide):
            raise DataError(
                f"{self.origin}: is {wide}x{high} pixels, and its mask {found.shape[1]}x{found.shape[0]}; save the "
                "mask in the image's size, or in a whole multiple of it"
            )
        return found


@dataclass(frozen=True)
class RealSet:
    """All images of one place.

    classes: names in label order.
    held_out: the images that the data set itself keeps for validation and test; empty if it does not.
    """

    classes: tuple[str, ...]
    images: tuple[RealImage, ...]
    held_out: tuple[RealImage, ...] = ()
