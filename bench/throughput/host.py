"""B5: writing uint8 frames from memory to shards on one core, beside other writers.

Ours is the whole runner: filter, prompts, metadata, encoding threads, index, hashes and commit. As in an actor, a unit
is published while the next one is generated. Only the generator is fake: it returns photographs from memory. All
systems are pinned to one core, so that threads only help while they wait.
"""

import io
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.throughput.fake_device import DISTINCT, FakeDevice, FakeSettings, fake_run
from bench.throughput.frames import photographs, source
from bench.throughput.rounds import Options, by_turns
from bench.throughput.row import OURS, Row, at_least, beside, not_run
from engine.config.cluster_spec import ClusterSpec
from engine.config.output_spec import ImageSpec, OutputSpec
from engine.generators.generator import Images, Request
from engine.worker.attempts import first_attempts
from engine.worker.runner import Runner
from shards.codec import Pixels, encode_rgb

ROUNDS, SECONDS = 5, 1.0
UNITS, UNIT, FEW = 4, 256, 8
"""Shards of ours and of webdataset; images of a shard; images of PIL's PNG, which is slow."""
QUALITY = 95
_NEEDED_S = {512: 60.0, 1024: 150.0}
PER_CORE_AT_512, TO_PIL_PNG = 600, 50
_PNG, _WEBDATASET, _OURS_PNG = "PIL PNG files", "webdataset.ShardWriter, PIL JPEG", f"{OURS}, PNG"
_LIMIT = "the limit: our JPEG encoder alone, nothing judged or written"

Write = Callable[[Path], None]


def measure(options: Options) -> Iterator[Row]:
    rounds, seconds, unit = options.pick((ROUNDS, SECONDS, UNIT), (1, 0.01, 16))
    for side in options.pick((512, 1024), (64,)):
        workload = f"{side}x{side}, JPEG quality {QUALITY}"
        if options.left < (needed := _NEEDED_S.get(side, 0.0)):
            yield not_run("B5", workload, OURS, f"{options.left:.0f} s were left, and it may take {needed:.0f}")
            continue
        frames = photographs(DISTINCT, side)
        writes = {
            OURS: _Ours(side, "jpg", unit),
            _LIMIT: _Encoder(frames, unit),
            _WEBDATASET: _WebDataset(frames, unit),
            _OURS_PNG: _Ours(side, "png", unit // 4),
            _PNG: _PilPng(frames, FEW),
        }
        if find_spec("webdataset") is None:
            del writes[_WEBDATASET]
            yield not_run("B5", workload, _WEBDATASET, "webdataset is not installed")
        with one_core():
            rates = by_turns({name: _Timed(write, options.folder, seconds) for name, write in writes.items()}, rounds)
        note = f"{source()}; one core; ours with filter, metadata, index, hashes and fsync"
        if side == 512:
            yield at_least("B5", workload, rates[OURS], "images/s a core", PER_CORE_AT_512, note)
        targets = {name: least for name, least in ((_PNG, TO_PIL_PNG), (_WEBDATASET, 1.0)) if name in rates}
        yield from beside("B5", workload, rates, targets, "images/s a core", note)


@contextmanager
def one_core() -> Iterator[None]:
    """Pin this process and the threads that it starts to one core, if the system supports it."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@dataclass(frozen=True)
class _Timed:
    """A measurement: images per second of a write, repeated into new folders for some seconds."""

    write: Any
    folder: Path
    seconds: float

    def __call__(self) -> float:
        images, seconds = 0, 0.0
        while seconds <= self.seconds:
            with TemporaryDirectory(dir=self.folder) as place:
                began = time.perf_counter()
                self.write(Path(place))
                seconds += time.perf_counter() - began
            images += self.write.images
        return images / seconds


class _MemoryDevice(FakeDevice):
    """A fake device that returns its frames without a copy, because the peers copy nothing either."""

    def generate(self, requests: Sequence[Request]) -> Images:
        return Images(self._frames[: len(requests)])


class _Ours:
    def __init__(self, side: int, format: str, unit: int) -> None:
        self.images = UNITS * unit
        self._model = FakeSettings(seconds=0.0, side=side, batch_size=DISTINCT)
        self._output = OutputSpec(samples_per_shard=unit, image=ImageSpec(format=format, quality=QUALITY))
        self._device = _MemoryDevice(self._model, self._output.image, ClusterSpec())

    def __call__(self, place: Path) -> None:
        run = fake_run(str(place), self.images, self._output, ClusterSpec(), self._model)
        with ThreadPoolExecutor(1) as publisher, Runner(run.context, self._device, run.shards) as runner:
            units = [runner.offer(first_attempts(run.context, number)) for number in range(UNITS)]
            published = [publisher.submit(lambda unit=unit: unit.result().publish()) for unit in units]
            runner.run()
        kept = sum(stats.result()["count"] for stats in published)
        assert kept == self.images, f"only {kept} of {self.images} images were kept"


@dataclass(frozen=True)
class _Encoder:
    frames: Pixels
    images: int

    def __call__(self, place: Path) -> None:
        for number in range(self.images):
            encode_rgb(self.frames[number % DISTINCT], "jpg", QUALITY)


@dataclass(frozen=True)
class _PilPng:
    frames: Pixels
    images: int

    def __call__(self, place: Path) -> None:
        from PIL import Image

        for number in range(self.images):
            Image.fromarray(self.frames[number % DISTINCT]).save(place / f"{number:05d}.png")


@dataclass(frozen=True)
class _WebDataset:
    frames: Pixels
    unit: int

    @property
    def images(self) -> int:
        return UNITS * self.unit

    def __call__(self, place: Path) -> None:
        import webdataset
        from PIL import Image

        with webdataset.ShardWriter(str(place / "%05d.tar"), maxcount=self.unit, verbose=0) as writer:
            for number in range(self.images):
                data, label = io.BytesIO(), number % 10
                Image.fromarray(self.frames[number % DISTINCT]).save(data, "JPEG", quality=QUALITY)
                meta = {"key": f"{number:09d}", "label": label, "prompt": f"class {label}", "seed": number}
                writer.write({"__key__": meta["key"], "jpg": data.getvalue(), "cls": label, "json": meta})
