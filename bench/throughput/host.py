"""B5: uint8 frames that lie in memory to shards, on one core, beside what a user would write.

Ours is the runner itself, with its filter, prompts, metadata, encoding threads, index, hashes and commit, a unit being
published while the next is made, as in an actor; only the generator is none: it gives photographs that lie in memory.
All are held on one core, so that threads gain nothing but what they wait for.
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
"""Shards that ours and webdataset write at once; images of each; and those of PNG, which takes so long."""
QUALITY = 95
_NEEDED_S = {512: 60.0, 1024: 150.0}
PER_CORE_AT_512, TO_PIL_PNG = 600, 50
_PNG, _WEBDATASET, _OURS_PNG = "PIL PNG files", "webdataset.ShardWriter, PIL JPEG", f"{OURS}, PNG"
_LIMIT = "the limit: our JPEG encoder alone, nothing judged or written"

Write = Callable[[Path], None]


def measure(options: Options) -> Iterator[Row]:
    rounds, seconds, unit = options.pick((ROUNDS, SECONDS, UNIT), (1, 0.01, 16))
    for side in options.pick((512, 1024), (64,)):
        about = f"{side}x{side}, JPEG quality {QUALITY}"
        if options.left < (needed := _NEEDED_S.get(side, 0.0)):
            yield not_run("B5", about, OURS, f"{options.left:.0f} s were left, and it may take {needed:.0f}")
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
            yield not_run("B5", about, _WEBDATASET, "webdataset is not installed")
        with one_core():
            rates = by_turns({name: _Timed(one, options.folder, seconds) for name, one in writes.items()}, rounds)
        note = f"{source()}; one core; ours with filter, metadata, index, hashes and fsync"
        if side == 512:
            yield at_least("B5", about, rates[OURS], "images/s a core", PER_CORE_AT_512, note)
        targets = {name: least for name, least in ((_PNG, TO_PIL_PNG), (_WEBDATASET, 1.0)) if name in rates}
        yield from beside("B5", about, rates, targets, "images/s a core", note)


@contextmanager
def one_core() -> Iterator[None]:
    """This process, and the threads that it starts, on one core; where the system can do that."""
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
    """Images per second of a write into new folders, again and again for some seconds."""

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


class _Memory(FakeDevice):
    """Gives the frames that lie there, as the peers find them: copies of them would be part of our time alone."""

    def generate(self, requests: Sequence[Request]) -> Images:
        return Images(self._frames[: len(requests)])


class _Ours:
    def __init__(self, side: int, format: str, unit: int) -> None:
        self.images = UNITS * unit
        self._model = FakeSettings(seconds=0.0, side=side, batch_size=DISTINCT)
        self._output = OutputSpec(samples_per_shard=unit, image=ImageSpec(format=format, quality=QUALITY))
        self._device = _Memory(self._model, self._output.image, ClusterSpec())

    def __call__(self, place: Path) -> None:
        run = fake_run(str(place), self.images, self._output, ClusterSpec(), self._model)
        with ThreadPoolExecutor(1) as aside, Runner(run.context, self._device, run.shards) as runner:
            made = [runner.offer(first_attempts(run.context, number)) for number in range(UNITS)]
            published = [aside.submit(lambda unit=unit: unit.result().publish()) for unit in made]
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
                facts = {"key": f"{number:09d}", "label": label, "prompt": f"class {label}", "seed": number}
                writer.write({"__key__": facts["key"], "jpg": data.getvalue(), "cls": label, "json": facts})
