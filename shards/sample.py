"""One sample: an image, its label and its metadata, under one key."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from shards.errors import ShardError

Scalar = str | int | float | bool
"""The value of a metadata field. A field has the same type in every sample of a run."""

IMAGE_FORMATS = ("png", "jpg", "webp")
MEMBER_EXTENSIONS = (*IMAGE_FORMATS, "cls", "json", "txt", "mask.png")
"""The only members that we write or read. A reader that decodes by extension would run a `.pyd` as a pickle."""

_KEY = re.compile(r"[a-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Sample:
    """An encoded image with its label.

    key:    1 to 64 of `a-z 0-9 _ -`, unique in the run. A dot would cut the key in every client.
    image:  encoded bytes, in `format`, one of IMAGE_FORMATS.
    label:  intended class index, >= 0.
    meta:   written as `.json` and as columns of the index. Its `prompt`, "" if real, is also the `.txt` member.
    mask:   a PNG of class indices of the image's size, for dense labels.
    """

    key: str
    image: bytes
    format: str
    label: int
    meta: Mapping[str, Scalar]
    mask: bytes | None = None

    def members(self) -> list[tuple[str, bytes]]:
        """Return extension and bytes of each tar member, in the order of the tar. Raises ShardError."""
        if not _KEY.fullmatch(self.key):
            raise ShardError(f"sample key {self.key!r} must match {_KEY.pattern}")
        if self.format not in IMAGE_FORMATS:
            raise ShardError(f"image format {self.format!r} must be one of {IMAGE_FORMATS}")
        members = [
            (self.format, self.image),
            ("cls", str(self.label).encode()),
            ("json", json.dumps(self.meta, ensure_ascii=False, allow_nan=False).encode()),
            ("txt", str(self.meta["prompt"]).encode()),
        ]
        return members if self.mask is None else [*members, ("mask.png", self.mask)]
