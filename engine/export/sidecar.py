"""What is said of images that another tool made: beside each of them, or by the person who imports them."""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.errors import DataError, SpecError
from shards.sample import Scalar

_PROMPTS = ("prompt", "text", "caption")
_TEXTS = ("negative_prompt", "model", "revision", "license")


@dataclass(frozen=True)
class DefaultProvenance:
    """What made the images that say nothing of it. generation: generations of synthetic data behind them, >= 1."""

    model: str = "unknown"
    revision: str = ""
    license: str = "unknown"
    generation: int = 1

    def __post_init__(self) -> None:
        if self.generation < 1:
            raise SpecError(f"--generation {self.generation}: must be 1 or more; only real images have 0")


@dataclass(frozen=True)
class Sidecar:
    """Reads the hub's `metadata.jsonl` files of a folder, and `NAME.txt` beside `NAME.png`, which is its prompt."""

    folder: Path
    maker: DefaultProvenance

    def of(self, image: Path) -> dict[str, Scalar]:
        """The same fields for every image: prompt, negative_prompt, model, revision, license and generation.

        Raises DataError where it says that it is real, or a field has another type.
        """
        row, caption = self._rows.get(image, {}), image.with_suffix(".txt")
        if row.get("synthetic", True) is not True:
            raise DataError(f"{image}: its metadata says that it is real; give real images as a spec's `data`")
        told: dict[str, Any] = {name: row[name] for name in (*_TEXTS, "generation") if row.get(name) is not None}
        told["prompt"] = next((row[name] for name in _PROMPTS if row.get(name)), "")
        if caption.is_file():
            told["prompt"] = _text(caption)
        for name, value in told.items():
            if not (type(value) is int and value >= 1 if name == "generation" else isinstance(value, str)):
                kind = "a whole number from 1 on" if name == "generation" else "text"
                raise DataError(f"{image}: its metadata has {name} {value!r}, and that must be {kind}")
        return {"prompt": "", "negative_prompt": "", **asdict(self.maker), **told}

    @cached_property
    def _rows(self) -> dict[Path, dict[str, Any]]:
        files = sorted(self.folder.rglob("metadata.jsonl"))
        return {image: row for path in files for image, row in _read_rows(path).items()}


def _read_rows(path: Path) -> dict[Path, dict[str, Any]]:
    found = {}
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
                found[path.parent / row["file_name"]] = dict(row)
            except (ValueError, KeyError, TypeError):
                raise DataError(f"{path}:{number}: not a JSON object with a file_name; mend or remove it") from None
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({error}); mend or remove it") from None
