"""Filters look at an image before it is kept.

A filter is one class here with a name, a list of the scores that it gives, and a call. Its verdict on an image depends
on that image and its slot alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2

from engine.config.output_spec import BlankFilter
from engine.run.plan import Slot
from shards.codec import Pixels


@dataclass(frozen=True, slots=True)
class Verdict:
    """keep, or the reason why not; and a number for each of the filter's scores."""

    keep: bool
    reason: str
    scores: dict[str, float]


class Filter(Protocol):
    """Judges one image, as it will be stored: uint8 (height, width, 3)."""

    def __call__(self, pixels: Pixels, slot: Slot) -> Verdict:
        """Keep it or not."""
        ...


class Blank:
    """Turns down images that are nearly of one colour."""

    def __init__(self, spec: BlankFilter) -> None:
        self._min_std = spec.min_std

    def __call__(self, pixels: Pixels, slot: Slot) -> Verdict:
        """Keep it if it varies enough."""
        # As numpy's, from sums of integers: that one's takes nearly as long as encoding the image.
        std = float(cv2.meanStdDev(pixels.reshape(len(pixels), -1))[1][0, 0])
        return Verdict(std >= self._min_std, "blank", {"score_std": std})


def make_filters(specs: Sequence[BlankFilter]) -> tuple[Filter, ...]:
    """The filters of a run, in their order."""
    return tuple(Blank(spec) for spec in specs)


def judge(filters: Sequence[Filter], pixels: Pixels, slot: Slot) -> Verdict:
    """Ask every filter. The first that rejects gives the reason; all give scores, so that samples have equal fields."""
    verdicts = [one(pixels, slot) for one in filters]
    scores = {name: value for verdict in verdicts for name, value in verdict.scores.items()}
    reasons = [verdict.reason for verdict in verdicts if not verdict.keep]
    return Verdict(not reasons, reasons[0] if reasons else "", scores)
