"""Attributes that are measured on the pixels of an image, and the words for a low, middle and high value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]
"""(height, width, 3)."""
Values = dict[str, float]


@dataclass(frozen=True)
class Attribute:
    """A measure, the words for its lowest, middle and highest third, and its description in the model card."""

    words: tuple[str, str, str]
    unit: str
    definition: str
    measure: Callable[[Rgb], float]


def _stroke_weight(image: Rgb) -> float:
    # A stroke of length L, width w and level p holds L*w*p ink, and its two edges contribute 2*L*p variation. The level
    # cancels out, so contrast does not change the measure.
    ink = _luma(image)
    across = np.abs(np.diff(ink, axis=1, append=0))
    down = np.abs(np.diff(ink, axis=0, append=0))
    variation = float(np.sqrt(across**2 + down**2).sum())
    return 2.0 * float(ink.sum()) / max(variation, 1e-6)


def _slant(image: Rgb) -> float:
    _, xy, yy = _moments(_luma(image))
    return float(np.degrees(np.arctan2(-xy, max(yy, 1e-6))))


def _size(image: Rgb) -> float:
    xx, _, yy = _moments(_luma(image))
    return float(np.sqrt(xx + yy))


def _contrast(image: Rgb) -> float:
    return float(np.quantile(_luma(image), 0.95))


def _brightness(image: Rgb) -> float:
    return float(_luma(image).mean())


def _tones(image: Rgb) -> float:
    return float(_luma(image).std())


def _saturation(image: Rgb) -> float:
    # Chroma is not divided by the highest channel, so dark noise hardly counts.
    return float((image.max(axis=2).astype(np.float32) - image.min(axis=2)).mean()) / 255.0


def _warmth(image: Rgb) -> float:
    red, _, blue = image.reshape(-1, 3).mean(axis=0)
    return float(red - blue) / 255.0


def _detail(image: Rgb) -> float:
    luma = _luma(image)
    steps = (np.abs(np.diff(luma, axis=0)).mean() + np.abs(np.diff(luma, axis=1)).mean()) / 2
    return float(steps) / max(float(luma.std()), 1e-3)


def _luma(image: Rgb) -> NDArray[np.float32]:
    """Return luma (ITU-R BT.601), of strokes the ink: float (H, W) in [0, 1]."""
    luma: NDArray[np.float32] = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255.0
    return luma


def _moments(image: NDArray[np.float32]) -> tuple[float, float, float]:
    """Return the central second moments (xx, xy, yy) in square pixels, weighted by ink."""
    ink = image.astype(np.float64)
    total = max(float(ink.sum()), 1e-6)
    ys, xs = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float64)
    xs -= (xs * ink).sum() / total
    ys -= (ys * ink).sum() / total
    xx, xy, yy = (float((product * ink).sum() / total) for product in (xs * xs, xs * ys, ys * ys))
    return xx, xy, yy


ATTRIBUTES: dict[str, Attribute] = {
    # Of drawn strokes: bright ink on black paper.
    "weight": Attribute(
        ("thin", "medium", "bold"), "pixels", "stroke width, twice the ink over the total variation", _stroke_weight
    ),
    "slant": Attribute(
        ("left-leaning", "upright", "right-leaning"),
        "degrees",
        "shear of the second moments, positive to the right",
        _slant,
    ),
    "size": Attribute(
        ("small", "midsize", "large"), "pixels", "root mean square distance of the ink from its centre", _size
    ),
    "contrast": Attribute(
        ("faint", "normal", "strong"), "of full white", "level of the 95th percentile of the pixels", _contrast
    ),
    # Of photographs.
    "brightness": Attribute(("dark", "midtone", "bright"), "of full white", "mean luma", _brightness),
    "tones": Attribute(("flat", "balanced", "contrasty"), "of full white", "standard deviation of luma", _tones),
    "saturation": Attribute(
        ("muted", "natural", "vivid"),
        "of full colour",
        "mean of a pixel's highest less its lowest channel",
        _saturation,
    ),
    "warmth": Attribute(("cool", "neutral", "warm"), "of full colour", "mean of red less blue", _warmth),
    "detail": Attribute(
        ("smooth", "textured", "busy"),
        "of the tones",
        "mean difference of neighbours' luma over its deviation",
        _detail,
    ),
}
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
