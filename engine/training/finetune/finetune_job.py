"""The job `finetune`: from a training spec to folders of LoRA adapters, or to a ControlNet, that diffusers loads."""

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
from engine.data.class_folders import folder_names
from engine.data.masks import Mask
from engine.data.splits import load_splits
from engine.errors import ModelError, OutputError, SpecError
from engine.generators.diffusers_pipeline import DiffusersPipeline
from engine.models.model_folder import local_folder
from engine.models.resolve import LocalModel, fetch_model
from engine.training.checkpoint import Checkpoint
from engine.training.finetune.adapter_card import adapter_card, controlnet_card
from engine.training.finetune.controlnet_training import ControlNetLearner
from engine.training.finetune.finetune_loop import train_learner
from engine.training.finetune.finetune_objective import DiffusionLoss, make_batch
from engine.training.finetune.finetune_samples import FinetuneTask, cache_image, finetune_tasks, make_prior
from engine.training.finetune.finetune_spec import FinetuneSpec
from engine.training.finetune.lora_layers import LoraLearner, check_supported
from engine.training.training_loop import LogLine
from engine.training.training_record import is_done, weights_revision, write_record
from shards.storage.open_store import open_store

_LIBRARIES = ("torch", "diffusers", "transformers", "accelerate", "peft", "numpy", "opencv-python-headless")


def finetune(spec: FinetuneSpec, out: Path, log: LogLine) -> None:
    """Train an adapter or ControlNet in `out`, or an adapter for each class in `out/<class>`, from the checkpoint on.

    Raises SpecError, DataError, ModelError, OutputError.
    """
    tasks = finetune_tasks(spec, load_splits(spec.data))
    names = folder_names(task.classes[0] for task in tasks)
    for name, task in zip(names, tasks, strict=True):
        folder = out / name if spec.per_class else out
        _FinetuneJob(spec, task, folder, fetch_model(spec.settings().parts[0])).run(log)


@dataclass(frozen=True)
class _FinetuneJob:
    """The training of one adapter or ControlNet."""

    spec: FinetuneSpec
    task: FinetuneTask
    out: Path
    base: LocalModel

    def run(self, log: LogLine) -> None:
        if is_done(self.out, self._fingerprint):
            log(f"{self.out} holds this {'adapter' if self.spec.control is None else 'ControlNet'} already")
            return
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"--out {self.out}: cannot be written: {error.strerror}; choose another folder") from None
        began = time.monotonic()
        log(f"{', '.join(self.task.classes)}: {len(self.task.images)} real images of the {self.spec.split} split")
        try:
            loss, device = self._train(log)
        except torch.OutOfMemoryError as error:
            raise ModelError("batch: the GPU's memory is too small; lower batch, and raise accumulation") from error
        self._write({"loss": loss, "device": device, "seconds_since_last_start": round(time.monotonic() - began, 1)})
        shutil.rmtree(self._scratch)
        log(f"{self.out}: done in {time.monotonic() - began:.0f} s")

    @property
    def _scratch(self) -> Path:
        return self.out / ".training"

    @property
    def _fingerprint(self) -> str:
        """Digest of all that the weights depend on: the spec, the base model, the real images and their masks."""
        text = self.spec.model_dump_json(exclude={"checkpoint_seconds"}) + self.base.revision
        digest = hashlib.sha256((text + "".join(image.digest for image in self.task.images)).encode())
        for mask in self._masks:
            digest.update(mask.tobytes() if mask is not None else b"")
        return digest.hexdigest()

    @cached_property
    def _masks(self) -> list[Mask | None]:
        return [None if self.spec.control is None else image.mask() for image in self.task.images]

    def _train(self, log: LogLine) -> tuple[float | None, str]:
        """Write the weights. Returns the last logged loss, and the kind of device."""
        spec = self.spec
        checkpoint = Checkpoint(open_store(self._scratch), self._fingerprint, "adapter.pt", spec.checkpoint_seconds)
        checkpoint.check_owner()
        real = [
            cache_image(image.pixels(), spec.instance_prompt(image.class_name), spec.size, mask)
            for image, mask in zip(self.task.images, self._masks, strict=True)
        ]
        pipe = _load(spec)
        prior_folder = self._scratch / f"prior-{self._fingerprint[:12]}"
        prior = make_prior(pipe, spec, spec.prior_prompts(self.task.classes), prior_folder, log)
        loss_of = DiffusionLoss(pipe, spec, ["", *(image.prompt for image in (*real, *prior))])
        learner = LoraLearner(pipe.pipeline, spec) if spec.control is None else ControlNetLearner(pipe.pipeline, spec)

        def loss_at(unet: Any, number: int) -> torch.Tensor:
            return loss_of(unet, make_batch(real, prior, spec, number), number)

        last_loss = train_learner(learner, loss_at, spec, checkpoint, log)
        learner.save(self.out)
        return last_loss, pipe.device

    def _write(self, measured: dict[str, Any]) -> None:
        spec, task, base = self.spec, self.task, self.base
        record = {
            "name": spec.name,
            "fingerprint": self._fingerprint,
            "revision": weights_revision(self.out),
            # Images of the prior are one generation more than the model that makes them.
            "generation": base.generation + (spec.prior is not None),
            "license": base.license,
            "base": {"model": spec.model.source, "revision": base.revision, "generation": base.generation},
            "classes": list(task.classes),
            "prompts": [spec.instance_prompt(name) for name in task.classes],
            "priors": list(spec.prior_prompts(task.classes)),
            "split": spec.split,
            "learned": [
                {"digest": image.digest, "origin": image.origin, "class_name": image.class_name, "split": spec.split}
                for image in task.images
            ],
            **({} if spec.control is None else {"palette": spec.palette}),
            "spec": spec.model_dump(mode="json"),
            "versions": {name: version(name) for name in _LIBRARIES},
            **measured,
        }
        (self.out / "world_digests.txt").write_text("".join(f"{image.digest}\n" for image in task.images))
        hub_base = spec.model.source if local_folder(base.part) is None else None
        card = adapter_card if spec.control is None else controlnet_card
        (self.out / "README.md").write_text(card(record, hub_base), encoding="utf-8")
        write_record(self.out, record)


def _load(spec: FinetuneSpec) -> DiffusersPipeline:
    gpus = 1.0 if torch.cuda.is_available() else 0.0
    cluster = ClusterSpec(gpus_per_actor=gpus, cpus_per_actor=torch.get_num_threads())
    pipe = DiffusersPipeline("DiffusionPipeline", spec.settings(), ImageSpec(), cluster)
    check_supported(pipe.pipeline, spec.model.source)
    if pipe.pipeline.unet.dtype == torch.float16 and not gpus:
        raise SpecError("model.dtype: fp16 is trained on a GPU only, and torch finds none; give fp32, or leave it out")
    if "safety_checker" in pipe.pipeline.components:
        # It replaces images by black ones, which the prior would preserve. No image of the prior leaves the training.
        pipe.pipeline.safety_checker = None
    return pipe
