"""Measurements of one system, each printed as a line of JSON: `python -m bench.loader.measure KIND SYSTEM`.

This module runs in the environment of the benchmark, so of our packages it imports only `shards`.
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
_MEMORY_READINGS = 8  # per epoch
# With workers, each edge of the timed window is off by a batch or two, so several epochs are averaged.
_MIN_PARALLEL_EPOCHS = 3
_TURN_BATCHES, _WARM_TURNS = 4, 2  # files are opened in the first turns, which are not timed


@dataclass(frozen=True)
class Task:
    """The parameters of a measurement.

    workers: processes or threads that decode; 0 to decode in the main process.
    seconds: least duration of the timed part.
    """

    system: str
    workload: Workload
    folder: Path
    workers: int
    seconds: float

    def samples(self) -> Samples:
        """Read all samples to memory. Raises ValueError if they are of another size of the workload."""
        samples = Samples(self.folder / "samples")
        if len(samples) != self.workload.count:
            raise ValueError(f"{self.folder} has {len(samples)} samples, not {self.workload.count}: remove that folder")
        return samples

    def settings(self) -> str:
        """Describe the settings of the system, for the table."""
        system = SYSTEMS[self.system]
        suffix = "; whole batches decoded in place by our decoder" if system.options else ""
        return f"{system.load_module().SETTINGS}{suffix}"

    def load(self) -> Iterable[Batch]:
        """Return the loader of the system."""
        system = SYSTEMS[self.system]
        place = self.folder / system.module
        loader: Iterable[Batch] = system.load_module().load(place, self.workload, self.workers, **system.options)
        return loader


def write(task: Task) -> dict[str, Any]:
    """Write the samples if they are missing, and the format of one loader; return facts of the samples."""
    module = SYSTEMS[task.system].load_module()
    if not (task.folder / "samples" / "facts.json").is_file():
        make_samples(task.workload, task.folder / "samples")
    if task.system != LIMIT:
        module.write(task.samples(), task.folder / SYSTEMS[task.system].module)
    return task.samples().facts


def throughput(task: Task) -> dict[str, Any]:
    """Measure samples/s in the middle of epochs.

    The clock starts after a fifth of the batches of an epoch and stops before the last fifth. So neither the start of
    workers nor the buffered batches at the end count. Every epoch is read to its end, and its labels are checked.
    """
    module = SYSTEMS[task.system].load_module()
    if task.system == LIMIT:
        rates = module.rates(task.samples(), task.workload.batch_size, task.workers, task.seconds)
        return {"rate": max(rates.values()), "details": rates, "settings": task.settings()}
    truth = Truth.of(task.samples())
    loader = task.load()
    samples, seconds, epochs = 0, 0.0, 0
    while seconds < task.seconds or (task.workers and epochs < _MIN_PARALLEL_EPOCHS):
        counted, passed = _timed_epoch(loader, task.workload, truth)
        samples, seconds, epochs = samples + counted, seconds + passed, epochs + 1
    details = {"samples": samples, "epochs": epochs}
    return {"rate": samples / seconds, "details": details, "settings": task.settings()}


def memory(task: Task) -> dict[str, Any]:
    """Measure the memory of the process and its children in ten epochs; return the peak megabytes of each epoch.

    rss counts shared pages in every process, pss counts them once, anonymous counts no pages of files.
    """
    truth, peaks = Truth.of(task.samples()), []
    loader = task.load()
    for _ in range(_EPOCHS):
        peak = dict.fromkeys(("rss", "pss", "anonymous"), 0.0)
        for number, _ in enumerate(truth.checked(loader)):
            if number % max(1, task.workload.batches // _MEMORY_READINGS) == 0:
                peak = {name: max(peak[name], value) for name, value in _memory_now().items()}
        peaks.append(peak)
    return {name: [peak[name] for peak in peaks] for name in peaks[0]}


def mix(task: Task) -> dict[str, Any]:
    """Measure samples/s of one source and of a mix of its two halves, in turn within this process."""
    from bench.loader.systems import shardmill

    place, size = task.folder / "shardmill", task.workload.batch_size
    sources = {"one": shardmill.one_source(place, size), "two": shardmill.two_sources(place, size)}
    seconds, turns = dict.fromkeys(sources, 0.0), 0
    while min(seconds.values()) < task.seconds:
        turns += 1
        for name in sorted(sources, reverse=bool(turns % 2)):
            start = time.perf_counter()
            for _ in range(_TURN_BATCHES):
                next(sources[name])
            if turns > _WARM_TURNS:
                seconds[name] += time.perf_counter() - start
    samples = (turns - _WARM_TURNS) * _TURN_BATCHES * size
    return {name: samples / passed for name, passed in seconds.items()}


@dataclass(frozen=True)
class Truth:
    """The expected content of every epoch: the number of samples and the sum of their labels."""

    samples: int
    labels: int

    @classmethod
    def of(cls, samples: Samples) -> "Truth":
        """Return the truth of these samples."""
        return cls(len(samples), int(samples.label.sum()))

    def checked(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches of one epoch. Raises ValueError if a batch or the epoch is wrong."""
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
    main_process = psutil.Process()
    megabytes = dict.fromkeys(("rss", "pss", "anonymous"), 0.0)
    names = {"Rss": "rss", "Pss": "pss", "Anonymous": "anonymous"}
    for process in (main_process, *main_process.children(recursive=True)):
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
        except (FileNotFoundError, ProcessLookupError):  # the process has exited
            continue
        for line in lines:
            name, _, value = line.partition(":")
            if name in names:
                megabytes[names[name]] += int(value.split()[0]) / 1024
    return megabytes


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=[*KINDS, "serve"])
    parser.add_argument("system")
    parser.add_argument("task", nargs="?", help="JSON of the task; `serve` reads tasks from lines of its input instead")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    SYSTEMS[arguments.system].load_module()
    if arguments.kind == "serve":
        serve(arguments.system)
    else:
        _run_and_exit(KINDS[arguments.kind], _parse_task(arguments.system, arguments.task))


def serve(system: str) -> None:
    """Measure the throughput for every line of input.

    Each measurement forks a process after the imports, which take longer than most measurements.
    """
    for line in sys.stdin:
        child = get_context("fork").Process(target=_run_and_exit, args=(throughput, _parse_task(system, line)))
        child.start()
        child.join()
        if child.exitcode:
            sys.exit(1)


def _parse_task(system: str, text: str) -> Task:
    task = json.loads(text)
    return Task(system, WORKLOADS[task["workload"]], Path(task["folder"]), task["workers"], task["seconds"])


def _run_and_exit(kind: Callable[[Task], dict[str, Any]], task: Task) -> None:
    try:
        print("\n" + MARK + json.dumps(kind(task)), flush=True)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    for child in psutil.Process().children(recursive=True):
        child.kill()
    os._exit(0)  # at once: threads and workers of some loaders take seconds to stop


KINDS = {kind.__name__: kind for kind in (write, throughput, memory, mix)}

if __name__ == "__main__":
    main()
