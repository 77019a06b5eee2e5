"""Saves a generator of random weights: `python make.py FILE CLASSES CHANNELS`, in this folder."""

import pickle
import sys
from pathlib import Path

import torch
from training.networks import Generator

if __name__ == "__main__":
    torch.manual_seed(0)
    network = Generator(16, int(sys.argv[2]), 16, 32, int(sys.argv[3]))
    Path(sys.argv[1]).write_bytes(pickle.dumps({"G": network, "G_ema": network}))
