"""Where models are: a folder, an embedded one, or the snapshot of a hub repository in this node's cache."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.config.model_settings import ModelPart, ModelSettings
from engine.errors import ModelError
from engine.models import hub
from engine.models.weight_files import PIPELINE_INDEX, ChosenFiles, choose_files, fingerprint

_EMBEDDED = Path(__file__).parents[1] / "embedded"


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A part on this node's disk, and what is known of it.

    revision:   commit of a hub model; for a folder what its training recorded, else a digest of its weights.
    variant:    of the weight files to load, None for the plain ones.
    license:    identifier, or `unknown`.
    generation: how many generations of synthetic data lie behind its output.
    learned:    SHA-256 of each real image that it learned from, as far as its folder says.
    """

    part: ModelPart
    folder: Path
    revision: str
    variant: str | None
    license: str
    generation: int
    learned: frozenset[str]


def local_folder(part: ModelPart) -> Path | None:
    """The folder of a local or embedded model; None for a hub id, which has one slash and is no path here.

    Raises ModelError for a folder that is missing.
    """
    source = part.source
    if source.startswith("embedded/"):
        folder = _EMBEDDED / source.removeprefix("embedded/")
        if not (folder / part.index).is_file():
            known = ", ".join(sorted(f"embedded/{p.parent.name}" for p in _EMBEDDED.glob(f"*/{part.index}")))
            raise ModelError(f"{part.place}: there is no {source!r}; embedded are: {known or 'none'}")
        return folder
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise ModelError(f"{part.place}: no folder {source}; give a model's folder, a hub id, or embedded/digits")
    return None


def pin_revisions(model: ModelSettings, begun: ModelSettings | None = None) -> ModelSettings:
    """The same model with the revision of each hub part pinned, `main` being written `main@COMMIT`.

    A run must not mix two models because a branch moved: the part that it was `begun` with under the same source and
    name keeps its commit, and the hub is not asked. Folders are left as they are. Raises ModelError.
    """
    before = {(part.place, part.source): part for part in begun.parts} if begun else {}
    hub_parts = [part for part in model.parts if local_folder(part) is None]
    return model.with_revisions(
        {part.place: _pinned(part, before.get((part.place, part.source))) for part in hub_parts}
    )


def check_models(model: ModelSettings) -> None:
    """Raises ModelError for a model that cannot be fetched or must not be loaded, before anything is spent.

    Of a hub model its index alone is downloaded, which of an adapter is the adapter.
    """
    model.check_files()
    for part in model.parts:
        _look(part)


def fetch_model(part: ModelPart) -> LocalModel:
    """The model on this node's disk, downloaded if need be. Raises ModelError."""
    folder, commit, chosen = _look(part)
    if commit is not None:
        hub.download(part, commit, chosen.files)
    told = _training(folder)
    return LocalModel(
        part,
        folder,
        revision=commit or str(told.get("revision") or fingerprint(part.place, folder, chosen.files)),
        variant=chosen.variant,
        license=read_license(folder),
        generation=int(told.get("generation", 1)),
        learned=_learned(folder),
    )


def read_license(folder: Path) -> str:
    """What its training recorded, or the model card's front matter says; else `unknown`."""
    told = _training(folder)
    if "license" in told:
        return str(told["license"])
    from huggingface_hub import metadata_load
    from yaml import YAMLError

    try:
        card = metadata_load(folder / "README.md") or {}
    except (OSError, ValueError, YAMLError):  # no card, or none that can be read
        card = {}
    return str(card.get("license_name") or card.get("license") or "unknown")


def training_digests(model: ModelSettings, split: str) -> frozenset[str]:
    """Digests of the real images that the generator and its adapters learned from and that must not be in this split,
    where their folders say so. What was learned as an image of the train split may be one."""
    folders = [folder for part in model.parts if (folder := local_folder(part)) is not None]
    return frozenset().union(*(_learned(folder) for folder in folders if _training(folder).get("split") != split))


def trained_palette(model: ModelSettings) -> dict[str, list[int]] | None:
    """Colours of the masks that its ControlNet learned to follow, where a training of our own recorded them."""
    folders = [local_folder(part) for part in model.parts if part.place == "model.controlnet"]
    found: dict[str, list[int]] | None = _training(folders[0]).get("palette") if folders and folders[0] else None
    return found


def _pinned(part: ModelPart, before: ModelPart | None) -> str:
    name = part.revision or "main"
    if before and before.commit and (before.commit == part.commit or before.revision == f"{name}@{before.commit}"):
        return str(before.revision)
    return name if part.commit else f"{name}@{hub.resolve(part)}"


def _look(part: ModelPart) -> tuple[Path, str | None, ChosenFiles]:
    """The folder of a part, its commit if it is on the hub, and what to load of it; on the hub only its index is."""
    folder, commit = local_folder(part), None
    if folder is None:
        commit = part.commit or hub.resolve(part)
        folder = hub.download(part, commit, [part.index])
        names = hub.names(part, commit, folder)
    else:
        found = (path for pattern in ("*", "*/*") for path in folder.glob(pattern))
        names = frozenset(path.relative_to(folder).as_posix() for path in found if path.is_file())
    return folder, commit, choose_files(part, names, _index(part, folder))


def _index(part: ModelPart, folder: Path) -> dict[str, Any]:
    """The content of a pipeline's index."""
    path = folder / part.index
    if part.index != PIPELINE_INDEX or not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ModelError(f"{part.place}: {path} is not JSON ({error}); copy the model again") from None


def _training(folder: Path) -> dict[str, Any]:
    """What a training of our own recorded."""
    path = folder / "training.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _learned(folder: Path) -> frozenset[str]:
    path = folder / "world_digests.txt"
    return frozenset(path.read_text(encoding="utf-8").split()) if path.is_file() else frozenset()
