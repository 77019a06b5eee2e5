"""Class names as folder names, and keys as file names: percent-encoded where they could do harm, and so reversible."""

import re
import unicodedata
from collections.abc import Iterable
from urllib.parse import unquote

from engine.errors import SpecError
from shards.errors import ShardError
from shards.sample import IMAGE_FORMATS, Sample

_MAX_BYTES = 255
_UNSAFE = re.compile(
    r"""[\x00-\x1f\x7f-\x9f\u2028\u2029<>:"/\\|?*]  # not allowed on some file system or unsafe on a terminal
    | %(?=[0-9a-fA-F]{2})                           # would read as our encoding
    | ^\. | ^_(?=_) | ^\ | [. ]$                    # hidden, left out by hub clients, or cut
    | ^(?:con|prn|aux|nul|com\d|lpt\d)(?=\.|$)      # devices on Windows""",
    re.VERBOSE | re.IGNORECASE,
)
_TAKEN = ("readme.md", "metadata.jsonl")


def folder_names(classes: Iterable[str]) -> tuple[str, ...]:
    """Return a folder name for each class, distinct on any file system. Raises SpecError if one is empty or too long.

    Unsafe characters become %XX of their UTF-8 bytes (RFC 3986); of a name that would collide, all characters do.
    """
    names, taken = [], set(_TAKEN)
    for label in classes:
        name = _UNSAFE.sub(lambda match: _percent(match.group()), label)
        if _folded(name) in taken:
            name = _percent(label)
        if not 0 < (length := len(name.encode())) <= _MAX_BYTES:
            raise SpecError(f"class {label[:40]!r}: {length} bytes as a folder name, not 1 to {_MAX_BYTES}; rename it")
        taken.add(_folded(name))
        names.append(name)
    return tuple(names)


def file_name(sample: Sample) -> str:
    """Return KEY.<format>, the key encoded as folder names are. Raises ShardError for what cannot be an image file."""
    name = f"{_UNSAFE.sub(lambda match: _percent(match.group()), sample.key)}.{sample.format}"
    if sample.format not in IMAGE_FORMATS or len(name.encode()) > _MAX_BYTES:
        known = ", ".join(IMAGE_FORMATS)
        raise ShardError(
            f"sample {sample.key[:80]!r}: cannot be a file of format {str(sample.format)[:20]!r} and {len(name)} "
            f"characters; formats are {known}, and names have {_MAX_BYTES} bytes"
        )
    return name


def class_name(folder: str) -> str:
    """Return the class that a folder was named for."""
    try:
        return unquote(folder, errors="strict")
    except UnicodeDecodeError:  # another tool wrote the name, with a % in it
        return folder


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
