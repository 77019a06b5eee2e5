"""What can be measured on a drawn stroke: weight, slant, size and contrast, and the words for them.

All measures take a grey image (H, W) of floats in [0, 1] where ink is bright and paper is 0, and are continuous,
so that their quantiles divide any set of images into equal parts. Pure numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.float32]
Values = dict[str, float]

#: Words of each attribute from the lowest to the highest third of its measure.
WORDS: dict[str, tuple[str, str, str]] = {
    "weight": ("thin", "medium", "bold"),
    "slant": ("left-leaning", "upright", "right-leaning"),
    "size": ("small", "midsize", "large"),
    "contrast": ("faint", "normal", "strong"),
}

#: Units of each measure, for the model card.
UNITS: dict[str, str] = {"weight": "pixels", "slant": "degrees", "size": "pixels", "contrast": "of full white"}


def stroke_weight(image: Grey) -> float:
    """Mean stroke width in pixels: twice the ink over the total variation.

    A stroke of length L, width w and level p holds L*w*p ink, and its two edges contribute 2*L*p variation.
    The level cancels out, so contrast does not change the measure.
    """
    across = np.abs(np.diff(image, axis=1, append=0))
    down = np.abs(np.diff(image, axis=0, append=0))
    variation = float(np.sqrt(across**2 + down**2).sum())
    return 2.0 * float(image.sum()) / max(variation, 1e-6)


def _moments(image: Grey) -> tuple[float, float, float]:
    """Central second moments (xx, xy, yy) in square pixels, weighted by ink."""
    ink = image.astype(np.float64)
    total = max(float(ink.sum()), 1e-6)
    ys, xs = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float64)
    xs -= (xs * ink).sum() / total
    ys -= (ys * ink).sum() / total
    return (
        float((xs * xs * ink).sum() / total),
        float((xs * ys * ink).sum() / total),
        float((ys * ys * ink).sum() / total),
    )


def slant(image: Grey) -> float:
    """Lean in degrees, positive to the right: the shear in the second moments (the usual deskewing of digits)."""
    _, xy, yy = _moments(image)
    return float(np.degrees(np.arctan2(-xy, max(yy, 1e-6))))


def size(image: Grey) -> float:
    """Root mean square distance of the ink from its centre, in pixels."""
    xx, _, yy = _moments(image)
    return float(np.sqrt(xx + yy))


def contrast(image: Grey) -> float:
    """Level of the brightest ink (95th percentile of the pixels) in [0, 1]."""
    return float(np.quantile(image, 0.95))


MEASURES = {"weight": stroke_weight, "slant": slant, "size": size, "contrast": contrast}


def measure(image: NDArray[np.uint8]) -> Values:
    """All measures of a grey uint8 image (H, W)."""
    grey = image.astype(np.float32) / 255.0
    return {name: function(grey) for name, function in MEASURES.items()}


@dataclass(frozen=True)
class Thresholds:
    """The lower and upper third of each measure, for each class by itself: attribute -> class label -> (low, high).

    They are taken within a class because a bold one holds less ink than a thin eight, and a seven leans by its nature.
    """

    cuts: dict[str, tuple[tuple[float, float], ...]]

    @classmethod
    def from_values(cls, values: Sequence[Values], labels: Sequence[int], classes: int) -> Thresholds:
        """Cut the measured values of labelled images at the thirds of each class."""
        where = np.asarray(labels)
        cuts = {}
        for name in WORDS:
            column = np.array([value[name] for value in values])
            thirds = [np.quantile(column[where == label], (1 / 3, 2 / 3)) for label in range(classes)]
            cuts[name] = tuple((round(float(low), 4), round(float(high), 4)) for low, high in thirds)
        return cls(cuts)

    def words(self, values: Values, label: int) -> dict[str, str]:
        """The word of every attribute for the measured values of one image of a known class."""
        return {name: WORDS[name][self.rank(name, value, label)] for name, value in values.items()}

    def rank(self, attribute: str, value: float, label: int) -> int:
        """0, 1 or 2: the third that a measured value falls into."""
        low, high = self.cuts[attribute][label]
        return int(value >= low) + int(value >= high)

    def to_json(self, classes: Sequence[str]) -> dict[str, object]:
        """For `attributes.json`: words, units and cuts by class name."""
        return {
            name: {
                "words": list(WORDS[name]),
                "unit": UNITS[name],
                "cuts": {classes[label]: list(pair) for label, pair in enumerate(pairs)},
            }
            for name, pairs in self.cuts.items()
        }
