"""Sources of real images, and splits that never share an image."""

import io
import json
import pickle
import tarfile
from collections.abc import Callable
from hashlib import md5
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.data_spec import SplitSpec
from engine.data.open_source import open_source
from engine.data.real_image import RealImage, RealSet
from engine.data.splits import SPLITS, divide, load_splits
from engine.errors import DataError
from shards.codec import encode_rgb
from tests.optional import CIFAR10, needs_cifar10
from tests.specs import data_spec


def picture(number: int, size: int = 8) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 255, (size, size, 3), dtype=np.uint8)
    return encode_rgb(pixels, "png")


def image(label: int, data: bytes, origin: str = "") -> RealImage:
    return RealImage(label, str(label), origin, lambda: data)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40)), max_size=120),
    st.lists(st.integers(0, 10), min_size=4, max_size=4).filter(any),
    st.randoms(use_true_random=False),
)
def test_splits_are_disjoint_complete_and_independent_of_order(
    pairs: list[tuple[int, int]], tenths: list[int], random: "np.random.Generator"
) -> None:
    # The label is part of the content, so that duplicates have equal labels.
    images = [image(label, b"%d %d" % (label, content)) for label, content in pairs]
    spec = data_spec(
        source="digits",
        splits=SplitSpec(**{n: share / sum(tenths) for n, share in zip(SPLITS, tenths, strict=True)}),
    )
    splits = divide(RealSet(("0", "1", "2"), tuple(images)), spec)
    parts = [{image.digest for image in splits[name]} for name in SPLITS]
    assert sum(map(len, parts)) == len(set().union(*parts)) == len({image.digest for image in images})
    assert splits.duplicates == len(images) - sum(map(len, parts))
    random.shuffle(images)
    again = divide(RealSet(("0", "1", "2"), tuple(images)), spec)
    assert [[image.digest for image in again[name]] for name in SPLITS] == [
        [image.digest for image in splits[name]] for name in SPLITS
    ]


def test_shares_hold_in_every_class_and_train_can_be_cut_short() -> None:
    images = tuple(image(label, b"%d %d" % (label, k)) for label in range(2) for k in range(200))
    spec = data_spec(source="digits", splits=SplitSpec(world=0.5, train=0.1, validation=0.25, test=0.15))
    splits = divide(RealSet(("a", "b"), images), spec)
    assert [splits.counts(name) for name in SPLITS] == [(100, 100), (20, 20), (50, 50), (30, 30)]
    short = divide(RealSet(("a", "b"), images), spec.model_copy(update={"train_per_class": 7}))
    assert [short.counts(name) for name in SPLITS] == [(100, 100), (7, 7), (50, 50), (30, 30)]
    assert {image.digest for image in short.train} <= {image.digest for image in splits.train}


def test_a_held_out_set_judges_and_nothing_of_it_trains() -> None:
    images = tuple(image(0, b"%d" % k) for k in range(10))
    held_out = tuple(image(0, b"%d" % k) for k in range(8, 18))
    splits = divide(RealSet(("a",), images, held_out), data_spec(source="digits"))
    judged = {image.digest for image in (*splits.validation, *splits.test)}
    assert judged == {image.digest for image in held_out}
    assert len(splits.world) + len(splits.train) == 8
    assert splits.duplicates == 2


def test_classes_can_be_chosen_and_thinned() -> None:
    spec = data_spec(
        source="digits", classes=("nine", "one"), splits=SplitSpec(world=0, train=0.5, validation=0.5, test=0),
        train_share={"one": 0.1},
    )  # fmt: skip
    splits, whole = load_splits(spec), load_splits(spec.model_copy(update={"train_share": {}}))
    assert splits.classes == ("nine", "one")
    assert {(image.label, image.class_name) for image in whole.train} == {(0, "nine"), (1, "one")}
    nines, ones = whole.counts("train")
    assert splits.counts("train") == (nines, round(0.1 * ones))
    assert [image.digest for image in splits.validation] == [image.digest for image in whole.validation]
    assert {image.digest for image in splits.train} < {image.digest for image in whole.train}
    for wrong in ({"classes": ("nine", "onee")}, {"train_share": {"onee": 0.1}}):
        with pytest.raises(DataError, match=f"data.{next(iter(wrong))}: there is no class 'onee'; did you mean one?"):
            load_splits(spec.model_copy(update=wrong))


def test_one_image_with_two_labels_is_an_error() -> None:
    with pytest.raises(DataError, match=r"first.*second|second.*first"):
        divide(RealSet(("a", "b"), (image(0, b"x", "first"), image(1, b"x", "second"))), data_spec(source="digits"))


def test_digits_have_all_images() -> None:
    real = open_source(data_spec(source="digits"))
    assert len(real.images) == 1797
    assert real.images[0].pixels().shape == (8, 8, 3)
    assert real.classes[real.images[13].label] == "three"


def test_digits_splits_share_no_pixels() -> None:
    splits = load_splits(data_spec(source="digits"))
    pixels = [{image.pixels().tobytes() for image in splits[name]} for name in SPLITS]
    assert sum(map(len, pixels)) == len(set().union(*pixels)) == 1797


def make_imagefolder(root: Path) -> Path:
    for label, name in enumerate(("sea lion", "zebra")):
        for k in range(3):
            path = root / name / "deep" / f"{k}.PNG"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(10 * label + k))
    (root / "zebra" / "notes.txt").write_text("not an image")
    return root


