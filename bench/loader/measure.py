"""Measurements of one system, each as a line of JSON: `python -m bench.loader.measure KIND SYSTEM`.

Runs in the environment of the benchmark, so that it imports nothing of ours but `shards`.
"""

import argparse
import json
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import psutil
import torch

from bench.loader.decode import Batch
from bench.loader.systems import LIMIT, MARK, SYSTEMS
from bench.loader.workloads import WORKLOADS, Samples, Workload, make_samples

_EPOCHS = 10
_LOOKS = 8  # at the memory, in an epoch
_PARALLEL_EPOCHS = 3  # at least: with workers an edge of the timed window is a batch or two too early or too late
_TURN, _WARM_TURNS = 4, 2  # batches; turns in which files are opened, which do not count


@dataclass(frozen=True)
class Task:
    """A task of measuring. workers: processes or threads that decode, 0 for one process alone."""

    system: str
    workload: Workload
    folder: Path
    workers: int
    seconds: float

    def samples(self) -> Samples:
        """All of them, in memory."""
        found = Samples(self.folder / "samples")
        if len(found) != self.workload.count:
            raise ValueError(f"{self.folder} has {len(found)} samples, not {self.workload.count}: remove that folder")
        return found

    def settings(self) -> str:
        """Return the settings of the loader, for the table."""
        system = SYSTEMS[self.system]
        more = "; whole batches decoded in place by our decoder" if system.options else ""
        return f"{system.load_module().SETTINGS}{more}"

    def load(self) -> Iterable[Batch]:
        """The loader of the system."""
        system = SYSTEMS[self.system]
        place = self.folder / system.module
        loaded: Iterable[Batch] = system.load_module().load(place, self.workload, self.workers, **system.options)
        return loaded


def write(task: Task) -> dict[str, Any]:
    """The samples, once, and the form of one loader."""
    module = SYSTEMS[task.system].load_module()
    if not (task.folder / "samples" / "facts.json").is_file():
        make_samples(task.workload, task.folder / "samples")
    if task.system != LIMIT:
        module.write(task.samples(), task.folder / SYSTEMS[task.system].module)
    return task.samples().facts


def throughput(task: Task) -> dict[str, Any]:
    """Samples/s in the middle of epochs: a fifth of the batches of an epoch pass before the clock starts, and a fifth
    are left when it stops, so that neither the start of workers and buffers nor what they hold ready at the end counts.
    Every epoch is read to its end, and its samples and labels are checked."""
    module = SYSTEMS[task.system].load_module()
    if task.system == LIMIT:
        found = module.rates(task.samples(), task.workload.batch_size, task.workers, task.seconds)
        return {"rate": max(found.values()), "details": found, "settings": task.settings()}
    truth = Truth.of(task.samples())
    loader = task.load()
    samples, seconds, epochs = 0, 0.0, 0
    while seconds < task.seconds or (task.workers and epochs < _PARALLEL_EPOCHS):
        counted, passed = _timed_epoch(loader, task.workload, truth)
        samples, seconds, epochs = samples + counted, seconds + passed, epochs + 1
    details = {"samples": samples, "epochs": epochs}
    return {"rate": samples / seconds, "details": details, "settings": task.settings()}


