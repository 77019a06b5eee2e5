"""The training loop: steps that follow from their number, and that a kill does not lose."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from engine.errors import ModelError
from engine.training.finetune.finetune_spec import FinetuneSpec
from engine.training.optimizer import schedule
from engine.training.stage_checkpoint import StageCheckpoint, State
from engine.training.training_log import Log, TrainingProgress

_MIXED = {torch.float32: "no", torch.bfloat16: "bf16", torch.float16: "fp16"}


class Learner(Protocol):
    """What is trained, on top of a model that stays as it is.

    title: of its log lines. model: takes what a UNet takes, and gives what it gives. dtype: what that computes in.
    """

    title: str
    model: nn.Module
    dtype: torch.dtype
    device: torch.device

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What is trained."""
        ...

    def state(self) -> dict[str, Tensor]:
        """The weights by name."""
        ...

    def load(self, state: dict[str, Tensor]) -> None:
        """Put weights back."""
        ...


def train(
    learner: Learner, loss_of: Callable[[Any, int], Tensor], spec: FinetuneSpec, checkpoint: StageCheckpoint, log: Log
) -> float | None:
    """Train in place, from the checkpoint on.

    loss_of: the loss of the model in one forward pass, by its number. Returns the last logged loss. Raises ModelError
    where it is no number any more.
    """
    accelerator = Accelerator(
        mixed_precision=_MIXED[learner.dtype],
        gradient_accumulation_steps=spec.accumulation,
        cpu=learner.device.type == "cpu",
    )
    model, adam = accelerator.prepare(learner.model, torch.optim.AdamW(learner.parameters, weight_decay=0.01))
    start = _resume(learner, adam, accelerator.scaler, checkpoint)
    progress = TrainingProgress(learner.title, spec.steps, spec.batch * spec.accumulation, log)
    for step in range(start, spec.steps):
        for group in adam.param_groups:
            group["lr"] = spec.rate * schedule(step, spec.warmup, spec.steps)
        total = 0.0
        for number in range(step * spec.accumulation, (step + 1) * spec.accumulation):
            with accelerator.accumulate(model):
                loss = loss_of(model, number)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(learner.parameters, 1.0)
                adam.step()
                adam.zero_grad()
            total += float(loss.detach())
        if not math.isfinite(total):
            raise ModelError(f"step {step + 1}: the loss is {total}; lower the rate, or raise the warm-up")
        progress.update(step + 1, total / spec.accumulation)
        checkpoint.save_if_due(partial(_state, learner, adam, accelerator.scaler, step + 1))
    return progress.last


def _state(learner: Learner, adam: Any, scaler: Any, done: int) -> State:
    scale = {} if scaler is None else scaler.state_dict()
    return {"adapter": learner.state(), "adam": adam.state_dict(), "scaler": scale, "done": done}


def _resume(learner: Learner, adam: Any, scaler: Any, checkpoint: StageCheckpoint) -> int:
    state = checkpoint.load()
    if state is None:
        return 0
    learner.load(state["adapter"])
    adam.load_state_dict(state["adam"])
    if scaler is not None:
        scaler.load_state_dict(state["scaler"])
    return int(state["done"])
