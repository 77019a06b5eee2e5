"""The members of a sample in a tar: which sample a member belongs to, and what it is."""

import re
from dataclasses import dataclass

_META = re.compile(r"__[^/]*__(/|$)")


@dataclass(frozen=True)
class Members:
    """Roles of the members of a sample, by extension: all that follows the first dot, in lower case.

    image: any of these. label: the extension of an integer in text, or `json.NAME` for a field of the `.json`.
    mask:  a PNG of class indices. An extension with two roles is the label, else the mask.
    """

    image: tuple[str, ...] = ("png", "jpg", "jpeg", "webp")
    label: str = "cls"
    mask: str = "mask.png"

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

    The rule is webdataset's: the key ends at the first dot of the last part of the path. Meta members (`__NAME__`) and
    hidden files belong to no sample.
    """
    folders, slash, base = name.rpartition("/")
    stem, dot, extension = base.partition(".")
    return (f"{folders}{slash}{stem}", extension.lower()) if stem and dot and not _META.match(name) else None
