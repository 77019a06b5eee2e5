"""From a network's output to the images that are stored."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def to_stored_pixels(made: Tensor, size: int | None) -> tuple[Tensor, Tensor]:
    """Images of values in [0, 1], (batch, 3, height, width), as they are stored, all on their device.

    size: pixels of both sides; those of an image that is no square are cut around its centre first, and resized with
    antialiasing. Their own size if none.

    Gives uint8 (batch, height, width, 3), and which images had finite numbers alone: bool (batch,).
    """
    finite = made.isfinite().flatten(1).all(1)
    if size is not None:
        made = _square(made)
        if made.shape[-1] != size:
            made = interpolate(made.float(), (size, size), mode="bicubic", antialias=True)
    frames = made.float().nan_to_num(0).clamp(0, 1).mul(255).round().to(torch.uint8)
    return frames.permute(0, 2, 3, 1).contiguous(), finite


def _square(made: Tensor) -> Tensor:
    height, width = made.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return made[..., top : top + side, left : left + side]
