"""Exports: every image with its bytes, label and facts, as the readers of others see them."""

import io
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engine.data.class_folders import class_name, folder_names
from engine.data.open_source import open_source
from engine.errors import OutputError, SpecError
from engine.export import coco, output_folder, parquet_files
from engine.export.export_samples import FORMS, Form, export
from engine.export.export_splits import assign_shares, split_by_shares, parse_shares, whole_split, split_with_real
from engine.export.shard_reader import open_shard_folder, read_samples
from jobs.__main__ import main
from shards.errors import NotReal, ShardError
from shards.sample import Sample
from shards.storage.commit import sha256_of
from shards.storage.manifest import finished_tars
from tests.engine.shardsets import PALETTE, make_shards, mask_of, masked, plain_shards, sample
from tests.specs import data_spec

CLASSES = ("zebra", "sea lion", "größe")
# What would escape, hide, collide, or be taken for something else.
HOSTILE = (
    "..", ".", "/etc", "a/../../b", "a\\b", "con", "a\nb", "tab\t", "Cat", "cat", "CAT", "README.md", "metadata.jsonl",
    "train", "50%2F50", "50%", "50/50", "__init__", ".git", "dot.", " space ", "größe", "gro\u0308ße", "*?[x]",
    "a,b\u2028",
)  # fmt: skip


def exported(folder: Path, out: Path, form: str, *more: str) -> Path:
    assert main(["export", str(folder), "--to", form, "--out", str(out), *more]) == 0
    return out


def stored(folder: Path) -> Iterator[Sample]:
    for tar in finished_tars(folder):
        yield from read_samples(tar, range(pq.read_metadata(tar.with_suffix(".parquet")).num_rows))


def files(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return plain_shards(tmp_path / "shards", CLASSES)


# Names


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12), unique=True, max_size=8))
def test_folder_names_are_safe_distinct_and_reversible(classes: list[str]) -> None:
    check_names(classes)


def test_hostile_names() -> None:
    check_names(list(HOSTILE))


def check_names(classes: list[str]) -> None:
    names = folder_names(classes)
    assert [class_name(name) for name in names] == classes
    assert len({name.casefold() for name in names}) == len(names)
    for name in names:
        assert Path(name).name == name
        assert not name.startswith((".", "__"))
        assert not name.endswith((".", " "))
        assert name.isprintable() or any(not char.isprintable() for char in class_name(name))


def test_ordinary_names_stay() -> None:
    ordinary = ("sea lion", "größe", "猫", "50% wool", "o'clock", "a+b", "x_y", "3", "Train")
    assert folder_names(ordinary) == ordinary


@pytest.mark.parametrize("name", ["", "é" * 200])
def test_a_name_that_no_folder_can_have_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match="bytes as a folder name"):
        folder_names([name])


# Image folder


def test_image_folder_holds_every_image_with_its_bytes(shards: Path, tmp_path: Path) -> None:
    out = exported(shards, tmp_path / "out", "imagefolder")
    rows = {row["file_name"]: row for row in map(json.loads, (out / "metadata.jsonl").read_text().splitlines())}
    samples = list(stored(shards))
    assert len(samples) == len(rows) == 30
    for one in samples:
        name = f"{one.meta['class_name']}/{one.key}.png"
        assert (out / name).read_bytes() == one.image
        assert rows[name] == {"file_name": name, **one.meta}
    assert set(files(out)) == {*rows, "metadata.jsonl", "README.md"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "shards"], "nothing is left beside"
    assert files(exported(shards, tmp_path / "again", "imagefolder")) == files(out)


@pytest.mark.parametrize("splits", [(), ("--splits", "train=0.8,holdout=0.2")])
def test_hub_client_reads_an_image_folder(shards: Path, tmp_path: Path, splits: tuple[str, ...]) -> None:
    from datasets import load_dataset

    out = exported(shards, tmp_path / "out", "imagefolder", *splits)
    found = load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert set(found) == ({"train", "holdout"} if splits else {"train"})
    expected = {one.key: one for one in stored(shards)}
    rows = [row for split in found.values() for row in split]
    assert sorted(row["key"] for row in rows) == sorted(expected)
    for row in rows:
        one = expected[row["key"]]
        image = row.pop("image")
        assert row == one.meta
        assert np.array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(one.image))))


