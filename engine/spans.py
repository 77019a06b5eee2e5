"""Where the time of a unit goes: spans of named stages, on one monotonic clock per process."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

DEVICE = ("text", "denoise", "decode", "copy")
"""Stages of the generator: encoding texts, the denoising steps, latents to pixels, and pixels to the host's memory."""
STAGES = (*DEVICE, "encode", "commit", "wait")
"""And of the host: filters and image encoding, publishing the shard, and what the device waited for the host."""


@dataclass(frozen=True, slots=True)
class Span:
    """One stage of one batch, image or unit. start and end: seconds of `time.perf_counter`."""

    stage: str
    start: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Spans:
    """Spans in the order in which they ended. Threads may share it: appending to a list is atomic."""

    found: list[Span] = field(default_factory=list)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Record how long the body takes, also where it raises."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.found.append(Span(stage, start, time.perf_counter()))


def totals(spans: Iterable[Span]) -> dict[str, float]:
    """Seconds of each stage, added up over threads; 0.0 for those that never were."""
    sums = dict.fromkeys(STAGES, 0.0)
    for span in spans:
        sums[span.stage] += span.seconds
    return sums
