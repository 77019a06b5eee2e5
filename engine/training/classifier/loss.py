"""The loss of a training: cross-entropy over images, or over the pixels of masks."""

from torch import Tensor
from torch.nn.functional import cross_entropy

IGNORED = 255
"""Class of mask pixels that have none: those that a rotation brought in from outside. No palette has so many."""


def mean_loss(logits: Tensor, target: Tensor, smoothing: float = 0.0, weights: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy in nats, over images, or over all pixels of masks. weights: by class.

    logits: (batch, classes), of masks (batch, classes, height, width). target: int64 without the class dimension.
    """
    loss = loss_per_target(logits, target, smoothing)
    # Not divided by the sum of weights: so the mean over equal parts of a batch is that of the whole.
    return loss.mean() if weights is None else (loss * weights[target]).mean()


def loss_per_target(logits: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the cross-entropy of each image or pixel, in the shape of `target`; 0 for a pixel without a class."""
    ignored = IGNORED if target.ndim > 1 else -100  # An image may have class 255.
    return cross_entropy(logits, target, ignore_index=ignored, label_smoothing=smoothing, reduction="none")
