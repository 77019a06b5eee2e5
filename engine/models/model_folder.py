"""The folder of a model: where it is, and what it records of its origin if a training job of this project wrote it."""

import json
from pathlib import Path
from typing import Any

from engine.config.model_settings import ModelPart, ModelSettings
from engine.errors import ModelError

_EMBEDDED = Path(__file__).parents[1] / "embedded"


def local_folder(part: ModelPart) -> Path | None:
    """Return the folder of a local or embedded model, or None for a hub id. Raises ModelError if it is missing."""
    source = part.source
    if source.startswith("embedded/"):
        folder = _EMBEDDED / source.removeprefix("embedded/")
        if not (folder / part.index).is_file():
            known = ", ".join(sorted(f"embedded/{path.parent.name}" for path in _EMBEDDED.glob(f"*/{part.index}")))
            raise ModelError(f"{part.place}: there is no {source!r}; embedded are: {known or 'none'}")
        return folder
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise ModelError(f"{part.place}: no folder {source}; give a model's folder, a hub id, or embedded/digits")
    return None


def read_training(folder: Path) -> dict[str, Any]:
    """Return the content of `training.json`; empty if there is none."""
    path = folder / "training.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def read_training_digests(folder: Path) -> frozenset[str]:
    """Return the SHA-256 of each real image that the model was trained on; empty if the folder has no list."""
    path = folder / "world_digests.txt"
    return frozenset(path.read_text(encoding="utf-8").split()) if path.is_file() else frozenset()


def read_license(folder: Path) -> str:
    """Return the licence that the training recorded or the model card names; else `unknown`."""
    training = read_training(folder)
    if "license" in training:
        return str(training["license"])
    from huggingface_hub import metadata_load
    from yaml import YAMLError

    try:
        card = metadata_load(folder / "README.md") or {}
    except (OSError, ValueError, YAMLError):  # no card, or none that can be read
        card = {}
    return str(card.get("license_name") or card.get("license") or "unknown")


def training_digests(model: ModelSettings, split: str) -> frozenset[str]:
    """Return the digests of the images that the local parts were trained on, but for parts trained on this split."""
    folders = [folder for part in model.parts if (folder := local_folder(part)) is not None]
    others = [folder for folder in folders if read_training(folder).get("split") != split]
    return frozenset().union(*map(read_training_digests, others))


def trained_palette(model: ModelSettings) -> dict[str, list[int]] | None:
    """Return the colours of the masks that the model's ControlNet was trained on; None if it records none."""
    controlnet = next((part for part in model.parts if part.place == "model.controlnet"), None)
    folder = local_folder(controlnet) if controlnet else None
    return read_training(folder).get("palette") if folder else None
