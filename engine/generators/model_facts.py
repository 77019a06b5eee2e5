"""The facts that each sample records of a diffusers pipeline."""

import json
from collections.abc import Mapping
from typing import Any

from engine.generators.diffusers_settings import DiffusersSettings
from engine.generators.generator import AdapterFacts, ModelFacts
from engine.generators.optimizations.optimizations_spec import BYTE_PRESERVING
from engine.models.resolve import LocalModel

_RECORDED_ELSEWHERE = (
    "kind", "source", "revision", "batch_size", "adapters", "class_ids", "controlnet_revision", "vae_revision",
)  # fmt: skip
"""Settings that have their own fields in the metadata or the stats."""


def pipeline_facts(
    pipe: Any, model: DiffusersSettings, local: Mapping[str, LocalModel], adapters: tuple[AdapterFacts, ...]
) -> ModelFacts:
    """Return the facts of a pipeline. local: the files of its parts, by their place in the spec."""
    settings = {"steps": model.steps, "guidance": model.guidance, **_changed_settings(model)}
    base, controlnet, vae = (local.get(f"model.{name}") for name in ("source", "controlnet", "vae"))
    assert base is not None, "every pipeline has a source"
    if controlnet is not None:
        settings["controlnet_revision"] = controlnet.revision
    if vae is not None:
        settings |= {"vae_revision": vae.revision, "vae_license": vae.license}
    return ModelFacts(
        model=model.source,
        revision=base.revision,
        license=base.license,
        pipeline=type(pipe).__name__,
        scheduler=type(pipe.scheduler).__name__,
        settings=json.dumps(settings),
        adapters=adapters,
        generation=max(part.generation for part in (base, controlnet, vae) if part is not None),
    )


def _changed_settings(model: DiffusersSettings) -> dict[str, Any]:
    """Return the settings that differ from their defaults and may change an image."""
    excluded: dict[str, Any] = {**dict.fromkeys(_RECORDED_ELSEWHERE, True), "optimizations": set(BYTE_PRESERVING)}
    settings = model.model_dump(mode="json", exclude=excluded, exclude_defaults=True)
    if not settings.get("optimizations"):
        settings.pop("optimizations", None)
    return settings
