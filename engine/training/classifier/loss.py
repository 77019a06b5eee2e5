"""What a training makes small."""

from torch import Tensor
from torch.nn.functional import cross_entropy

IGNORED = 255
"""The class of mask pixels that have none: outside of an image that was turned. No palette has so many."""


def mean_loss(logits: Tensor, target: Tensor, smoothing: float = 0.0, weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy in nats, over images, or over all pixels of masks.

    logits:  (batch, classes), of masks (batch, classes, height, width). target: int64 without the dimension of classes.
    weights: of each class, or none. Their sum over a batch does not divide, so that the mean of equal parts of a batch
             is that of the whole.
    """
    loss = loss_per_target(logits, target, smoothing)
    return loss.mean() if weights is None else (loss * weights[target]).mean()


def loss_per_target(logits: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of each image or pixel, in the shape of `target`; 0 for a pixel without a class."""
    ignored = IGNORED if target.ndim > 1 else -100  # an image of class 255 counts
    return cross_entropy(logits, target, ignore_index=ignored, label_smoothing=smoothing, reduction="none")
