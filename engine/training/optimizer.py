"""Learning-rate schedules as functions of the step, and AdamW as the generators are trained with it."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from engine.config.train_spec import TrainSpec
from engine.training.checkpoint import State

# Of one_cycle, as in torch's OneCycleLR: rates at both ends as shares of the highest, and the fraction of rising steps.
_START, _END = 1 / 25, 1 / 25e4
_RISE = 0.3


def learning_rate(spec: TrainSpec, step: int, steps: int) -> float:
    """Return the learning rate of a classifier's step, from 0 to steps - 1."""
    if spec.schedule == "one_cycle":
        return spec.learning_rate * _one_cycle(step, steps, _RISE if spec.warmup is None else spec.warmup)
    warmup = round((spec.warmup or 0.0) * steps)
    if step < warmup:
        return spec.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    shares = {"linear": 1 - done, "cosine": _cosine(1.0, 0.0, done), "constant": 1.0}
    return spec.learning_rate * shares[spec.schedule]


def warmup_cosine(step: int, warmup: int, steps: int) -> float:
    """Return the share of the highest rate: a linear warm-up, then a cosine down to zero at `steps`."""
    if step < warmup:
        return (step + 1) / warmup
    return _cosine(1.0, 0.0, (step - warmup) / max(1, steps - warmup))


def set_learning_rate(optimizer: Any, rate: float) -> None:
    """Set one learning rate for all parameters of a torch optimizer."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def _one_cycle(step: int, steps: int, rise: float) -> float:
    peak = max(0.0, rise * steps - 1)
    if step <= peak:
        return _cosine(_START, 1.0, step / peak if peak else 1.0)
    return _cosine(1.0, _END, (step - peak) / max(1e-9, steps - 1 - peak))


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


class ClippedAdamW:
    """AdamW with a warm-up, a cosine decay and gradients clipped to norm 1. rate: the highest. warmup: in steps."""

    def __init__(self, parameters: Sequence[nn.Parameter], rate: float, warmup: int, steps: int) -> None:
        self._parameters, self._rate, self._warmup, self._steps = parameters, rate, warmup, steps
        self._adam = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)

    def step(self, loss: Tensor, step: int) -> None:
        """Update the parameters; `step` counts from 0 and decides the learning rate."""
        set_learning_rate(self._adam, self._rate * warmup_cosine(step, self._warmup, self._steps))
        self._adam.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._adam.step()

    def state(self, model: nn.Module) -> State:
        """Return the weights of the model and the moments of its gradients."""
        return {"model": model.state_dict(), "adam": self._adam.state_dict()}

    def restore(self, state: State, model: nn.Module) -> None:
        """Load what `state` returned."""
        model.load_state_dict(state["model"])
        self._adam.load_state_dict(state["adam"])
