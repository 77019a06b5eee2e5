"""Randomness from identity: what a step draws follows from (seed, stage, step), so resuming needs no saved state."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive(seed: int, *parts: object) -> int:
    """A seed below 2**63 for one named purpose."""
    text = "/".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_rng(seed: int, *parts: object) -> np.random.Generator:
    """A numpy generator for one named purpose."""
    return np.random.default_rng(derive(seed, *parts))


def torch_rng(seed: int, *parts: object) -> torch.Generator:
    """A CPU generator for one named purpose: noise is drawn on the CPU on every device, so that runs compare."""
    return torch.Generator().manual_seed(derive(seed, *parts))


@contextmanager
def seeded_init(seed: int, *parts: object) -> Iterator[None]:
    """Model constructors draw from torch's global state: give it a seed inside the block, and put it back after."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, *parts))
        yield
