"""AdamW with warm-up and cosine decay, gradient clipping, and a state that a stage can go on from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from engine.training.stage_checkpoint import StageCheckpoint, State


def schedule(step: int, warmup: int, steps: int) -> float:
    """Share of the learning rate at a step: linear warm-up, then a cosine to zero at `steps`."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(steps - warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * done))


@dataclass
class Optimiser:
    """One learning rate for all parameters, on that schedule."""

    parameters: Sequence[nn.Parameter]
    rate: float
    warmup: int
    steps: int
    _adam: torch.optim.AdamW = field(init=False)

    def __post_init__(self) -> None:
        self._adam = torch.optim.AdamW(self.parameters, lr=self.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)

    def step(self, loss: Tensor, step: int) -> None:
        """One update; `step` counts from 0 and fixes the learning rate."""
        for group in self._adam.param_groups:
            group["lr"] = self.rate * schedule(step, self.warmup, self.steps)
        self._adam.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self._adam.step()

    def state(self, model: nn.Module, done: int) -> State:
        """What `resume` needs: the model, the moments, and how many steps are done."""
        return {"model": model.state_dict(), "adam": self._adam.state_dict(), "done": done}

    def resume(self, checkpoint: StageCheckpoint, model: nn.Module) -> int:
        """Take up the saved state, if there is one; returns the number of steps done."""
        state = checkpoint.load()
        if state is None:
            return 0
        model.load_state_dict(state["model"])
        self._adam.load_state_dict(state["adam"])
        return int(state["done"])
