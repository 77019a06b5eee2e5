"""Random streams by purpose: what a step draws follows from (seed, stage, step), so resuming needs no saved state."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(seed: int, *purpose: object) -> int:
    """Return a seed below 2**63 for one named purpose."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_rng(seed: int, *purpose: object) -> np.random.Generator:
    """Return a numpy generator for one named purpose."""
    return np.random.default_rng(derive_seed(seed, *purpose))


def torch_rng(seed: int, *purpose: object) -> torch.Generator:
    """Return a CPU generator for one named purpose. Every device gets noise that was drawn on the CPU."""
    return torch.Generator().manual_seed(derive_seed(seed, *purpose))


@contextmanager
def seeded_init(seed: int, *purpose: object) -> Iterator[None]:
    """Seed torch's global state, from which model constructors draw, and restore it after the block."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, *purpose))
        yield
