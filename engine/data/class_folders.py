"""Classes as folder names and keys as file names: nearly always the very name, harmless on any file system, and
reversible."""

import re
import unicodedata
from collections.abc import Iterable
from urllib.parse import unquote

from engine.errors import SpecError
from shards.errors import ShardError
from shards.sample import IMAGE_FORMATS, Sample

_MAX_BYTES = 255
_UNSAFE = re.compile(
    r"""[\x00-\x1f\x7f-\x9f\u2028\u2029<>:"/\\|?*]  # no file system's, or no terminal's
    | %(?=[0-9a-fA-F]{2})                           # would read as one of ours
    | ^\. | ^_(?=_) | ^\ | [. ]$                    # hidden, left out by hub clients, or cut
    | ^(?:con|prn|aux|nul|com\d|lpt\d)(?=\.|$)      # devices on Windows""",
    re.VERBOSE | re.IGNORECASE,
)
_TAKEN = ("readme.md", "metadata.jsonl")


def folder_names(classes: Iterable[str]) -> tuple[str, ...]:
    """A folder name for each class, distinct also where neither case nor Unicode form is told apart.

    What must not stand in a folder name becomes %XX (RFC 3986, of the UTF-8 bytes), in a name that is taken everything.
    `class_name` gives the class back. Raises SpecError for a name that is empty or too long.
    """
    names, taken = [], set(_TAKEN)
    for one in classes:
        name = _UNSAFE.sub(lambda found: _percent(found.group()), one)
        if _folded(name) in taken:
            name = _percent(one)
        if not 0 < len(name.encode()) <= _MAX_BYTES:
            length = len(name.encode())
            raise SpecError(f"class {one[:40]!r}: {length} bytes as a folder name, not 1 to {_MAX_BYTES}; rename it")
        taken.add(_folded(name))
        names.append(name)
    return tuple(names)


def file_name(sample: Sample) -> str:
    """KEY.<format>, its key quoted as a folder's name is. Raises ShardError for what no image file is called."""
    name = f"{_UNSAFE.sub(lambda found: _percent(found.group()), sample.key)}.{sample.format}"
    if sample.format not in IMAGE_FORMATS or len(name.encode()) > _MAX_BYTES:
        known = ", ".join(IMAGE_FORMATS)
        raise ShardError(
            f"sample {sample.key[:80]!r}: cannot be a file of format {str(sample.format)[:20]!r} and {len(name)} "
            f"characters; formats are {known}, and names have {_MAX_BYTES} bytes"
        )
    return name


def class_name(folder: str) -> str:
    """The class that a folder was named for; a name that was not quoted is the class."""
    try:
        return unquote(folder, errors="strict")
    except UnicodeDecodeError:  # another tool's, with a % of its own
        return folder


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
