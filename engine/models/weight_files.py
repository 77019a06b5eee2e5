"""Which files of a model are loaded: safetensors of one variant and the text beside them, and nothing that is run."""

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
_ADAPTER = "pytorch_lora_weights.safetensors"
_STEMS = ("diffusion_pytorch_model", "model")
_TEXTS = (".json", ".txt", ".model", ".jinja")
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle")


@dataclass(frozen=True, slots=True)
class ChosenFiles:
    """What to load of a model. files: their names in its folder. variant: of its weights, None for the plain ones."""

    files: frozenset[str]
    variant: str | None


def choose_files(part: ModelPart, names: Collection[str], index: Mapping[str, Any]) -> ChosenFiles:
    """The files of a model that are needed, chosen as `DiffusionPipeline.download` of diffusers does.

    names: all its files, with `/` between folder and file. index: the content of a pipeline's model_index.json.
    Raises ModelError for a model that is no such, has pickles alone, lacks the variant, or brings code of its own.
    """
    _refuse_code(part, names, index)
    components = [""] if part.index != PIPELINE_INDEX else list(_components(index))
    found = {folder: _weights(part, folder, names) for folder in ("", *components)}
    variants = {variant for weights in found.values() for variant in weights.values() if variant}
    if part.index == PIPELINE_INDEX and part.variant and part.variant not in variants:
        known = f"it has {', '.join(sorted(variants))}" if variants else "it has none"
        raise ModelError(f"model.variant: {part.source} has no variant {part.variant!r}; {known}")
    files = {name for folder, weights in found.items() for name in _of_variant(weights, part.variant)}
    for folder in components:
        _refuse_unloadable(part, folder, names, found[folder], files)
    if part.index not in names:
        raise ModelError(f"{part.place}: {part.source} holds no {part.index}; give a model saved by save_pretrained")
    files |= {name for name in names if _folder(name) in found and _is_text(name)}
    return ChosenFiles(frozenset(files), part.variant if part.variant in variants else None)


def fingerprint(place: str, folder: Path, files: Iterable[str]) -> str:
    """First 12 hex digits of a SHA-256 over the safetensors files: names, headers, first KiB of every tensor.

    That sees every tensor that was trained further or replaced, and reads megabytes where the model has gigabytes; a
    change that spares the beginning of each tensor it touches is not seen. Raises ModelError for a file that is no
    safetensors file or breaks off.
    """
    digest = hashlib.sha256()
    for name in sorted(name for name in files if name.endswith(".safetensors")):
        digest.update(name.encode())
        try:
            _sample(folder / name, digest)
        except (OSError, ValueError, KeyError, TypeError):
            raise ModelError(
                f"{place}: {folder / name} is no whole safetensors file; copy it again (with Git: git lfs pull)"
            ) from None
    return digest.hexdigest()[:12]


def _sample(path: Path, digest: "hashlib._Hash") -> None:
    """Add a file in the format of https://huggingface.co/docs/safetensors to a digest. Raises ValueError and others."""
    with path.open("rb") as file:
        length, size = int.from_bytes(file.read(8), "little"), path.stat().st_size
        if length > size:
            raise ValueError(length)
        header = file.read(length)
        digest.update(header)
        spans = [tensor["data_offsets"] for name, tensor in json.loads(header).items() if name != "__metadata__"]
        if 8 + length + max((end for _, end in spans), default=0) != size:
            raise ValueError(size)
        for start, end in spans:
            file.seek(8 + length + start)
            digest.update(file.read(min(1024, end - start)))


def _components(index: Mapping[str, Any]) -> dict[str, str]:
    """Library or module of each component that a pipeline has; one may be [null, null]."""
    pairs = {key: value for key, value in index.items() if not key.startswith("_") and isinstance(value, list)}
    return {key: str(value[0]) for key, value in pairs.items() if value and value[0] is not None}


def _refuse_code(part: ModelPart, names: Collection[str], index: Mapping[str, Any]) -> None:
    """Where diffusers would run modules of the repository."""
    modules = [f"{folder}/{library}.py" for folder, library in _components(index).items()]
    found = [module for module in modules if module in names]
    if isinstance(index.get("_class_name"), list):
        found.insert(0, f"{index['_class_name'][0]}.py")
    if found:
        raise ModelError(
            f"{part.place}: {part.source} brings its own code ({found[0]}), which is never run here; "
            "choose a model whose classes are in diffusers or transformers"
        )


def _weights(part: ModelPart, folder: str, names: Iterable[str]) -> dict[str, str | None]:
    """The safetensors files of a folder and their indices, with the variant of each."""
    stems = (PurePosixPath(_ADAPTER).stem,) if part.index == _ADAPTER else _STEMS
    found = {}
    for name in names:
        # model.fp16-00001-of-00002.safetensors, model.safetensors.index.fp16.json, and two older orders of the same
        stem, *rest = re.sub(r"-\d{5}-of-\d{5}", "", PurePosixPath(name).name).split(".")
        if _folder(name) == folder and stem in stems and "safetensors" in rest:
            found[name] = ".".join(word for word in rest if word not in ("safetensors", "index", "json")) or None
    return found


def _of_variant(weights: Mapping[str, str | None], variant: str | None) -> set[str]:
    """Those of the variant, or the plain ones where the folder has none of it."""
    wanted = variant if variant in weights.values() else None
    return {name for name, has in weights.items() if has == wanted}


def _refuse_unloadable(
    part: ModelPart, folder: str, names: Iterable[str], weights: Mapping[str, str | None], files: Collection[str]
) -> None:
    if any(name in files for name in weights):
        return
    if weights:
        known = ", ".join(sorted({str(variant) for variant in weights.values()}))
        raise ModelError(f"{part.place}: {part.source} has {folder or 'weights'} only as {known}; give model.variant")
    pickles = [name for name in names if _folder(name) == folder and name.endswith(_PICKLES)]
    if pickles:
        raise ModelError(
            f"{part.place}: {part.source} has {pickles[0]} and no safetensors, and a pickle can run code when it is "
            "loaded; convert it with save_pretrained(..., safe_serialization=True) where you trust it"
        )


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _is_text(name: str) -> bool:
    return name == "README.md" or (name.endswith(_TEXTS) and ".index." not in name)
