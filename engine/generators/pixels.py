"""From a network's output to the images that are stored."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from engine.generators.base import Images
from shards.codec import Pixels


def to_images(made: Tensor, size: int | None, unsafe: Sequence[bool] | None = None) -> Images:
    """Images of values in [0, 1], (batch, 3, height, width) on any device, where conversion and resizing happen.

    size:   pixels of both sides, resized with antialiasing; their own size if none.
    unsafe: the verdicts of a safety checker. Those images are refused, and those that overflowed to NaN.
    """
    finite = made.isfinite().flatten(1).all(1).tolist()
    if size is not None and made.shape[-2:] != (size, size):
        made = interpolate(made.float(), (size, size), mode="bicubic", antialias=True)
    frames = made.float().nan_to_num(0).clamp(0, 1).mul(255).round().to(torch.uint8)
    pixels: Pixels = frames.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return Images(pixels, None, tuple(map(_refusal, unsafe or [False] * len(finite), finite)))


def _refusal(unsafe: bool, finite: bool) -> str:
    return "unsafe" if unsafe else "" if finite else "not finite"
