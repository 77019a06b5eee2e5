"""The readers of other packages read every image of our shards with its right label."""

import gc
import io
import json
import tarfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shards import ShardStream
from tests.conftest import start_ray

Found = dict[str, tuple[int, bytes]]
"""For each key the label and the pixels, as bytes of (32, 32, 3)."""


@pytest.fixture(scope="module")
def folder(tiny_run: Path) -> Path:
    return tiny_run / "shards"


@pytest.fixture(scope="module")
def truth(folder: Path) -> Found:
    """Return the samples as our own reader reads them."""
    batches = ShardStream(folder, shuffle=False).batches(64)
    samples = {
        key: (int(label), image.tobytes())
        for b in batches
        for key, label, image in zip(b.key, b.label, b.image, strict=True)
    }
    assert len(samples) == 120
    assert len({pixels for _, pixels in samples.values()}) == 120, "all images of this test must differ"
    return samples


def pixels(image: Image.Image) -> bytes:
    return np.asarray(image.convert("RGB")).tobytes()


def opened(data: bytes) -> bytes:
    return pixels(Image.open(io.BytesIO(data)))


def by_tarfile(folder: Path) -> Iterator[tuple[str, int, bytes]]:
    for path in sorted(folder.glob("*.tar")):
        members: dict[str, dict[str, bytes]] = {}
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, extension = member.name.partition(".")
                members.setdefault(key, {})[extension] = tar.extractfile(member).read()
        for key, samples in members.items():
            assert json.loads(samples["json"])["prompt"] == samples["txt"].decode()
            yield key, int(samples["cls"]), opened(samples["png"])


def by_webdataset(folder: Path) -> Iterator[tuple[str, int, bytes]]:
    from webdataset import WebDataset

    urls = [str(path) for path in sorted(folder.glob("*.tar"))]
    for sample in WebDataset(urls, shardshuffle=False).decode("pil"):
        assert sample["json"]["label"] == sample["cls"]
        yield sample["__key__"], sample["cls"], pixels(sample["png"])


def by_hub_datasets(folder: Path) -> Iterator[tuple[str, int, bytes]]:
    from datasets import load_dataset

    for row in load_dataset(str(folder), split="train", cache_dir=str(folder.parent / "hub-cache")):
        assert row["json"]["key"] == row["__key__"]
        assert row["json"]["label"] == row["cls"]
        yield row["__key__"], row["cls"], pixels(row["png"])


def by_ray_data(folder: Path) -> Iterator[tuple[str, int, bytes]]:
    import ray

    start_ray()
    paths = [str(path) for path in sorted(folder.glob("*.tar"))]
    for row in ray.data.read_webdataset(paths).iter_rows():
        assert row["json"]["prompt"] == row["txt"]
        yield row["__key__"], row["cls"], row["png"].tobytes()


def by_timm(folder: Path) -> Iterator[tuple[str, int, bytes]]:
    from timm.data import create_dataset

    data = create_dataset("wds/tiny", root=str(folder), split="train")
    assert len(data) == 120
    # timm gives no keys: the reader below it does, and both must tell the same story.
    plain = [(int(label), pixels(image)) for image, label in data]
    for (label, image), sample in zip(plain, data.reader.ds, strict=True):
        key = json.loads(sample["json"])["key"]
        assert (int(sample["target"]), pixels(sample["image"])) == (label, image)
        yield key, label, image


leaves_files_open = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
sets_what_it_deprecates = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")


@pytest.mark.parametrize(
    "read",
    [
        by_tarfile,
        pytest.param(by_webdataset, marks=leaves_files_open),
        by_hub_datasets,
        pytest.param(by_ray_data, marks=sets_what_it_deprecates),
        pytest.param(by_timm, marks=leaves_files_open),
    ],
)
def test_reader_gives_every_image_with_its_label(
    read: Callable[[Path], Iterator[tuple[str, int, bytes]]], folder: Path, truth: Found
) -> None:
    rows = list(read(folder))
    gc.collect()  # so that what the client left open is warned of here, where that is allowed
    assert len(rows) == len(truth)
    assert {key: (label, image) for key, label, image in rows} == truth


def test_hub_reader_keeps_every_field_and_its_type(folder: Path) -> None:
    from datasets import load_dataset

    rows = load_dataset(str(folder), split="train", cache_dir=str(folder.parent / "hub-cache"))
    for row in rows:
        with tarfile.open(folder / f"{row['__key__'][:5]}.tar") as tar:
            written = json.loads(tar.extractfile(f"{row['__key__']}.json").read())
        assert row["json"] == written
        assert {name: type(value) for name, value in row["json"].items()} == {k: type(v) for k, v in written.items()}


@leaves_files_open
def test_open_clip_counts_the_samples_of_the_shards_it_is_given(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        from open_clip_train.data import get_dataset_size

    assert get_dataset_size(str(folder / "{00000..00017}.tar")) == (120, 18)
    assert get_dataset_size(str(folder / "{00000..00001}.tar")) == (14, 2)
    assert get_dataset_size(str(folder / "00017.tar")) == (1, 1)
    gc.collect()