def memory(task: Task) -> dict[str, Any]:
    """Megabytes of the process and its children, the largest seen in each of ten epochs: resident (shared pages count
    in every process), proportional (they count once), and anonymous (no page of a file)."""
    truth, seen = Truth.of(task.samples()), []
    loader = task.load()
    for _ in range(_EPOCHS):
        most = dict.fromkeys(("rss", "pss", "anonymous"), 0.0)
        for number, _ in enumerate(truth.checked(loader)):
            if number % max(1, task.workload.batches // _LOOKS) == 0:
                most = {name: max(most[name], value) for name, value in _memory_now().items()}
        seen.append(most)
    return {name: [epoch[name] for epoch in seen] for name in seen[0]}


def mix(task: Task) -> dict[str, Any]:
    """Samples/s of one source and of two halves mixed, in turns within this process."""
    from bench.loader.systems import shardmill

    place, size = task.folder / "shardmill", task.workload.batch_size
    sources = {"one": shardmill.one(place, size), "two": shardmill.two(place, size)}
    seconds, turns = dict.fromkeys(sources, 0.0), 0
    while min(seconds.values()) < task.seconds:
        turns += 1
        for name in sorted(sources, reverse=bool(turns % 2)):
            start = time.perf_counter()
            for _ in range(_TURN):
                next(sources[name])
            if turns > _WARM_TURNS:
                seconds[name] += time.perf_counter() - start
    samples = (turns - _WARM_TURNS) * _TURN * size
    return {name: samples / passed for name, passed in seconds.items()}


@dataclass(frozen=True)
class Truth:
    """The expected content of every epoch: number of samples, and the sum of their labels."""

    samples: int
    labels: int

    @classmethod
    def of(cls, samples: Samples) -> "Truth":
        """Return the truth of these samples."""
        return cls(len(samples), int(samples.label.sum()))

    def checked(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """One epoch. Raises ValueError where it was not this one."""
        samples = labels = 0
        for images, label in loader:
            if images.dtype != torch.uint8 or images.ndim != 4 or len(images) != len(label):
                raise ValueError(f"a batch of {images.dtype} {tuple(images.shape)} with {len(label)} labels")
            samples, labels = samples + len(label), labels + int(label.sum())
            yield images, label
        if (samples, labels) != (self.samples, self.labels):
            raise ValueError(f"{samples} samples with labels' sum {labels}, not {self.samples} and {self.labels}")


def _timed_epoch(loader: Iterable[Batch], workload: Workload, truth: Truth) -> tuple[int, float]:
    first, last = workload.margin, workload.batches - workload.margin
    samples, start, end = 0, 0.0, 0.0
    for number, (_, label) in enumerate(truth.checked(loader), 1):
        if first < number <= last:
            samples += len(label)
        if number == first:
            start = time.perf_counter()
        if number == last:
            end = time.perf_counter()
    return samples, end - start


def _memory_now() -> dict[str, float]:
    me = psutil.Process()
    found = dict.fromkeys(("rss", "pss", "anonymous"), 0.0)
    names = {"Rss": "rss", "Pss": "pss", "Anonymous": "anonymous"}
    for process in (me, *me.children(recursive=True)):
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            continue
        for line in lines:
            name, _, value = line.partition(":")
            if name in names:
                found[names[name]] += int(value.split()[0]) / 1024
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=[*(one.__name__ for one in KINDS), "serve"])
    parser.add_argument("system")
    parser.add_argument("asked", nargs="?", help="what `serve` reads from lines of its input, as JSON")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    SYSTEMS[arguments.system].load_module()
    if arguments.kind == "serve":
        serve(arguments.system)
    else:
        _say(next(one for one in KINDS if one.__name__ == arguments.kind), _task(arguments.system, arguments.request))


def serve(system: str) -> None:
    """A throughput for every line of input, each in a process that is forked when all is imported and nothing begun:
    imports take longer than most measurements."""
    for line in sys.stdin:
        fresh = get_context("fork").Process(target=_say, args=(throughput, _task(system, line)))
        fresh.start()
        fresh.join()
        if fresh.exitcode:
            sys.exit(1)


def _task(system: str, request: str) -> Task:
    fields = json.loads(request)
    return Task(system, WORKLOADS[fields["workload"]], Path(fields["folder"]), fields["workers"], fields["seconds"])


def _say(kind: Callable[[Task], dict[str, Any]], task: Task) -> None:
    try:
        print("\n" + MARK + json.dumps(kind(task)), flush=True)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    for child in psutil.Process().children(recursive=True):
        child.kill()
    os._exit(0)  # some loaders' threads and workers take seconds to end


KINDS = (write, throughput, memory, mix)

if __name__ == "__main__":
    main()
