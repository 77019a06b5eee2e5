"""Real images: where they come from, and which of them a generator, a classifier and a judge may see.

A source is one file here: a function from (path, spec) to a `RealSet`.
"""

from engine.data.real_image import RealImage, RealSet
from engine.data.splits import SPLITS, Splits, load_splits

__all__ = ["SPLITS", "RealImage", "RealSet", "Splits", "load_splits"]
