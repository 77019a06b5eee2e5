"""The classifier of a sweep: small, from scratch, and the same for every arm."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from engine.spec.sweep import SweepSpec
from shards import MixedStream, ShardStream
from shards.loader import ShardDataset

_CHANNELS = (32, 64, 128)
_EVALUATION_BATCH = 256


class SmallCnn(nn.Sequential):
    """Three blocks of convolution, batch norm, ReLU and pooling, then a linear layer on the mean over all places.

    Takes uint8 (batch, 3, height, width); gives logits (batch, classes).
    """

    def __init__(self, classes: int) -> None:
        layers: list[nn.Module] = []
        for before, after in zip((3, *_CHANNELS[:-1]), _CHANNELS, strict=True):
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            layers += [nn.MaxPool2d(2)]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(_CHANNELS[-1], classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = super().forward(self._scaled(images))  # type: ignore[no-untyped-call]
        return logits

    @staticmethod
    def _scaled(images: Tensor) -> Tensor:
        return images.float().div_(127.5).sub_(1).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """What the last layer sees of uint8 (batch, height, width, 3): (batch, channels), every row of length 1."""
        self.eval()
        device = next(self.parameters()).device
        found = self._scaled(torch.from_numpy(images).permute(0, 3, 1, 2).to(device))
        for layer in list(self)[:-1]:
            found = layer(found)
        return normalize(found.double()).cpu().numpy()


def train_classifier(stream: MixedStream, classes: int, settings: SweepSpec, seed: int, device: str) -> SmallCnn:
    """Train for `settings.steps` steps with AdamW on a one-cycle schedule; `seed` decides the first weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SmallCnn(classes)
    model.to(device=device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=settings.steps)
    for batch in ShardDataset(stream, settings.steps):
        loss = cross_entropy(model(batch["image"].to(device)), batch["label"].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model


@torch.inference_mode()
def predict(model: SmallCnn, stream: ShardStream, device: str) -> NDArray[np.int64]:
    """The predicted class of every sample of a stream, in its order."""
    model.eval()
    found = [
        model(torch.from_numpy(batch.image).permute(0, 3, 1, 2).to(device)).argmax(1).cpu().numpy()
        for batch in stream.batches(_EVALUATION_BATCH)
    ]
    return np.concatenate(found)
