"""The data of the loader benchmark: encoded images with labels, written once and kept.

32x32 PNG: CIFAR-10's training images, or generated pictures without CIFAR-10. 256x256 and 512x512 JPEG: the same images
enlarged, with noise of the 1/f spectrum of natural images (Field 1987). The noise replaces the missing detail, so that
the files are as large as photographs of that size.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

CIFAR10 = Path(__file__).parents[3] / "shared/data/cifar10/train.parquet"
CLASSES = 10
SHARDS = 16
_QUALITIES = (90, 91, 92, 93, 94, 95)
_TEXTURES = 16
_BUFFER = 1000  # the value in the documentation of webdataset and Energon


@dataclass(frozen=True)
class Workload:
    """Images of one size and format. batches: batches of an epoch, few for speed but enough for a steady state."""

    name: str
    size: int
    format: str
    batch_size: int
    batches: int

    @property
    def count(self) -> int:
        """Return the samples of an epoch."""
        return self.batch_size * self.batches

    @property
    def margin(self) -> int:
        """Return the number of batches at each end of an epoch that are not timed."""
        return self.batches // 5

    def buffer(self, workers: int) -> int:
        """Return the largest shuffle buffer whose samples, over all workers, fit the untimed end of an epoch.

        A larger buffer would hold the rest of the epoch before the clock stops. Its samples would come out without
        reading or decoding, and the measured rate would be too high.
        """
        return min(_BUFFER, self.margin * self.batch_size // (2 * max(1, workers)))


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("32x32 PNG", 32, "png", 256, 40),
        Workload("256x256 JPEG", 256, "jpg", 256, 16),
        Workload("512x512 JPEG", 512, "jpg", 64, 20),
    )
}


class Samples(Sequence[tuple[bytes, int]]):
    """Encoded images with labels, read from the folder that `make_samples` wrote."""

    def __init__(self, folder: Path) -> None:
        self.facts: dict[str, Any] = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        self.format = str(self.facts["format"])
        index = np.load(folder / "index.npz")
        self.label: NDArray[np.int64] = index["label"]
        self._ends = np.cumsum(index["size"]).tolist()
        self._data = (folder / "data").read_bytes()

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        start = self._ends[i - 1] if i else 0
        return self._data[start : self._ends[i]], int(self.label[i])

    def shards(self, count: int = SHARDS) -> Iterator[Sequence[tuple[int, bytes, int]]]:
        """Yield the samples in `count` equal parts, as triples of number, bytes and label."""
        for part in np.array_split(np.arange(len(self)), count):
            yield [(int(i), *self[int(i)]) for i in part]


def make_samples(workload: Workload, folder: Path) -> None:
    """Write data (all encoded images), index.npz (their sizes and labels) and facts.json."""
    rng = np.random.default_rng(workload.size)
    images, label, source = small_images(workload.count, rng)
    if workload.size == 32:
        encoded = [_png(image) for image in images]
    else:
        source += ", enlarged, with 1/f detail"
        encoded = [
            simplejpeg.encode_jpeg(image, quality=_QUALITIES[n % len(_QUALITIES)], colorsubsampling="420")
            for n, image in enumerate(enlarged(images, workload.size, rng))
        ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data").write_bytes(b"".join(encoded))
    sizes = np.array([len(data) for data in encoded])
    np.savez(folder / "index.npz", size=sizes, label=label)
    facts = {"format": workload.format, "source": source, "count": len(encoded), "mean_bytes": float(sizes.mean())}
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def small_images(count: int, rng: np.random.Generator) -> tuple[Sequence[NDArray[np.uint8]], NDArray[np.int64], str]:
    """Return `count` images (32, 32, 3), their labels and the name of their source."""
    if not CIFAR10.is_file():
        images = [_textured(_texture(32, rng), rng.uniform(40, 215, 3), 45) for _ in range(count)]
        return images, rng.integers(CLASSES, size=count), "generated 1/f pictures"
    import pyarrow.parquet as pq

    table = pq.read_table(CIFAR10).slice(0, count)
    files = [np.frombuffer(image["bytes"], np.uint8) for image in table["img"].to_pylist()]
    return (
        [cv2.imdecode(file, cv2.IMREAD_COLOR_RGB) for file in files],
        table["label"].to_numpy().astype(np.int64),
        "CIFAR-10",
    )


def enlarged(images: Sequence[NDArray[np.uint8]], size: int, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """Yield the images in another size, with 1/f noise for the missing detail."""
    textures = [_texture(size, rng) for _ in range(_TEXTURES)]
    for image in images:
        smooth = cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC)
        texture = np.roll(textures[int(rng.integers(_TEXTURES))], rng.integers(size, size=2), axis=(0, 1))
        yield _textured(texture, smooth, rng.uniform(8, 20))


def _texture(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return noise (size, size, 3) of unit deviation and amplitude 1/f^1.2. Four fifths are equal in all channels."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = np.inf
    phases = rng.standard_normal((4, *frequency.shape)) + 1j * rng.standard_normal((4, *frequency.shape))
    grey, *channels = np.fft.irfft2(phases / frequency**1.2, (size, size))
    noise = np.stack([0.8 * grey + 0.2 * channel for channel in channels], axis=-1)
    return np.asarray(noise / noise.std(), np.float32)


def _textured(texture: NDArray[np.float32], base: NDArray[Any], deviation: float) -> NDArray[np.uint8]:
    return np.clip(base + np.float32(deviation) * texture, 0, 255).astype(np.uint8)


def _png(image: NDArray[np.uint8]) -> bytes:
    success, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert success
    return bytes(encoded)
