"""Where a batch's time goes on its device, on the clock of `engine.profiling`."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from threading import Lock
from typing import Any

import torch

from engine.profiling import Span


class DeviceStages:
    """The stages of one generator, which one thread runs. Each ends where the next begins, so that none overlap.

    On a GPU the marks are events in its streams: nothing waits for them, and they say when the device came by.
    """

    def __init__(self, device: str) -> None:
        self._clock: Any = _GpuClock() if device == "cuda" else _HostClock()
        self._now: str | None = None
        self._marks: list[tuple[str | None, Any]] = []

    def enter(self, stage: str | None) -> None:
        """End the stage before, and begin this one; None is none."""
        self._now = stage
        self._marks.append((stage, self._clock.mark()))

    @contextmanager
    def within(self, stage: str) -> Iterator[None]:
        """The body is this stage, and after it goes on what was before."""
        before = self._now
        self.enter(stage)
        try:
            yield
        finally:
            self.enter(before)

    def take(self) -> Callable[[], tuple[Span, ...]]:
        """What was marked since it was last taken. The spans may be asked for when the device has passed the marks."""
        stages, marks = zip(*self._marks, strict=True)
        self._marks = []
        return lambda: _spans(stages, self._clock.seconds(marks))


def _spans(stages: Sequence[str | None], moments: Sequence[float]) -> tuple[Span, ...]:
    """One for each stage and the moments of its beginning and end; equal neighbours are one."""
    found: list[Span] = []
    for stage, (start, end) in zip(stages, pairwise(moments), strict=False):
        if found and found[-1].stage == stage and found[-1].end == start:
            found[-1] = Span(stage, found[-1].start, end)
        elif stage is not None:
            found.append(Span(stage, start, end))
    return tuple(found)


class _HostClock:
    def mark(self) -> float:
        return time.perf_counter()

    def seconds(self, marks: Sequence[float]) -> Sequence[float]:
        return marks


class _GpuClock:
    """Events of the current stream in seconds of the host's clock. A mark is an event, and when the host asked for it.

    The two clocks may drift apart over hours, so each batch is put where it can have been: the device comes
    by a mark after the host asked for it, and before the host knows that it did.
    """

    def __init__(self) -> None:
        event, _ = self.mark()
        event.synchronize()
        self._known, self._lock = (event, time.perf_counter()), Lock()

    def mark(self) -> tuple[Any, float]:
        event, asked = torch.cuda.Event(enable_timing=True), time.perf_counter()
        event.record()
        return event, asked

    def seconds(self, marks: Sequence[tuple[Any, float]]) -> Sequence[float]:
        now, first = time.perf_counter(), marks[0][0]
        since = [first.elapsed_time(event) / 1e3 for event, _ in marks]
        # From batch to batch: over hours, the single precision of a time between two events would be milliseconds.
        with self._lock:
            event, moment = self._known
            start = moment + event.elapsed_time(first) / 1e3
            start = max(start, *(asked - later for (_, asked), later in zip(marks, since, strict=True)))
            start = min(start, now - since[-1])
            self._known = first, start
        return [start + later for later in since]
