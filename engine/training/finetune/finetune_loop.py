"""The training loop of an adapter or a ControlNet, with gradient accumulation and mixed precision by accelerate."""

import math
from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from engine.errors import ModelError
from engine.training.checkpoint import Checkpoint, State
from engine.training.finetune.controlnet_training import ControlNetLearner
from engine.training.finetune.finetune_spec import FinetuneSpec
from engine.training.finetune.lora_layers import LoraLearner
from engine.training.optimizer import set_learning_rate, warmup_cosine
from engine.training.training_loop import LogLine, TrainingLoop

_MIXED_PRECISION = {torch.float32: "no", torch.bfloat16: "bf16", torch.float16: "fp16"}
Learner = LoraLearner | ControlNetLearner
"""The trained layers, on top of a model that does not change."""


def train_learner(
    learner: Learner, loss_of: Callable[[Any, int], Tensor], spec: FinetuneSpec, checkpoint: Checkpoint, log: LogLine
) -> float | None:
    """Train in place, from the checkpoint on. Returns the last logged loss; raises ModelError if one is not finite.

    loss_of: takes the model and the number of a forward pass, from 0, and returns the loss.
    """
    accelerator = Accelerator(
        mixed_precision=_MIXED_PRECISION[learner.dtype],
        gradient_accumulation_steps=spec.accumulation,
        cpu=learner.device.type == "cpu",
    )
    model, adam = accelerator.prepare(learner.model, torch.optim.AdamW(learner.parameters, weight_decay=0.01))

    def do_step(step: int) -> float:
        set_learning_rate(adam, spec.rate * warmup_cosine(step, spec.warmup, spec.steps))
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
        return total / spec.accumulation

    def state() -> State:
        scaler = {} if accelerator.scaler is None else accelerator.scaler.state_dict()
        return {"adapter": learner.state(), "adam": adam.state_dict(), "scaler": scaler}

    def restore(saved: State) -> None:
        learner.load(saved["adapter"])
        adam.load_state_dict(saved["adam"])
        if accelerator.scaler is not None:
            accelerator.scaler.load_state_dict(saved["scaler"])

    loop = TrainingLoop(learner.title, spec.steps, spec.batch * spec.accumulation, checkpoint, log)
    return loop.run(do_step, state, restore)
