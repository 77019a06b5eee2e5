"""Our own networks: small, and trained from random weights. They take scaled pixels, float (batch, 3, h, w)."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

_CHANNELS = (32, 64, 128)
_WIDTHS = (16, 32, 64, 128)


class SmallCnn(nn.Sequential):
    """Three blocks of convolution, batch norm, ReLU and pooling, then a linear layer: logits (batch, classes)."""

    def __init__(self, classes: int) -> None:
        layers: list[nn.Module] = []
        for before, after in pairwise((3, *_CHANNELS)):
            layers += [*_convolution(before, after), nn.MaxPool2d(2)]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(_CHANNELS[-1], classes))


class UNet(nn.Module):
    """Four levels with skip connections (Ronneberger et al., "U-Net", 2015): logits (batch, classes, h, w)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(_block(before, after) for before, after in pairwise((3, *_WIDTHS)))
        self.up = nn.ModuleList(_block(below + skip, skip) for skip, below in pairwise(_WIDTHS))
        self.head = nn.Conv2d(_WIDTHS[0], classes, 1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        skips: list[Tensor] = []
        features = images
        for level, block in enumerate(self.down):
            features = block(self.pool(features) if level else features)
            skips.append(features)
        for skip, block in zip(skips[-2::-1], reversed(self.up), strict=True):
            features = block(torch.cat([interpolate(features, size=skip.shape[-2:]), skip], dim=1))
        logits: Tensor = self.head(features)
        return logits


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(*_convolution(before, after), *_convolution(after, after))


def _convolution(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