def test_torchvision_reads_an_image_folder_of_hostile_classes(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    out = exported(plain_shards(tmp_path / "shards", HOSTILE, 2), tmp_path / "out", "imagefolder")
    found = ImageFolder(str(out))
    assert {class_name(folder) for folder in found.classes} == set(HOSTILE)
    assert Counter(class_name(found.classes[label]) for label in found.targets) == Counter(dict.fromkeys(HOSTILE, 2))
    assert {path.name for path in tmp_path.iterdir()} == {"shards", "out"}


def test_hub_client_does_not_take_a_class_for_a_split(tmp_path: Path) -> None:
    from datasets import load_dataset

    out = exported(plain_shards(tmp_path / "shards", HOSTILE, 1), tmp_path / "out", "imagefolder")
    found = load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert Counter(found["class_name"]) == Counter(HOSTILE)


def test_a_class_without_images_keeps_its_place(tmp_path: Path) -> None:
    shards = make_shards(tmp_path / "shards", ("a", "b", "c"), [[sample("0", 2, "c", 0)]])
    out = exported(shards, tmp_path / "out", "imagefolder")
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["a", "b", "c"]


# Splits


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=200),
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.randoms(use_true_random=False),
)
def test_shares_are_exact_in_every_class_and_follow_from_the_key(labels: list[int], weights: list[int], random) -> None:  # type: ignore[no-untyped-def]
    shares = [weight / sum(weights) for weight in weights]
    keys = [f"k{n}" for n in range(len(labels))]
    found = assign_shares(keys, np.array(labels), shares)
    for label in set(labels):
        counts = Counter(int(part) for part, one in zip(found, labels, strict=True) if one == label)
        size = sum(counts.values())
        assert all(abs(counts[number] - share * size) < 1 for number, share in enumerate(shares))
    order = list(range(len(labels)))
    random.shuffle(order)
    again = assign_shares([keys[i] for i in order], np.array([labels[i] for i in order]), shares)
    assert [int(part) for part in again] == [int(found[i]) for i in order]


def test_splits_divide_every_class_and_say_what_is_synthetic(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = exported(shards, tmp_path / "out", "imagefolder", "--splits", "train=0.8,validation=0.2")
    assert "note: synthetic images in validation" in capsys.readouterr().out
    for split, count in (("train", 8), ("validation", 2)):
        assert {name: len(list((out / split / name).iterdir())) for name in CLASSES} == dict.fromkeys(CLASSES, count)
    assert len({path.name for path in out.rglob("*.png")}) == 30
    exported(shards, tmp_path / "one", "imagefolder")
    assert "note:" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    ["", "train", "train=1.5", "train=0.5,train=0.5", "a/b=1", "=1", "train=x", "train=1,test=0", "..=1", "a=nan"],
)
def test_bad_shares_are_refused(text: str) -> None:
    with pytest.raises(SpecError, match=r"write it as train=0\.8"):
        parse_shares(text)


def test_a_split_that_would_be_empty_is_refused(shards: Path) -> None:
    with pytest.raises(SpecError, match=r"test=0\.001 of 30 images is none"):
        split_by_shares(open_shard_folder(shards), parse_shares("train=0.999,test=0.001"))


# With real images


def make_run(folder: Path, classes: Sequence[str] = CLASSES, validation_is_real: bool = True) -> Path:
    """RUN/shards and RUN/real, whose samples have fewer fields."""
    plain_shards(folder / "shards", classes)
    for split, synthetic in (("train", False), ("validation", not validation_is_real)):
        samples = []
        for n in range(6):
            one = sample(f"{split}{n}", n % 3, classes[n % 3], 100 + n, synthetic=synthetic, generation=0, split=split)
            meta = {name: value for name, value in one.meta.items() if name not in ("model", "seed", "score")}
            samples.append(Sample(one.key, one.image, "png", one.label, meta))
        make_shards(folder / "real" / split, classes, [samples])
    return folder


@pytest.mark.parametrize("form", ["imagefolder", "parquet"])
def test_real_images_judge_and_train_beside_synthetic_ones(form: str, tmp_path: Path) -> None:
    from datasets import load_dataset

    run = make_run(tmp_path / "run")
    source = open_shard_folder(run / "shards")
    export(split_with_real(run, source), source.classes, FORMS[form], tmp_path / "out")
    found = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {name: Counter(split["synthetic"]) for name, split in found.items()} == {
        "train": {False: 6, True: 30},
        "validation": {False: 6},
    }
    assert {row["seed"] for row in found["validation"]} == {0 if form == "imagefolder" else None}
    assert (
        "| train | 36 | with synthetic images |\n| validation | 6 | real |" in (tmp_path / "out/README.md").read_text()
    )


