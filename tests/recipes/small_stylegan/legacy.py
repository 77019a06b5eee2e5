"""Reads the pickles of this checkout."""

import pickle
from typing import IO, Any

import dnnlib


def load_network_pkl(file: IO[bytes]) -> dict[str, Any]:
    """`G_ema`, and what else a pickle holds."""
    return dnnlib.Attributes(pickle.load(file))
