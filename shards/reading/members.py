"""The members of a sample in a tar: which sample a member belongs to, what it is, and what a `.json` says."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_META = re.compile(r"__[^/]*__(/|$)")


@dataclass(frozen=True)
class Members:
    """Roles of the members of a sample, by extension: all that follows the first dot, in lower case."""

    image: tuple[str, ...] = ("png", "jpg", "jpeg", "webp")  # any of these
    label: str = "cls"  # the extension of an integer in text, or `json.NAME` for a field of the `.json`
    mask: str = "mask.png"  # a PNG of class indices. An extension with two roles is the label, else the mask.

    def roles(self) -> dict[str, str]:
        """Return the role of each extension: image, mask, label, json or txt. Other members are never read."""
        roles = {"json": "json", "txt": "txt", **dict.fromkeys(self.image, "image"), self.mask: "mask"}
        return roles if self.label_field else roles | {self.label: "label"}

    @property
    def label_field(self) -> str | None:
        """The field of the `.json` that holds the label; None if the label is a member of its own."""
        return self.label.removeprefix("json.") if self.label.startswith("json.") else None


def split_member_name(name: str) -> tuple[str, str] | None:
    """Return the key of a member's sample and the member's extension in lower case; None if it belongs to no sample.

    By webdataset's rule the key ends at the first dot of the file name. `__NAME__` and hidden files have no sample.
    """
    folders, slash, base = name.rpartition("/")
    stem, dot, extension = base.partition(".")
    return (f"{folders}{slash}{stem}", extension.lower()) if stem and dot and not _META.match(name) else None


def parse_metadata(text: bytes) -> dict[str, Any]:
    """Return the fields of a `.json`; empty if it is damaged or not an object."""
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return metadata if isinstance(metadata, dict) else {}


def synthetic_flag(metadata: Mapping[str, Any]) -> bool | None:
    """Return the field `synthetic`; None if it is absent.

    Raises ValueError for any other value: treated as absent, it could make a synthetic image a real one.
    """
    flag = metadata.get("synthetic")
    if flag is not None and not isinstance(flag, bool):
        raise ValueError(f".json: synthetic is {shorten(flag)}, neither true nor false")
    return flag


def shorten(value: Any) -> str:
    """Return a JSON value for a message. Lists and objects may be nested too deeply to be written."""
    return f"a {type(value).__name__}" if isinstance(value, list | dict) else repr(value)[:60]
