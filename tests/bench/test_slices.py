"""Slices: of several processes one works at a time, and each is charged for its own time alone."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from bench.throughput import slices
from bench.throughput.slices import Sliced, by_slices

_WORK = """
import sys, time
total, log = int(sys.argv[1]), open(sys.argv[2], "a")
while total:
    total -= 1
    began = time.monotonic()
    while time.monotonic() - began < 0.005: pass
    print(time.monotonic(), file=log, flush=True)
print("done", time.monotonic(), file=log, flush=True)
time.sleep(600)
"""
Start = Callable[[int], Sliced]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a process that works the given number of times for 5 ms each and records when."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(times: int) -> Sliced:
        log = tmp_path / str(len(started))
        log.touch()
        started.append(subprocess.Popen([sys.executable, "-c", _WORK, str(times), str(log)]))

        def ended() -> float | None:
            last = log.read_text().splitlines()[-1:]
            return float(last[0].split()[1]) if last and last[0].startswith("done") else None

        return Sliced([started[-1].pid], time.monotonic(), ended)

    yield begin
    for process in started:
        process.kill()
        process.wait()


def test_one_works_at_a_time_until_each_is_done(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_S", 0.05)
    all_ = [start(120), start(40)]
    by_slices(all_)
    for number, one in enumerate(all_):
        moments = [float(line.split()[-1]) for line in (tmp_path / str(number)).read_text().splitlines()]
        ended = one.ended()
        assert ended == moments[-1]
        began = one.slices[0][0]
        worked = [moment for moment in moments if moment > began]
        assert worked, "it was done before the first slice: nothing was tested"
        within = sum(any(a <= moment <= b for a, b in one.slices) for moment in worked)
        assert within >= 0.9 * len(worked), "a signal may come a moment late, not as a rule"
        assert 0.005 * within / 2 <= one.seconds() <= ended - began
    spans = sorted(span for worker in all_ for span in worker.slices)
    assert all(a[1] <= b[0] for a, b in pairwise(spans)), "no two at once"
    assert len(all_[0].slices) > len(all_[1].slices) > 1


def test_time_before_the_work_and_after_it_is_not_charged() -> None:
    sliced = Sliced([0], 10.0, lambda: 25.0, [(8, 9), (9, 12), (15, 20), (24, 26), (30, 31)])
    assert sliced.seconds() == 2 + 5 + 1


def test_processes_that_are_all_gone_before_the_end_are_an_error(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_S", 0.01)
    done = start(1)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with pytest.raises(ProcessLookupError):
        by_slices([done, Sliced([ended.pid], 0.0, lambda: None)])
    by_slices([Sliced([ended.pid], 0.0, lambda: 1.0)])
    remaining = start(20)
    with_one_gone = Sliced([ended.pid, *remaining.pids], remaining.began, remaining.ended)
    by_slices([with_one_gone])
    assert with_one_gone.slices, "the other works on"
