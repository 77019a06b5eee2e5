"""The job `finetune`: from a training spec to folders of LoRA adapters, or to a ControlNet, that diffusers loads."""

from __future__ import annotations

import hashlib
import shutil
import time
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from engine.config.cluster_spec import ClusterSpec
from engine.config.output_spec import ImageSpec
from engine.data.splits import load_splits
from engine.data.class_folders import folder_names
from engine.data.masks import Mask
from engine.errors import ModelError, OutputError, SpecError
from engine.generators.diffusers_pipeline import DiffusersPipeline
from engine.models.resolve import LocalModel, fetch, local_folder
from engine.training.finetune.adapter_card import adapter_card, control_card
from engine.training.finetune.controlnet_training import Control
from engine.training.finetune.finetune_loop import train
from engine.training.finetune.finetune_objective import Objective, make_batch
from engine.training.finetune.finetune_samples import CachedImage, FinetuneTask, finetune_tasks, shot
from engine.training.finetune.finetune_spec import FinetuneSpec
from engine.training.finetune.lora_layers import Lora, check_supported
from engine.training.finetune.prior_images import prior_shots
from engine.training.stage_checkpoint import StageCheckpoint
from engine.training.training_log import Log
from engine.training.training_record import is_done, weights_revision, write_record

_LIBRARIES = ("torch", "diffusers", "transformers", "accelerate", "peft", "numpy", "opencv-python-headless")


def finetune(spec: FinetuneSpec, out: Path, log: Log) -> None:
    """Train the adapter or ControlNet in `out`, or an adapter for each class in `out/<class>`; `training.json` is
    written last in each.

    A call that was killed goes on from its last checkpoint, and ends with the same weights on the same machine. Raises
    SpecError, DataError, ModelError, OutputError.
    """
    found = finetune_tasks(spec, load_splits(spec.data))
    names = folder_names(lesson.classes[0] for lesson in found)
    for name, lesson in zip(names, found, strict=True):
        _Job(spec, lesson, out / name if spec.per_class else out, fetch(spec.settings().parts[0])).run(log)


@dataclass(frozen=True)
class _Job:
    """One adapter, or ControlNet."""

    spec: FinetuneSpec
    lesson: FinetuneTask
    out: Path
    base: LocalModel

    def run(self, log: Log) -> None:
        if is_done(self.out, self._fingerprint):
            log(f"{self.out} holds this {'adapter' if self.spec.control is None else 'ControlNet'} already")
            return
        self._take_folder()
        began = time.monotonic()
        log(f"{', '.join(self.lesson.classes)}: {len(self.lesson.images)} real images of the {self.spec.split} split")
        try:
            loss, device = self._train(log)
        except torch.OutOfMemoryError as error:
            raise ModelError("batch: the GPU's memory is too small; lower batch, and raise accumulation") from error
        self._write({"loss": loss, "device": device, "seconds_since_last_start": round(time.monotonic() - began, 1)})
        shutil.rmtree(self._scratch)
        log(f"{self.out}: done in {time.monotonic() - began:.0f} s")

    def _take_folder(self) -> None:
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"--out {self.out}: cannot be written: {error.strerror}; choose another folder") from None

    @property
    def _scratch(self) -> Path:
        return self.out / ".training"

    @property
    def _fingerprint(self) -> str:
        """What the weights follow from: the spec, the base model, the real images and their masks."""
        text = self.spec.model_dump_json(exclude={"checkpoint_seconds"}) + self.base.revision
        digest = hashlib.sha256((text + "".join(one.digest for one in self.lesson.images)).encode())
        for mask in self._masks:
            digest.update(mask.tobytes() if mask is not None else b"")
        return digest.hexdigest()

    @cached_property
    def _masks(self) -> list[Mask | None]:
        """Of each image, where a ControlNet is trained."""
        return [None if self.spec.control is None else one.mask() for one in self.lesson.images]

    def _shots(self) -> list[CachedImage]:
        spec = self.spec
        return [
            shot(one.pixels(), spec.instance_prompt(one.class_name), spec.size, mask)
            for one, mask in zip(self.lesson.images, self._masks, strict=True)
        ]

    def _train(self, log: Log) -> tuple[float | None, str]:
        """The weights. Returns the last logged loss, and the kind of device."""
        spec, real = self.spec, self._shots()
        checkpoint = StageCheckpoint(self._scratch / "adapter.pt", self._fingerprint, spec.checkpoint_seconds)
        checkpoint.load()  # refuses another training's before anything is spent
        pipe = _load(spec)
        place = self._scratch / f"prior-{self._fingerprint[:12]}"
        prior = prior_shots(pipe, spec, spec.prior_prompts(self.lesson.classes), place, log)
        objective = Objective(pipe, spec, ["", *(one.prompt for one in (*real, *prior))])
        learner = Lora(pipe.diffusers, spec) if spec.control is None else Control(pipe.diffusers, spec)
        loss = train(learner, lambda net, n: objective(net, make_batch(real, prior, spec, n)), spec, checkpoint, log)
        learner.save(self.out)
        return loss, pipe.device

    def _write(self, measured: dict[str, Any]) -> None:
        """The files beside the weights, the completion marker last."""
        spec, lesson, base = self.spec, self.lesson, self.base
        record = {
            "name": spec.name,
            "fingerprint": self._fingerprint,
            "revision": weights_revision(self.out),
            # Its own images are one generation more than the model that makes them.
            "generation": base.generation + (spec.prior is not None),
            "license": base.license,
            "base": {"model": spec.model.source, "revision": base.revision, "generation": base.generation},
            "classes": list(lesson.classes),
            "prompts": [spec.instance_prompt(name) for name in lesson.classes],
            "priors": list(spec.prior_prompts(lesson.classes)),
            "split": spec.split,
            "learned": lesson.told(spec.split),
            **({} if spec.control is None else {"palette": spec.palette}),
            "spec": spec.model_dump(mode="json"),
            "versions": {name: version(name) for name in _LIBRARIES},
            **measured,
        }
        (self.out / "world_digests.txt").write_text("".join(f"{one.digest}\n" for one in lesson.images))
        hub_base = spec.model.source if local_folder(base.part) is None else None
        card = adapter_card if spec.control is None else control_card
        (self.out / "README.md").write_text(card(record, hub_base), encoding="utf-8")
        write_record(self.out, record)


def _load(spec: FinetuneSpec) -> DiffusersPipeline:
    gpus = 1.0 if torch.cuda.is_available() else 0.0
    cluster = ClusterSpec(gpus_per_actor=gpus, cpus_per_actor=torch.get_num_threads())
    pipe = DiffusersPipeline("DiffusionPipeline", spec.settings(), ImageSpec(), cluster)
    check_supported(pipe.diffusers, spec.model.source)
    if pipe.diffusers.unet.dtype == torch.float16 and not gpus:
        raise SpecError("model.dtype: fp16 is trained on a GPU only, and torch finds none; give fp32, or leave it out")
    if "safety_checker" in pipe.diffusers.components:
        # Its black images would be preserved as part of the prior, and no image of the prior leaves the training.
        pipe.diffusers.safety_checker = None
    return pipe