def test_no_synthetic_image_judges_under_the_name_of_real(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", validation_is_real=False)
    with pytest.raises(NotReal, match="validation"):
        split_with_real(run, open_shard_folder(run / "shards"))
    shutil.rmtree(run / "real")
    with pytest.raises(SpecError, match="`sweep` writes the real images"):
        split_with_real(run, open_shard_folder(run / "shards"))


# Parquet


@pytest.mark.parametrize("form", ["png", "jpg", "webp"])
def test_parquet_gives_our_own_source_equal_images_and_labels(form: str, tmp_path: Path) -> None:
    shards = plain_shards(tmp_path / "shards", CLASSES, form=form)
    out = exported(shards, tmp_path / "out", "parquet")
    spec = data_spec(source="parquet", path=str(out), image_column="image", label_column="label")
    found = open_source(spec)
    assert found.classes == CLASSES
    assert [(one.label, one.read()) for one in found.images] == [(one.label, one.image) for one in stored(shards)]
    assert files(exported(shards, tmp_path / "again", "parquet")) == files(out)


def test_hub_client_reads_parquet_with_its_classes(shards: Path, tmp_path: Path) -> None:
    from datasets import ClassLabel, load_dataset
    from datasets import Image as ImageFeature

    out = exported(shards, tmp_path / "out", "parquet", "--splits", "train=0.9,test=0.1")
    whole = load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    direct = load_dataset("parquet", data_files=str(out / "train/*.parquet"), cache_dir=str(tmp_path / "cache"))
    assert whole["train"].features == direct["train"].features
    assert whole["train"].features["label"] == ClassLabel(names=list(CLASSES))
    assert isinstance(whole["train"].features["image"], ImageFeature)
    expected = {one.key: one for one in stored(shards)}
    assert {row["key"] for split in whole.values() for row in split} == set(expected)
    for row in whole["test"]:
        one = expected[row["key"]]
        image = row.pop("image")
        assert row == one.meta
        assert np.array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(one.image))))


