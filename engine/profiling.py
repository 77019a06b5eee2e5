"""Where the time of a unit goes: spans of named stages, on one monotonic clock per process."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

DEVICE = ("text", "denoise", "decode", "copy")
"""Stages of the generator: encoding texts, the denoising steps, latents to pixels, and pixels to the host's memory."""
HOST = ("encode", "commit")
"""Of the host, beside it: filters and image encoding; writing and publishing the shard."""
STAGES = (*DEVICE, *HOST, "wait")
"""And when the device had nothing to do."""


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
class StageTimer:
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


def gaps(spans: Iterable[Span], start: float, end: float) -> list[Span]:
    """When none of them was, between start and end: spans of the stage `wait`, in order."""
    found, since = [], start
    for span in sorted(spans, key=lambda one: one.start):
        if span.start > since:
            found.append(Span("wait", since, min(span.start, end)))
        since = max(since, span.end)
        if since >= end:
            return found
    return [*found, Span("wait", since, end)]


def totals(spans: Iterable[Span]) -> dict[str, float]:
    """Seconds of each stage, added up over threads; 0.0 for those that never were."""
    sums = dict.fromkeys(STAGES, 0.0)
    for span in spans:
        sums[span.stage] += span.seconds
    return sums
