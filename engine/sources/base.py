"""The protocol of a source of real images."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from engine.errors import DataError
from shards.codec import CorruptImage, Pixels, decode_rgb


@dataclass(frozen=True)
class RealImage:
    """One real image, read when asked for.

    label:  index into its set's classes.
    origin: where it is, for messages and provenance.
    read:   gives its encoded bytes.
    """

    label: int
    class_name: str
    origin: str
    read: Callable[[], bytes]

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


@dataclass(frozen=True)
class RealSet:
    """All images of one place.

    classes: names in label order.
    held_out: the images that the data set itself keeps for validation and test; empty if it does not.
    """

    classes: tuple[str, ...]
    images: tuple[RealImage, ...]
    held_out: tuple[RealImage, ...] = ()
