"""What the measures see of an image: features, and how well it fits each class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from shards.codec import Pixels

if TYPE_CHECKING:
    from engine.training.classifier.network_factory import Network

OFFLINE = "offline"


@dataclass(frozen=True)
class EncodedImages:
    """What an encoder sees in images.

    features: float64 (images, dimensions), each row of length sqrt(dimensions), so that the kernel of KID is
              (cosine + 1)^3 whatever the encoder.
    scores:   float64 (images, classes), how well each class fits; None where the encoder knows none.
    """

    features: NDArray[np.float64]
    scores: NDArray[np.float64] | None


class Encoder(Protocol):
    """Sees images.

    name:   for the result: `offline`, or the hub id or folder. revision: a hub model's commit; "" otherwise.
    told:   what it is, in a sentence, and what a margin is then.
    batch:  how many images it takes at a time.
    """

    name: str
    revision: str
    told: str
    batch: int

    def see(self, images: Pixels) -> EncodedImages:
        """Of uint8 images (batch, height, width, 3)."""
        ...


def open_encoder(name: str, prompts: Sequence[str]) -> Encoder:
    """An encoder of the hub or in a folder, with a text for each class, in label order. Raises ModelError."""
    from engine.evaluation.hub_encoder import HubEncoder

    return HubEncoder(name, prompts)


def scaled(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of length sqrt(dimensions)."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True).clip(min=1e-12)
    return np.asarray(features * (np.sqrt(features.shape[1]) / lengths), np.float64)


def margins(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The score of each image's intended class less the best other one's, and which that is. Two classes at least."""
    rows = np.arange(len(labels))
    others = scores.copy()
    others[rows, labels] = -np.inf
    best = others.argmax(axis=1)
    return scores[rows, labels] - scores[rows, best], best


class ClassifierEncoder:
    """A classifier that was trained on real images: what its last layer sees, and its log-probabilities."""

    name, revision, batch = OFFLINE, "", 256
    told = (
        "a small classifier trained on the real world split; margin: its log-probability of the intended class less "
        "that of the best other one"
    )

    def __init__(self, model: "Network") -> None:
        self._model = model

    def see(self, images: Pixels) -> EncodedImages:
        """See Encoder."""
        import torch

        with torch.inference_mode():
            features = self._model.features(images)
            device = next(self._model.parameters()).device
            logits = self._model(torch.from_numpy(images).permute(0, 3, 1, 2).to(device)).double()
        return EncodedImages(scaled(features), logits.log_softmax(1).cpu().numpy())
