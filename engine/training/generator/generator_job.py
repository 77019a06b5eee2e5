"""The job `train-generator`: from a training spec to an ordinary diffusers folder."""

import hashlib
import json
import shutil
import time
from collections.abc import Set
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from transformers import CLIPTokenizer

from engine.data.splits import load_splits
from engine.errors import DataError
from engine.training.checkpoint import Checkpoint
from engine.training.generator.augmentation_pool import AugmentationPool, WorldImages, load_world, make_pool
from engine.training.generator.autoencoder import Autoencoder, encode_all, make_autoencoder, train_autoencoder
from engine.training.generator.captions import vocabulary
from engine.training.generator.denoiser import Denoiser, batch_maker, make_scheduler, make_unet, train_denoiser
from engine.training.generator.generator_spec import GeneratorSpec
from engine.training.generator.image_attributes import ATTRIBUTES
from engine.training.generator.model_card import LICENSE, model_card
from engine.training.generator.sample_quality import Judge, adherence, label_accuracy, make_sampler, variety
from engine.training.generator.text_encoder import make_text_encoder, make_tokenizer
from engine.training.training_loop import LogLine
from engine.training.training_record import is_done, weights_revision, write_record
from shards.storage.open_store import open_store

_AUTOENCODER_KEYS = {"seed", "data", "size", "pool", "autoencoder", "precision"}
_DENOISER_KEYS = {*_AUTOENCODER_KEYS, "attributes", "captions", "text", "denoiser"}
"""Keys of the spec that the weights of each stage depend on. Others may change before a training is resumed."""
_LIBRARIES = ("torch", "diffusers", "transformers", "numpy", "opencv-python-headless", "scikit-learn")


def train_generator(spec: GeneratorSpec, out: Path, log: LogLine) -> None:
    """Train on the world split and write the model to `out`, from the last checkpoint under `out/.training` on.

    Raises DataError for unusable data, ModelError if `out` holds another training.
    """
    began = time.monotonic()
    world = load_world(load_splits(spec.data, synthetic=True), spec.size)
    if unknown := [name for name in spec.captions.aliases if name not in world.classes]:
        raise DataError(f"captions.aliases: there is no class {unknown[0]!r}; there are {', '.join(world.classes)}")
    fingerprint = _fingerprint(spec, world)
    if is_done(out, fingerprint):
        log(f"{out} holds this model already")
        return
    pool = make_pool(world, spec.attributes, spec.pool, spec.seed)
    log(f"world: {len(world.images)} images of {len(world.classes)} classes, {len(pool.images)} in the training pool")
    losses, parameters = _train(spec, out, world, pool, log)
    record = {
        "name": spec.name,
        "fingerprint": fingerprint,
        "revision": weights_revision(out),
        "generation": world.generation + 1,
        "license": LICENSE,
        "classes": list(world.classes),
        "attributes": {name: list(ATTRIBUTES[name].words) for name in spec.attributes},
        "world_images": len(world.images),
        "parameters": parameters,
        "spec": spec.model_dump(mode="json"),
        "losses": losses,
        "judged": spec.judged,
        "quality": _measure_quality(spec, out, world, pool, log),
        "versions": {name: version(name) for name in _LIBRARIES},
        "device": _device().type,
        "seconds_since_last_start": round(time.monotonic() - began, 1),
    }
    _write(out, world, pool, record)
    shutil.rmtree(out / ".training")
    log(f"{out}: done in {time.monotonic() - began:.0f} s")


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _fingerprint(spec: GeneratorSpec, world: WorldImages, keys: Set[str] | None = None) -> str:
    """Return a digest of the spec, or of these keys of it, and of the real images."""
    text = spec.model_dump_json(include=None if keys is None else set(keys)) + "".join(world.digests)
    return hashlib.sha256(text.encode()).hexdigest()


def _checkpoint(spec: GeneratorSpec, out: Path, world: WorldImages, stage: str, keys: Set[str]) -> Checkpoint:
    fingerprint = _fingerprint(spec, world, keys)
    checkpoint = Checkpoint(open_store(out / ".training"), fingerprint, f"{stage}.pt", spec.checkpoint_seconds)
    checkpoint.check_owner()
    return checkpoint


def _train(
    spec: GeneratorSpec, out: Path, world: WorldImages, pool: AugmentationPool, log: LogLine
) -> tuple[dict[str, float | None], int]:
    """Train both stages and write the diffusers folder. Returns the last losses and the number of parameters."""
    device = _device()
    autoencoder = make_autoencoder(spec).to(device)
    first = _checkpoint(spec, out, world, "autoencoder", _AUTOENCODER_KEYS)
    second = _checkpoint(spec, out, world, "denoiser", _DENOISER_KEYS)
    error = train_autoencoder(autoencoder, pool.images, spec, first, log)
    tokenizer = make_tokenizer(vocabulary(world.classes, spec.attributes, spec.captions), spec.text.tokens)
    denoiser = Denoiser(make_unet(spec), make_text_encoder(tokenizer, spec.text, spec.seed)).to(device)
    make_batch = batch_maker(pool, encode_all(autoencoder, pool.images), tokenizer, world.classes, spec)
    loss = train_denoiser(denoiser, make_batch, spec, second, log)
    parameters = sum(weight.numel() for model in (autoencoder, denoiser) for weight in model.parameters())
    _save(out, autoencoder, denoiser, tokenizer)
    return {"autoencoder_error": error, "denoiser": loss}, parameters


def _save(out: Path, autoencoder: Autoencoder, denoiser: Denoiser, tokenizer: CLIPTokenizer) -> None:
    pipeline = StableDiffusionPipeline(
        # In half precision, except the text encoder: transformers loads it as it was saved.
        vae=autoencoder.cpu().half(),
        unet=denoiser.unet.cpu().half(),
        text_encoder=denoiser.encoder.cpu(),
        tokenizer=tokenizer,
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(out, safe_serialization=True)  # type: ignore[attr-defined]  # untyped base
    for file in out.rglob("*.safetensors"):
        file.chmod(0o644)  # The libraries make weights readable by their owner alone.


def _measure_quality(
    spec: GeneratorSpec, folder: Path, world: WorldImages, pool: AugmentationPool, log: LogLine
) -> dict[str, Any]:
    pipeline = DiffusionPipeline.from_pretrained(folder, dtype=torch.float32).to(_device())
    sample = make_sampler(pipeline, spec, spec.seed)
    judge = Judge(pool, spec.judge_steps, spec.seed, _device())
    accuracy, by_class = label_accuracy(sample, judge, world.classes, spec)
    worst = min(range(len(by_class)), key=by_class.__getitem__)
    count = max(spec.judged // 5, len(world.classes))
    quality = {
        "label_accuracy": round(accuracy, 4),
        "judge_accuracy": round(judge.accuracy, 4),
        "worst_class": world.classes[worst],
        "worst_class_accuracy": round(by_class[worst], 4),
        "variety": round(variety(sample, pool, world.classes, spec), 4),
        "adherence": adherence(sample, pool.thresholds, world.classes, count, spec.captions),
    }
    log(f"quality: label accuracy {accuracy:.4f} (judge {judge.accuracy:.4f}), variety {quality['variety']}")
    return quality


def _write(out: Path, world: WorldImages, pool: AugmentationPool, record: dict[str, Any]) -> None:
    (out / "world_digests.txt").write_text("".join(f"{digest}\n" for digest in world.digests))
    attributes = pool.thresholds.to_json(world.classes)
    (out / "attributes.json").write_text(json.dumps(attributes, indent=1) + "\n")
    (out / "README.md").write_text(model_card(record))
    write_record(out, record)
