"""Times of a batch's stages on its device, in seconds of the clock of `engine.profiling`."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from threading import Lock
from typing import Any

import torch

from engine.profiling import Span


class DeviceStages:
    """The stages of one generator, which one thread runs. Each ends when the next begins, so they never overlap."""

    def __init__(self, device: str) -> None:
        self._clock: Any = _GpuClock() if device == "cuda" else _HostClock()
        self._current: str | None = None
        self._marks: list[tuple[str | None, Any]] = []

    def begin(self, stage: str | None) -> None:
        """End the current stage and begin this one; None begins no stage."""
        self._current = stage
        self._marks.append((stage, self._clock.mark()))

    @contextmanager
    def during(self, stage: str) -> Iterator[None]:
        """Make the block this stage, and return to the stage before it."""
        before = self._current
        self.begin(stage)
        try:
            yield
        finally:
            self.begin(before)

    def take_spans(self) -> Callable[[], tuple[Span, ...]]:
        """Remove the marks and return a function that computes their spans. Call it after the device passed them."""
        stages, marks = zip(*self._marks, strict=True)
        self._marks = []
        return lambda: _spans(stages, self._clock.seconds(marks))


def _spans(stages: Sequence[str | None], times: Sequence[float]) -> tuple[Span, ...]:
    """Return a span for each stage and the times of its beginning and end; equal neighbours become one."""
    spans: list[Span] = []
    for stage, (start, end) in zip(stages, pairwise(times), strict=False):
        if spans and spans[-1].stage == stage and spans[-1].end == start:
            spans[-1] = Span(stage, spans[-1].start, end)
        elif stage is not None:
            spans.append(Span(stage, start, end))
    return tuple(spans)


class _HostClock:
    def mark(self) -> float:
        return time.perf_counter()

    def seconds(self, marks: Sequence[float]) -> Sequence[float]:
        return marks


class _GpuClock:
    """Converts events of the current stream to the host's clock. A mark is an event, and when the host recorded it."""

    def __init__(self) -> None:
        event, _ = self.mark()
        event.synchronize()
        self._reference, self._lock = (event, time.perf_counter()), Lock()

    def mark(self) -> tuple[Any, float]:
        event, recorded = torch.cuda.Event(enable_timing=True), time.perf_counter()
        event.record()
        return event, recorded

    def seconds(self, marks: Sequence[tuple[Any, float]]) -> Sequence[float]:
        now, first = time.perf_counter(), marks[0][0]
        offsets = [first.elapsed_time(event) / 1e3 for event, _ in marks]
        # Each batch is the next one's reference: over hours, the single precision of the time between two events would
        # be milliseconds.
        with self._lock:
            event, moment = self._reference
            start = moment + event.elapsed_time(first) / 1e3
            # The clocks may drift apart, but the device reaches a mark after its recording and before the host asks.
            start = max(start, *(recorded - offset for (_, recorded), offset in zip(marks, offsets, strict=True)))
            start = min(start, now - offsets[-1])
            self._reference = first, start
        return [start + offset for offset in offsets]
