"""The learning rate of a step, as a function of its number."""

import math

from engine.config.train_spec import TrainSpec

_START, _END = 1 / 25, 1 / 25e4
_RISE = 0.3
"""Of one_cycle, as in torch's OneCycleLR: both ends as shares of the highest rate; the fraction of steps up to it."""


def learning_rate(spec: TrainSpec, step: int, steps: int) -> float:
    """Of step 0 to steps - 1."""
    if spec.schedule == "one_cycle":
        return spec.learning_rate * _one_cycle(step, steps, _RISE if spec.warmup is None else spec.warmup)
    rise = round((spec.warmup or 0.0) * steps)
    if step < rise:
        return spec.learning_rate * (step + 1) / rise
    done = (step - rise) / max(1, steps - rise)
    falls = {"linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2, "constant": 1.0}
    return spec.learning_rate * falls[spec.schedule]


def _one_cycle(step: int, steps: int, rise: float) -> float:
    peak = max(0.0, rise * steps - 1)
    if step <= peak:
        return _between(_START, 1.0, step / peak if peak else 1.0)
    return _between(1.0, _END, (step - peak) / max(1e-9, steps - 1 - peak))


def _between(start: float, end: float, done: float) -> float:
    """Along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2
