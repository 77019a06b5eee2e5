"""The metadata files that lie beside the images of another tool."""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.errors import DataError, SpecError
from shards.sample import Scalar

_PROMPT_FIELDS = ("prompt", "text", "caption")
_TEXT_FIELDS = ("negative_prompt", "model", "revision", "license")


@dataclass(frozen=True)
class DefaultProvenance:
    """The provenance of images whose metadata does not state it. generation: synthetic ones behind them, from 1 on."""

    model: str = "unknown"
    revision: str = ""
    license: str = "unknown"
    generation: int = 1

    def __post_init__(self) -> None:
        if self.generation < 1:
            raise SpecError(f"--generation {self.generation}: must be 1 or more; only real images have 0")


@dataclass(frozen=True)
class Sidecar:
    """A reader of the hub's `metadata.jsonl` files in a folder, and of `NAME.txt`, the prompt of `NAME.png`."""

    folder: Path
    defaults: DefaultProvenance

    def metadata_of(self, image: Path) -> dict[str, Scalar]:
        """Return prompt, negative_prompt, model, revision, license and generation of an image.

        Raises DataError if the metadata says that the image is real, or a field has a wrong type.
        """
        row, caption = self._rows.get(image, {}), image.with_suffix(".txt")
        if row.get("synthetic", True) is not True:
            raise DataError(f"{image}: its metadata says that it is real; give real images as a spec's `data`")
        fields = {name: row[name] for name in (*_TEXT_FIELDS, "generation") if row.get(name) is not None}
        fields["prompt"] = next((row[name] for name in _PROMPT_FIELDS if row.get(name)), "")
        if caption.is_file():
            fields["prompt"] = _read_text(caption)
        for name, value in fields.items():
            if name == "generation" and not (type(value) is int and value >= 1):
                raise DataError(f"{image}: its metadata has generation {value!r}; it must be a whole number from 1 on")
            if name != "generation" and not isinstance(value, str):
                raise DataError(f"{image}: its metadata has {name} {value!r}; it must be text")
        return {"prompt": "", "negative_prompt": "", **asdict(self.defaults), **fields}

    @cached_property
    def _rows(self) -> dict[Path, dict[str, Any]]:
        files = sorted(self.folder.rglob("metadata.jsonl"))
        return {image: row for path in files for image, row in _read_rows(path).items()}


def _read_rows(path: Path) -> dict[Path, dict[str, Any]]:
    rows = {}
    for number, line in enumerate(_read_text(path).split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
                rows[path.parent / row["file_name"]] = dict(row)
            except (ValueError, KeyError, TypeError):
                raise DataError(f"{path}:{number}: not a JSON object with a file_name; repair or remove it") from None
    return rows


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({error}); repair or remove it") from None
