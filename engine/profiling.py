"""Spans of named stages, which show where the time of a unit goes. One monotonic clock per process."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

DEVICE = ("text", "denoise", "decode", "copy")
"""Stages on the device: text encoding, denoising, decoding latents to pixels, copying pixels to the host."""
HOST = ("encode", "commit")
"""Stages on the host: filters and image encoding; writing and publishing the shard."""
STAGES = (*DEVICE, *HOST, "wait")
"""All stages; `wait` is the time in which the device has nothing to do."""


@dataclass(frozen=True, slots=True)
class Span:
    """One stage of one batch, image or unit. start and end: seconds of `time.perf_counter`."""

    stage: str
    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class StageTimer:
    """A list of spans in the order in which they ended. Threads may share it: appending to a list is atomic."""

    spans: list[Span] = field(default_factory=list)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Record a span for the block, also where it raises."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.spans.append(Span(stage, start, time.perf_counter()))


def gaps(spans: Iterable[Span], start: float, end: float) -> list[Span]:
    """Return spans of the stage `wait` where no other span is, between start and end."""
    waits, since = [], start
    for span in sorted(spans, key=lambda span: span.start):
        if span.start > since:
            waits.append(Span("wait", since, min(span.start, end)))
        since = max(since, span.end)
        if since >= end:
            return waits
    return [*waits, Span("wait", since, end)]


def totals(spans: Iterable[Span]) -> dict[str, float]:
    """Return the seconds of each stage, added up over threads."""
    sums = dict.fromkeys(STAGES, 0.0)
    for span in spans:
        sums[span.stage] += span.seconds
    return sums
