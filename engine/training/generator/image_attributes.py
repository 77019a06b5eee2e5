"""Attributes that are measured on the pixels of an image, and the words for a low, middle and high value.

All measures are continuous, so that their quantiles divide any set of images into equal parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.training.generator import photo_attributes, stroke_attributes

Rgb = NDArray[np.uint8]
Values = dict[str, float]


@dataclass(frozen=True)
class Attribute:
    """A measure and its words.

    words:            for the lowest, middle and highest third.
    unit, definition: of the measure, for the model card.
    measure:          takes an RGB uint8 image (H, W, 3).
    """

    words: tuple[str, str, str]
    unit: str
    definition: str
    measure: Callable[[Rgb], float]


_STROKES = {
    "weight": Attribute(
        ("thin", "medium", "bold"),
        "pixels",
        "stroke width, twice the ink over the total variation",
        stroke_attributes.stroke_weight,
    ),
    "slant": Attribute(
        ("left-leaning", "upright", "right-leaning"),
        "degrees",
        "shear of the second moments, positive to the right",
        stroke_attributes.slant,
    ),
    "size": Attribute(
        ("small", "midsize", "large"),
        "pixels",
        "root mean square distance of the ink from its centre",
        stroke_attributes.size,
    ),
    "contrast": Attribute(
        ("faint", "normal", "strong"),
        "of full white",
        "level of the 95th percentile of the pixels",
        stroke_attributes.contrast,
    ),
}

_PHOTOGRAPHS = {
    "brightness": Attribute(("dark", "midtone", "bright"), "of full white", "mean luma", photo_attributes.brightness),
    "tones": Attribute(
        ("flat", "balanced", "contrasty"),
        "of full white",
        "standard deviation of luma",
        photo_attributes.tones,
    ),
    "saturation": Attribute(
        ("muted", "natural", "vivid"),
        "of full colour",
        "mean of a pixel's highest less its lowest channel",
        photo_attributes.saturation,
    ),
    "warmth": Attribute(
        ("cool", "neutral", "warm"), "of full colour", "mean of red less blue", photo_attributes.warmth
    ),
    "detail": Attribute(
        ("smooth", "textured", "busy"),
        "of the tones",
        "mean difference of neighbours' luma over its deviation",
        photo_attributes.detail,
    ),
}

ATTRIBUTES: dict[str, Attribute] = _STROKES | _PHOTOGRAPHS
"""By name, as a spec chooses them. No word belongs to two attributes."""


def measure(image: Rgb, attributes: Sequence[str]) -> Values:
    """Measure these attributes of an RGB uint8 image (H, W, 3)."""
    return {name: ATTRIBUTES[name].measure(image) for name in attributes}


@dataclass(frozen=True)
class Thresholds:
    """The boundaries of the thirds of each measure: attribute -> class label -> (low, high).

    Each class has its own, because classes differ: a bold one holds less ink than a thin eight.
    """

    cuts: dict[str, tuple[tuple[float, float], ...]]

    @classmethod
    def from_values(cls, values: Sequence[Values], labels: Sequence[int], classes: int) -> Thresholds:
        """Cut the measured values of labelled images at the thirds of each class."""
        label_of = np.asarray(labels)
        cuts = {}
        for name in values[0]:
            column = np.array([value[name] for value in values])
            thirds = [np.quantile(column[label_of == label], (1 / 3, 2 / 3)) for label in range(classes)]
            cuts[name] = tuple((round(float(low), 4), round(float(high), 4)) for low, high in thirds)
        return cls(cuts)

    def words(self, values: Values, label: int) -> dict[str, str]:
        """Return the word of every attribute for the measured values of one image of a known class."""
        return {name: ATTRIBUTES[name].words[self.rank(name, value, label)] for name, value in values.items()}

    def rank(self, attribute: str, value: float, label: int) -> int:
        """Return the third that a measured value falls into: 0, 1 or 2."""
        low, high = self.cuts[attribute][label]
        return int(value >= low) + int(value >= high)

    def to_json(self, classes: Sequence[str]) -> dict[str, object]:
        """Return the content of `attributes.json`: words, units and cuts by class name."""
        return {
            name: {
                "words": list(ATTRIBUTES[name].words),
                "unit": ATTRIBUTES[name].unit,
                "cuts": {classes[label]: list(pair) for label, pair in enumerate(pairs)},
            }
            for name, pairs in self.cuts.items()
        }