def make_parquet(root: Path, names: bool = True) -> Path:
    features = {"info": {"features": {"label": {"names": ["sea lion", "zebra"], "_type": "ClassLabel"}}}}
    rows = {
        "img": [{"bytes": picture(10 * label + k), "path": None} for label in range(2) for k in range(3)],
        "label": [label for label in range(2) for _ in range(3)],
    }
    table = pa.table(rows)
    if names:
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    root.mkdir(exist_ok=True)
    pq.write_table(table, root / "0.parquet")
    return root


def make_webdataset(
    root: Path,
    meta: dict[str, object] | None = None,
    drop: str = "",
    names: tuple[str, ...] = ("sea lion", "zebra"),
    file: str = "0.tar",
) -> Path:
    root.mkdir(exist_ok=True)
    with tarfile.open(root / file, "w", format=tarfile.GNU_FORMAT) as tar:
        for label, name in enumerate(names):
            for k in range(3):
                members = {
                    "png": picture(10 * label + k),
                    "cls": str(label).encode(),
                    "json": json.dumps({"class_name": name} | (meta or {})).encode(),
                }
                for extension, data in members.items():
                    if extension != drop:
                        info = tarfile.TarInfo(f"some/folder/{label}{k}.{extension}")
                        info.size = len(data)
                        tar.addfile(info, io.BytesIO(data))
    return root


def numbered_otherwise(root: Path) -> Path:
    return make_webdataset(make_webdataset(root), names=("zebra", "sea lion"), file="1.tar")


@pytest.mark.parametrize(
    ("source", "make"), [("imagefolder", make_imagefolder), ("parquet", make_parquet), ("webdataset", make_webdataset)]
)
def test_every_kind_of_source_gives_the_same_images(source: str, make: Callable[[Path], Path], tmp_path: Path) -> None:
    real = open_source(data_spec(source=source, path=str(make(tmp_path / "data"))))  # type: ignore[arg-type]
    assert real.classes == ("sea lion", "zebra")
    assert {(image.label, image.read()) for image in real.images} == {
        (label, picture(10 * label + k)) for label in range(2) for k in range(3)
    }
    assert all(image.class_name == real.classes[image.label] for image in real.images)


def test_parquet_without_names_has_its_labels_as_names(tmp_path: Path) -> None:
    assert open_source(data_spec(source="parquet", path=str(make_parquet(tmp_path, names=False)))).classes == ("0", "1")


@pytest.mark.parametrize(
    ("spec", "make", "word"),
    [
        ({"source": "imagefolder"}, None, "not a folder"),
        ({"source": "imagefolder"}, Path.mkdir, "no image"),
        ({"source": "parquet"}, None, "no parquet file"),
        ({"source": "parquet", "image_column": "picture"}, make_parquet, "picture.*img, label"),
        ({"source": "parquet", "image_column": "label"}, make_parquet, "struct"),
        ({"source": "webdataset"}, None, "no tar"),
        ({"source": "webdataset"}, lambda path: make_webdataset(path, {"synthetic": True}), "synthetic"),
        ({"source": "webdataset"}, lambda path: make_webdataset(path, drop="cls"), "no .cls"),
        ({"source": "webdataset"}, lambda path: make_webdataset(path, drop="png"), "no image"),
        ({"source": "webdataset"}, lambda path: make_webdataset(path, names=("a", "b", "a")), "0 and 2 are both .*'a'"),
        ({"source": "webdataset"}, numbered_otherwise, r"1\.tar.*label 0 is 'zebra' here and 'sea lion' in samples"),
    ],
)
def test_errors_name_what_is_wrong_with_a_source(
    spec: dict[str, str], make: Callable[[Path], object] | None, word: str, tmp_path: Path
) -> None:
    if make is not None:
        make(tmp_path / "data")
    with pytest.raises(DataError, match=word):
        open_source(data_spec(path=str(tmp_path / "data"), **spec))  # type: ignore[arg-type]


@pytest.mark.parametrize("data", [b"", b"no image", picture(1)[:60]])
def test_a_corrupt_image_is_named(data: bytes) -> None:
    with pytest.raises(DataError, match=r"cats/7.png: corrupt image .*remove it"):
        image(0, data, "cats/7.png").pixels()


def test_torchvisions_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files have the format that torchvision reads, and its checksums are replaced by theirs."""
    import torchvision.datasets as datasets

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    random = np.random.default_rng(0)
    names = [name for name, _ in (*datasets.CIFAR10.train_list, *datasets.CIFAR10.test_list)]
    sums = {}
    for name in [*names, "batches.meta"]:
        content: dict[str, object] = {
            "data": random.integers(0, 255, (4, 3072), dtype=np.uint8),
            "labels": [0, 1, 2, 3],
            "label_names": [f"class{i}" for i in range(10)],
        }
        (folder / name).write_bytes(pickle.dumps(content))
        sums[name] = md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [[n, sums[n]] for n in names if n != "test_batch"])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setitem(datasets.CIFAR10.meta, "md5", sums["batches.meta"])
    real = open_source(data_spec(source="cifar10", path=str(tmp_path)))
    assert (len(real.images), len(real.held_out), real.classes[3]) == (20, 4, "class3")
    assert real.images[2].label == 2
    assert real.images[2].pixels().shape == (32, 32, 3)


@needs_cifar10
def test_real_cifar10_from_hub_style_parquet() -> None:
    spec = data_spec(source="parquet", path=str(CIFAR10 / "train.parquet"), held_out=str(CIFAR10 / "test.parquet"))
    splits = load_splits(spec)
    assert splits.classes[:3] == ("airplane", "automobile", "bird")
    assert sum(len(splits[name]) for name in SPLITS) + splits.duplicates == 60_000
    digests = [{image.digest for image in splits[name]} for name in SPLITS]
    assert len(set().union(*digests)) == sum(map(len, digests))
    assert splits.validation[0].pixels().shape == (32, 32, 3)