def test_parquet_files_and_row_groups_are_bounded(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = max(len(one.image) for one in stored(shards)) + 1000
    monkeypatch.setattr(parquet_files, "_GROUP_BYTES", 3 * size)
    monkeypatch.setattr(parquet_files, "_FILE_BYTES", 9 * size)
    out = exported(shards, tmp_path / "out", "parquet")
    found = [pq.ParquetFile(path) for path in sorted(out.glob("*.parquet"))]
    groups = [[f.metadata.row_group(g).num_rows for g in range(f.num_row_groups)] for f in found]
    assert len(groups) > 2
    assert all(rows <= 4 for file in groups for rows in file)
    assert sum(rows for file in groups for rows in file) == 30
    assert [row for f in found for row in f.read(["key"])["key"].to_pylist()] == [one.key for one in stored(shards)]


def test_parquet_keeps_masks(tmp_path: Path) -> None:
    shards = make_shards(tmp_path / "shards", ("harbour",), [[masked("0", 0), masked("1", 1)]])
    table = pq.read_table(exported(shards, tmp_path / "out", "parquet"))
    assert [row["bytes"] for row in table["mask"].to_pylist()] == [one.mask for one in stored(shards)]


# COCO


@pytest.fixture
def harbours(tmp_path: Path) -> Path:
    shards = [[masked(f"{n:09d}", n) for n in range(start, start + 4)] for start in (0, 4)]
    return make_shards(tmp_path / "shards", ("harbour",), shards)


@pytest.mark.parametrize("background", [None, "water"])
def test_coco_gives_every_mask_back_exactly(harbours: Path, tmp_path: Path, background: str | None) -> None:
    from pycocotools.coco import COCO

    more = [] if background is None else ["--background", background]
    out = exported(harbours, tmp_path / "out", "coco", *more)
    found = COCO(str(out / "annotations.json"))
    named = {one["name"]: one["id"] for one in found.loadCats(found.getCatIds())}
    assert named == {name: n for n, name in enumerate(PALETTE, 1) if name != background}
    images = found.loadImgs(found.getImgIds())
    assert [image["file_name"] for image in images] == [f"{n:09d}.png" for n in range(8)]
    for number, (image, one) in enumerate(zip(images, stored(harbours), strict=True)):
        assert (out / "images" / image["file_name"]).read_bytes() == one.image
        assert image["metadata"] == one.meta
        mask = np.zeros((image["height"], image["width"]), np.uint8)
        for annotation in found.loadAnns(found.getAnnIds(imgIds=[image["id"]])):
            region = found.annToMask(annotation).astype(bool)
            assert not mask[region].any(), "regions do not overlap"
            mask[region] = annotation["category_id"] - 1
            rows, columns = np.nonzero(region)
            left, top = columns.min(), rows.min()
            assert annotation["area"] == region.sum()
            assert annotation["bbox"] == [left, top, columns.max() - left + 1, rows.max() - top + 1]
            assert annotation["category_id"] in named.values()
        assert np.array_equal(mask, mask_of(number))


@given(st.integers(1, 12), st.integers(1, 12), st.randoms(use_true_random=False))
def test_runs_of_any_region_are_those_of_pycocotools(height: int, width: int, random) -> None:  # type: ignore[no-untyped-def]
    from pycocotools import mask as reference

    region = np.array([[random.random() < 0.5 for _ in range(width)] for _ in range(height)])
    region[random.randrange(height), random.randrange(width)] = True
    columns = np.flatnonzero(region.any(axis=0))
    left, right = int(columns[0]), int(columns[-1]) + 1
    ours = coco._rle(region[:, left:right], left, region.shape)
    assert reference.frPyObjects(ours, height, width) == reference.encode(np.asfortranarray(region.astype(np.uint8)))


def test_each_split_has_its_own_annotations(harbours: Path, tmp_path: Path) -> None:
    out = exported(harbours, tmp_path / "out", "coco", "--splits", "train=0.75,extra=0.25")
    counts = {
        split: len(json.loads((out / split / "annotations.json").read_text())["images"]) for split in ("train", "extra")
    }
    assert counts == {"train": 6, "extra": 2}


# A run


def test_a_run_is_exported_whole(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = exported(tiny_run, tmp_path / "out", "imagefolder")
    said = capsys.readouterr().out
    assert "120 images of 3 classes" in said
    assert "note:" not in said
    assert {path.relative_to(out).as_posix() for path in out.rglob("*.png")} == {
        f"{one.meta['class_name']}/{one.key}.png" for one in stored(tiny_run / "shards")
    }


def test_an_unfinished_run_is_exported_as_far_as_it_is(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    for name in ("00003", "00004"):
        (run / f"shards/{name}_stats.json").unlink()
    out = exported(run, tmp_path / "out", "parquet")
    assert f"note: 2 units of {run} are not finished" in capsys.readouterr().out
    assert pq.read_table(out).num_rows == 120 - 14
    assert not {"00003", "00004"} & {key[:5] for key in pq.read_table(out)["key"].to_pylist()}


def test_a_run_is_exported_with_its_real_images(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    shutil.copytree(make_run(tmp_path / "other", ("cat", "sea lion", "größe")) / "real", run / "real")
    out = exported(run, tmp_path / "out", "imagefolder", "--with-real")
    assert "126 train, 6 validation images of 3 classes" in capsys.readouterr().out
    assert len(list(out.glob("train/cat/*.png"))) == 42
    assert sorted(path.name for path in out.glob("validation/*/*.png")) == [f"validation{n}.png" for n in range(6)]


# What goes wrong


def refused(capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> str:
    assert main(["export", *(str(one) for one in arguments)]) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert len(error.splitlines()) <= 2
    return error


def test_what_cannot_be_exported_is_said(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert "neither a run" in refused(capsys, 2, tmp_path, "--to", "parquet", "--out", out)
    assert "has no mask" in refused(capsys, 2, shards, "--to", "coco", "--out", out)
    assert "only --to coco" in refused(capsys, 2, shards, "--to", "parquet", "--out", out, "--background", "water")
    assert "not empty" in refused(capsys, 1, shards, "--to", "parquet", "--out", shards)
    assert "holds no shards" in refused(capsys, 2, shards, "--to", "parquet", "--out", out, "--with-real")
    tar = finished_tars(shards)[-1]
    tar.write_bytes(tar.read_bytes()[:-6000])
    assert f"{tar}, sample " in refused(capsys, 1, shards, "--to", "imagefolder", "--out", out)
    tar.unlink()
    assert "verify" in refused(capsys, 1, shards, "--to", "imagefolder", "--out", out)
    assert [path.name for path in tmp_path.iterdir()] == ["shards"], "what failed leaves nothing behind"


def test_an_unknown_background_is_refused(harbours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, 2, harbours, "--to", "coco", "--out", tmp_path / "out", "--background", "sky")
    assert "there are water, boat, größe" in error


def test_a_label_that_is_not_its_class_is_no_export(tmp_path: Path) -> None:
    shards = make_shards(tmp_path / "shards", ("a", "b"), [[sample("0", 1, "a", 0)]])
    with pytest.raises(ShardError, match="label 1 is not its class"):
        export(whole_split(open_shard_folder(shards)), ("a", "b"), FORMS["imagefolder"], tmp_path / "out")


def test_an_empty_folder_is_taken_and_a_failure_leaves_it(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()

    def fail(folder: Path, samples: object, header: object) -> None:
        (folder / "half").write_text("an export")
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left"):
        export(whole_split(open_shard_folder(shards)), CLASSES, Form(fail, None), out)
    assert not list(out.iterdir())
    exported(shards, out, "parquet")
    assert len(list(out.glob("*.parquet"))) == 1


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_folder, "free_bytes", lambda _: 1000)
    with pytest.raises(OutputError, match=r"0\.0 MB are free"):
        export(whole_split(open_shard_folder(shards)), CLASSES, FORMS["parquet"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
