"""Encoders: models that turn images into features, and score how well an image fits each class."""

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
    """Float64 features (images, dimensions), and the fit to each class (images, classes) if the encoder knows classes.

    Rows of features have length sqrt(dimensions), so that the kernel of KD is (cosine + 1)^3 whatever the encoder.
    """

    features: NDArray[np.float64]
    scores: NDArray[np.float64] | None


class Encoder(Protocol):
    """A model that encodes images, `batch` of them in a call.

    name: `offline`, a hub id or a folder. revision: commit of a hub model, else "".
    description: what the model is, and what a margin means with it.
    """

    name: str
    revision: str
    description: str
    batch: int

    def encode(self, images: Pixels) -> EncodedImages:
        """Encode uint8 images (batch, height, width, 3)."""
        ...


@dataclass(frozen=True)
class ClassFits:
    """How well images fit their class: score of the class less that of the best other class, and which class that is.

    outlier: the margin is below those of 99 of 100 real images of the class.
    """

    margin: NDArray[np.float64]
    best_other: NDArray[np.int64]
    outlier: NDArray[np.bool_]

    def __getitem__(self, rows: NDArray[np.bool_]) -> "ClassFits":
        """Return those of some of the images."""
        return ClassFits(self.margin[rows], self.best_other[rows], self.outlier[rows])


def scaled(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale rows to length sqrt(dimensions)."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True).clip(min=1e-12)
    return np.asarray(features * (np.sqrt(features.shape[1]) / lengths), np.float64)


def margins(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return each image's score of its class less that of the best other of two or more classes, and that class."""
    rows = np.arange(len(labels))
    others = scores.copy()
    others[rows, labels] = -np.inf
    best = others.argmax(axis=1)
    return scores[rows, labels] - scores[rows, best], best


class ClassifierEncoder:
    """A classifier that was trained on real images: features of its last layer, and log-probabilities as scores."""

    name, revision, batch = OFFLINE, "", 256
    description = (
        "a small classifier trained on the real world split; margin: its log-probability of the intended class less "
        "that of the best other one"
    )

    def __init__(self, model: "Network") -> None:
        self._model = model

    def encode(self, images: Pixels) -> EncodedImages:
        """See `Encoder`."""
        import torch

        with torch.inference_mode():
            features = self._model.features(images)
            device = next(self._model.parameters()).device
            logits = self._model(torch.from_numpy(images).permute(0, 3, 1, 2).to(device)).double()
        return EncodedImages(scaled(features), logits.log_softmax(1).cpu().numpy())
