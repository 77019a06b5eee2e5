"""From the models that a spec names to files on this node: pin hub revisions, check what is there, and fetch it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.config.model_settings import ModelPart, ModelSettings
from engine.errors import ModelError
from engine.models.hub import download_files, list_files, resolve_commit
from engine.models.model_folder import local_folder, read_license, read_training, read_training_digests
from engine.models.weight_files import PIPELINE_INDEX, ChosenFiles, choose_files, fingerprint


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model part on this node's disk, with its provenance."""

    part: ModelPart
    folder: Path
    revision: str  # commit of a hub model; of a folder, what its training recorded, else a digest of its weights
    variant: str | None  # of the weight files, None for the plain ones
    license: str
    generation: int  # how many generations of synthetic data lie behind its output
    training_digests: frozenset[str]  # SHA-256 of each real image that it was trained on, as far as recorded


def pin_revisions(model: ModelSettings, begun: ModelSettings | None = None) -> ModelSettings:
    """Return the model with the revision of each hub part pinned: `main` becomes `main@COMMIT`. Raises ModelError.

    begun: the pinned model of an earlier start of the run. A part with the same source and revision name keeps that
           commit, so that a run never mixes two models because a branch moved.
    """
    earlier = {(part.place, part.source): part for part in begun.parts} if begun else {}
    hub_parts = [part for part in model.parts if local_folder(part) is None]
    return model.with_revisions(
        {part.place: _pinned_revision(part, earlier.get((part.place, part.source))) for part in hub_parts}
    )


def check_models(model: ModelSettings) -> None:
    """Raise ModelError for a model that cannot be fetched or loaded. Of a hub model, only the index is downloaded."""
    model.check_files()
    for part in model.parts:
        _inspect(part)


def fetch_model(part: ModelPart) -> LocalModel:
    """Return the model on this node's disk; download it if necessary. Raises ModelError."""
    folder, commit, chosen = _inspect(part)
    if commit is not None:
        download_files(part, commit, chosen.files)
    training = read_training(folder)
    return LocalModel(
        part,
        folder,
        revision=commit or str(training.get("revision") or fingerprint(part.place, folder, chosen.files)),
        variant=chosen.variant,
        license=read_license(folder),
        generation=int(training.get("generation", 1)),
        training_digests=read_training_digests(folder),
    )


def _pinned_revision(part: ModelPart, earlier: ModelPart | None) -> str:
    name = part.revision or "main"
    commit = earlier.commit if earlier is not None else None
    if earlier is not None and commit and (commit == part.commit or earlier.revision == f"{name}@{commit}"):
        return str(earlier.revision)
    return name if part.commit else f"{name}@{resolve_commit(part)}"


def _inspect(part: ModelPart) -> tuple[Path, str | None, ChosenFiles]:
    """Return a part's folder, its commit if it is on the hub (then only the index is there), and the files to load."""
    folder, commit = local_folder(part), None
    if folder is None:
        commit = part.commit or resolve_commit(part)
        folder = download_files(part, commit, [part.index])
        names = list_files(part, commit, folder)
    else:
        paths = (path for pattern in ("*", "*/*") for path in folder.glob(pattern))
        names = frozenset(path.relative_to(folder).as_posix() for path in paths if path.is_file())
    return folder, commit, choose_files(part, names, _read_index(part, folder))


def _read_index(part: ModelPart, folder: Path) -> dict[str, Any]:
    """Return the content of a pipeline's index file; empty for other parts."""
    path = folder / part.index
    if part.index != PIPELINE_INDEX or not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ModelError(f"{part.place}: {path} is not JSON ({error}); copy the model again") from None
