"""Conversion of a network's output to the pixels that are stored."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def to_stored_pixels(images: Tensor, size: int | None) -> tuple[Tensor, Tensor]:
    """Return the pixels to store, uint8 (batch, height, width, 3), and which images are finite, bool (batch,).

    images: values in [0, 1], (batch, 3, height, width). The results are on the same device.
    size:   side to resize to, with antialiasing, after cutting a square around the centre; None to do neither.
    """
    finite = images.isfinite().flatten(1).all(1)
    if size is not None:
        images = _central_square(images)
        if images.shape[-1] != size:
            images = interpolate(images.float(), (size, size), mode="bicubic", antialias=True)
    pixels = images.float().nan_to_num(0).clamp(0, 1).mul(255).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous(), finite


def _central_square(images: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[..., top : top + side, left : left + side]
