"""The protocol of filters, and the judgement of a batch by all filters of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.config.cluster_spec import ClusterSpec
from engine.config.filter_settings import FILTERS, FilterSettings
from engine.generators.generator import Request
from shards.codec import Pixels


@dataclass(frozen=True, slots=True)
class Verdict:
    """A filter's judgement of one image.

    reason: why the image is rejected; "" keeps it.
    scores: numbers that become columns of the sample. A filter gives the same names for every image.
    """

    reason: str
    scores: Mapping[str, float]


class Filter(Protocol):
    """Judges the images of a batch before they are encoded, in the process that made them.

    The verdict on an image depends on that image and its request alone, not on its neighbours. The batch always has the
    generator's batch size: the last batch of a unit is padded, so that a model sees one fixed shape.
    """

    def __call__(self, pixels: Pixels, requests: Sequence[Request]) -> Sequence[Verdict]:
        """Judge a batch.

        pixels:   uint8 (batch, height, width, 3), as they will be stored.
        requests: what each image should show: class, prompt, attributes, attempt.
        Returns one verdict per image, in their order. Errors end the unit.
        """


def make_filters(settings: Sequence[FilterSettings], cluster: ClusterSpec) -> tuple[Filter, ...]:
    """Make the filters of a run, in their order. Raises ModelError where a filter's model cannot be loaded."""
    return tuple(FILTERS.make(single, cluster) for single in settings)


def judge(filters: Sequence[Filter], pixels: Pixels, requests: Sequence[Request]) -> list[Verdict]:
    """Judge a batch by all filters, so that samples have equal scores; the first one that rejects gives the reason."""
    merged = [Verdict("", {})] * len(requests)
    for apply in filters:
        merged = [
            Verdict(before.reason or after.reason, {**before.scores, **after.scores})
            for before, after in zip(merged, apply(pixels, requests), strict=True)
        ]
    return merged
