"""The files of a model that are loaded: safetensors of one variant and the text files beside them, never code."""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from engine.config.model_settings import ModelPart
from engine.errors import ModelError

PIPELINE_INDEX = "model_index.json"
_ADAPTER_WEIGHTS = "pytorch_lora_weights.safetensors"
_WEIGHT_STEMS = ("diffusion_pytorch_model", "model")
_TEXT_SUFFIXES = (".json", ".txt", ".model", ".jinja")
_PICKLE_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle")

Weights = Mapping[str, str | None]
"""The variant of each weight file of a folder, by file name; None for plain weights."""


@dataclass(frozen=True, slots=True)
class ChosenFiles:
    """The files of a model to load. files: their names in its folder. variant: of its weights, None if plain."""

    files: frozenset[str]
    variant: str | None


def choose_files(part: ModelPart, names: Collection[str], index: Mapping[str, Any]) -> ChosenFiles:
    """Return the files of a model that are needed, chosen as `DiffusionPipeline.download` of diffusers does.

    names: all its files, with `/` between folder and file. index: the content of a pipeline's model_index.json.
    Raises ModelError for a model without the index, with pickles alone, without the variant, or with its own code.
    """
    _refuse_code(part, names, index)
    is_pipeline = part.index == PIPELINE_INDEX
    components = list(_component_libraries(index)) if is_pipeline else [""]
    weights = {folder: _weights_in(part, folder, names) for folder in ("", *components)}
    variants = {variant for files in weights.values() for variant in files.values() if variant}
    if is_pipeline and part.variant and part.variant not in variants:
        known = f"it has {', '.join(sorted(variants))}" if variants else "it has none"
        raise ModelError(f"model.variant: {part.source} has no variant {part.variant!r}; {known}")
    chosen = {name for files in weights.values() for name in _of_variant(files, part.variant)}
    for folder in components:
        if not chosen.intersection(weights[folder]):
            _refuse_unloadable(part, folder, names, weights[folder])
    if part.index not in names:
        raise ModelError(f"{part.place}: {part.source} has no {part.index}; give a model saved by save_pretrained")
    texts = {name for name in names if _folder_of(name) in weights and _is_text(name)}
    return ChosenFiles(frozenset(chosen | texts), part.variant if part.variant in variants else None)


def fingerprint(place: str, folder: Path, files: Iterable[str]) -> str:
    """Return 12 hex digits of a SHA-256 over names, headers and the first KiB of every tensor. Raises ModelError."""
    digest = hashlib.sha256()
    for name in sorted(name for name in files if name.endswith(".safetensors")):
        digest.update(name.encode())
        try:
            _add_sample(folder / name, digest)
        except (OSError, ValueError, KeyError, TypeError):
            raise ModelError(
                f"{place}: {folder / name} is not a complete safetensors file; copy it again (with Git: git lfs pull)"
            ) from None
    return digest.hexdigest()[:12]


def _add_sample(path: Path, digest: "hashlib._Hash") -> None:
    """Add the header and the first KiB of each tensor to a digest. Raises ValueError and others for a broken file."""
    # The format: https://huggingface.co/docs/safetensors
    with path.open("rb") as file:
        length, size = int.from_bytes(file.read(8), "little"), path.stat().st_size
        if length > size:
            raise ValueError(length)
        header = file.read(length)
        digest.update(header)
        ranges = [tensor["data_offsets"] for name, tensor in json.loads(header).items() if name != "__metadata__"]
        if 8 + length + max((end for _, end in ranges), default=0) != size:
            raise ValueError(size)
        for start, end in ranges:
            file.seek(8 + length + start)
            digest.update(file.read(min(1024, end - start)))


def _component_libraries(index: Mapping[str, Any]) -> dict[str, str]:
    """Return the library or module of each component of a pipeline, without those that are [null, null]."""
    pairs = {key: value for key, value in index.items() if not key.startswith("_") and isinstance(value, list)}
    return {key: str(value[0]) for key, value in pairs.items() if value and value[0] is not None}


def _refuse_code(part: ModelPart, names: Collection[str], index: Mapping[str, Any]) -> None:
    """Raise ModelError if diffusers would run modules of the repository."""
    modules = [f"{folder}/{library}.py" for folder, library in _component_libraries(index).items()]
    modules = [module for module in modules if module in names]
    if isinstance(index.get("_class_name"), list):
        modules.insert(0, f"{index['_class_name'][0]}.py")
    if modules:
        raise ModelError(
            f"{part.place}: {part.source} brings its own code ({modules[0]}), which is never run here; "
            "choose a model whose classes are in diffusers or transformers"
        )


def _weights_in(part: ModelPart, folder: str, names: Iterable[str]) -> dict[str, str | None]:
    """Return the variant of each safetensors file of a folder, and of each index of such files."""
    stems = (PurePosixPath(_ADAPTER_WEIGHTS).stem,) if part.index == _ADAPTER_WEIGHTS else _WEIGHT_STEMS
    weights = {}
    for name in names:
        # model.fp16-00001-of-00002.safetensors, model.safetensors.index.fp16.json, and two older orders of the same
        stem, *rest = re.sub(r"-\d{5}-of-\d{5}", "", PurePosixPath(name).name).split(".")
        if _folder_of(name) == folder and stem in stems and "safetensors" in rest:
            weights[name] = ".".join(word for word in rest if word not in ("safetensors", "index", "json")) or None
    return weights


def _of_variant(weights: Weights, variant: str | None) -> set[str]:
    """Return the files of the variant, or the plain ones if the folder has no such variant."""
    wanted = variant if variant in weights.values() else None
    return {name for name, has in weights.items() if has == wanted}


def _refuse_unloadable(part: ModelPart, folder: str, names: Iterable[str], weights: Weights) -> None:
    """Raise ModelError for a component with weights of which none was chosen."""
    if weights:
        known = ", ".join(sorted({str(variant) for variant in weights.values()}))
        raise ModelError(f"{part.place}: {part.source} has {folder or 'weights'} only as {known}; give model.variant")
    pickles = [name for name in names if _folder_of(name) == folder and name.endswith(_PICKLE_SUFFIXES)]
    if pickles:
        raise ModelError(
            f"{part.place}: {part.source} has {pickles[0]} and no safetensors, and a pickle can run code when it is "
            "loaded; if you trust it, convert it with save_pretrained(..., safe_serialization=True)"
        )


def _folder_of(name: str) -> str:
    return name.rpartition("/")[0]


def _is_text(name: str) -> bool:
    return name == "README.md" or (name.endswith(_TEXT_SUFFIXES) and ".index." not in name)
