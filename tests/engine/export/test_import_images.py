"""Imports of another tool's images: bytes unchanged, marked as synthetic, in shards of our format."""

import json
import shutil
import tarfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from engine.errors import DataError, SpecError
from engine.export import import_images
from engine.export.foreign_images import ForeignImageSet, read_foreign_images
from engine.export.import_images import write_import
from engine.export.sidecar import DefaultProvenance, Sidecar
from jobs.__main__ import main
from shards import MixedStream, NotReal, ShardStream
from shards.codec import encode_rgb
from shards.storage.commit import sha256_of
from shards.storage.manifest import finished_tars, read_all_stats, read_rows
from shards.tools.verify import verify_folder
from tests.engine.shardsets import make_shards, picture, plain_shards, sample

CLASSES = ("sea lion", "zebra")


def make_folder(root: Path, per_class: int = 6) -> Path:
    """Write FOLDER/<class>/deep/<n> as png, jpg and webp, with misleading file extensions."""
    for label, name in enumerate(CLASSES):
        for n in range(per_class):
            form = ("png", "jpg", "webp")[n % 3]
            path = root / name / "deep" / f"{n}.{('png', 'JPEG', 'png')[n % 3]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_rgb(picture(10 * label + n), form))
    return root


def imported(folder: Path, out: Path, *options: object) -> Path:
    assert main(["import", str(folder), "--out", str(out), *(str(argument) for argument in options)]) == 0
    return out


def refused(capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> str:
    assert main(["import", *(str(argument) for argument in arguments)]) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert len(error.splitlines()) <= 2
    return error


def images(out: Path) -> dict[str, bytes]:
    """Return the bytes of every image by its original file."""
    contents = {}
    for tar in finished_tars(out):
        with tarfile.open(tar) as opened:
            for row in pq.read_table(tar.with_suffix(".parquet")).to_pylist():
                contents[row["origin"]] = opened.extractfile(f"{row['key']}.{row['image_format']}").read()  # type: ignore[union-attr]
    return contents


def hashes(out: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in sorted(out.iterdir())}


def read(folder: Path, classes: tuple[str, ...] | None = None) -> ForeignImageSet:
    return read_foreign_images(Sidecar(folder, DefaultProvenance()), classes)


def test_images_keep_bytes_class_and_provenance(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images")
    out = imported(folder, tmp_path / "out", "--model", "sdxl", "--license", "cc0-1.0", "--generation", 2)
    expected = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert images(out) == expected
    rows = pq.read_table(out / "00000.parquet").to_pylist()
    for row in rows:
        assert CLASSES[row["label"]] == row["class_name"] == row["origin"].partition("/")[0]
        assert (row["synthetic"], row["model"], row["license"], row["generation"]) == (True, "sdxl", "cc0-1.0", 2)
        assert (row["prompt"], row["width"], row["height"]) == ("", 8, 8)
    assert [row["digest"] for row in rows] == sorted(row["digest"] for row in rows)
    assert [row["image_format"] for row in rows].count("webp") == 4
    (stats,) = read_all_stats(out).values()
    assert (stats["kept"], stats["model"]) == ({"sea lion": 6, "zebra": 6}, "sdxl")
    assert 'license: "cc0-1.0"' in (out / "README.md").read_text()
    assert not list(verify_folder(out, CLASSES, ["00000"], stats["plan_digest"]))


def test_streams_read_it_and_real_only_ones_refuse_it(tmp_path: Path) -> None:
    out = imported(make_folder(tmp_path / "images"), tmp_path / "out")
    real = [sample(f"r{n}", n % 2, CLASSES[n % 2], 50 + n, synthetic=False, generation=0) for n in range(4)]
    mix = MixedStream(
        ShardStream(make_shards(tmp_path / "real", CLASSES, [real])), ShardStream(out), 0.75, batch_size=8
    )
    batch = mix.batch(0)
    assert batch.synthetic.sum() == 6
    assert batch.image.shape == (8, 8, 8, 3)
    with pytest.raises(NotReal, match="real only"):
        ShardStream(out, real_only=True)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_clients_read_it(tmp_path: Path) -> None:
    from datasets import load_dataset
    from webdataset import WebDataset

    folder = make_folder(tmp_path / "images")
    shutil.rmtree(folder / "zebra")
    for path in folder.rglob("*.*"):  # a hub client needs a single image format
        path.write_bytes(encode_rgb(picture(int(path.stem)), "png"))
    out = imported(folder, tmp_path / "out")
    hub = {row["__key__"]: row for row in load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))}
    ours = {key: image for b in ShardStream(out).batches(4) for key, image in zip(b.key, b.image, strict=True)}
    assert len(ours) == 6
    assert hub.keys() == ours.keys()
    assert all(np.array_equal(np.asarray(row["png"]), ours[key]) for key, row in hub.items())
    assert {row["json"]["synthetic"] for row in hub.values()} == {True}
    assert {row["__key__"] for row in WebDataset(str(out / "00000.tar"), shardshuffle=False)} == set(ours)


def test_an_exported_folder_is_imported_unchanged(tmp_path: Path) -> None:
    classes = ("a/b", "..", "größe", "Cat", "cat")
    shards = plain_shards(tmp_path / "shards", classes, form="jpg")
    assert main(["export", str(shards), "--to", "imagefolder", "--out", str(tmp_path / "folder")]) == 0
    out = imported(tmp_path / "folder", tmp_path / "out", "--classes-of", shards, "--model", "not this one")
    fields = ["label", "class_name", "prompt", "model", "generation"]
    before, after = (Counter(tuple(row.values()) for row in read_rows(place, fields)) for place in (shards, out))
    assert before == after
    by_key = {Path(origin).stem: data for origin, data in images(out).items()}
    with tarfile.open(shards / "00000.tar") as tar:
        for name in [name for name in tar.getnames() if name.endswith(".jpg")]:
            assert by_key.pop(name.removesuffix(".jpg")) == tar.extractfile(name).read()  # type: ignore[union-attr]
    assert json.loads((out / "_info.json").read_text())["classes"] == list(classes)


def test_prompts_come_from_captions_and_metadata(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images", 3)
    (folder / "zebra/deep/0.txt").write_text("a striped horse\n")
    lines = [
        {"file_name": "deep/0.png", "text": "not this: a caption is nearer"},
        {"file_name": "deep/1.JPEG", "text": "two zebras", "generation": 3, "license": "mit", "more": [1]},
    ]
    (folder / "zebra/metadata.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    out = imported(folder, tmp_path / "out", "--license", "cc0-1.0")
    rows = {row["origin"]: row for row in pq.read_table(out / "00000.parquet").to_pylist()}
    prompts = {name: (row["prompt"], row["generation"], row["license"]) for name, row in rows.items() if row["prompt"]}
    assert prompts == {
        "zebra/deep/0.png": ("a striped horse", 1, "cc0-1.0"),
        "zebra/deep/1.JPEG": ("two zebras", 3, "mit"),
    }
    (stats,) = read_all_stats(out).values()
    assert (stats["generation"], stats["license"]) == (3, "other")


def test_copies_are_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_folder(tmp_path / "images")
    for n in (1, 2):
        shutil.copy(folder / "zebra/deep/0.png", folder / f"zebra/copy{n}.png")
    out = imported(folder, tmp_path / "out")
    assert "12 images of 2 classes; 2 duplicates and 0 corrupt files left out" in capsys.readouterr().out
    assert "zebra/copy1.png" in images(out), "the copy whose name sorts first is kept"
    shutil.copy(folder / "zebra/deep/0.png", folder / "sea lion/wrong.png")
    assert "two labels" in refused(capsys, 1, folder, "--out", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_other_image_formats_become_png(tmp_path: Path) -> None:
    path = tmp_path / "images/cat/1.bmp"
    path.parent.mkdir(parents=True)
    cv2.imwrite(str(path), cv2.cvtColor(picture(1), cv2.COLOR_RGB2BGR))
    out = imported(tmp_path / "images", tmp_path / "out")
    assert np.array_equal(ShardStream(out).read([0]).image[0], picture(1))
    assert read_rows(out, ["image_format", "digest"]) == [{"image_format": "png", "digest": sha256_of(path)}]


def test_every_corrupt_image_is_named_or_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_folder(tmp_path / "images")
    bad = [folder / "zebra/deep/empty.png", folder / "sea lion/empty.png", folder / "zebra/deep/3.png"]
    for path in bad:
        path.write_bytes(b"no image" if path.name == "3.png" else b"")
    error = refused(capsys, 1, folder, "--out", tmp_path / "out")
    assert "3 corrupt images" in error
    assert all(str(path) in error for path in bad)
    assert not (tmp_path / "out").exists()
    out = imported(folder, tmp_path / "out", "--skip-corrupt")
    (stats,) = read_all_stats(out).values()
    assert (stats["planned"], stats["kept"], stats["failed"]) == (
        {"sea lion": 7, "zebra": 7},
        {"sea lion": 6, "zebra": 5},
        {"sea lion": 1, "zebra": 2},
    )
    reasons = [reason for failure in stats["failures"] for reason in failure["reasons"]]
    assert sorted(reason.partition(":")[0] for reason in reasons) == sorted(
        path.relative_to(folder).as_posix() for path in bad
    )
    assert not list(verify_folder(out, CLASSES, ["00000"], stats["plan_digest"]))


def test_it_resumes_by_shard_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_images, "_IMAGES_PER_SHARD", 5)
    image_set = read(make_folder(tmp_path / "images"))
    write_import(image_set, tmp_path / "whole")
    assert len(finished_tars(tmp_path / "whole")) == 3
    out = tmp_path / "out"
    real_write, calls = import_images.write_shard, iter(range(9))

    def dies(*arguments: object) -> None:
        if next(calls) == 1:
            raise KeyboardInterrupt
        real_write(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(import_images, "write_shard", dies)
        with pytest.raises(KeyboardInterrupt):
            write_import(image_set, out)
    kept = (out / "00000.tar").stat().st_ino
    assert len(finished_tars(out)) == 1
    write_import(read(tmp_path / "images"), out)
    assert (out / "00000.tar").stat().st_ino == kept, "finished shards are not written again"
    whole, again = hashes(tmp_path / "whole"), hashes(out)
    assert {n: h for n, h in again.items() if n != "README.md"} == {n: h for n, h in whole.items() if n != "README.md"}


def test_another_import_and_other_files_are_not_mixed_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_folder(tmp_path / "images")
    out = imported(folder, tmp_path / "out")
    before = hashes(out)
    imported(folder, out)
    assert hashes(out) == before
    assert "begun with other images" in refused(capsys, 2, folder, "--out", out, "--model", "another")
    (folder / "zebra/new.png").write_bytes(encode_rgb(picture(99), "png"))
    assert "begun with other images" in refused(capsys, 2, folder, "--out", out)
    assert hashes(out) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("")
    assert "thesis.tex" in refused(capsys, 1, folder, "--out", tmp_path / "mine")
    assert "lies within" in refused(capsys, 1, folder, "--out", folder / "shards")


def test_labels_come_from_a_run_or_from_the_folders(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images")
    assert read(folder).classes == CLASSES
    other = ("zebra", "yak", "sea lion")
    assert {(image.meta["class_name"], image.meta["label"]) for image in read(folder, other).images} == {
        ("zebra", 0),
        ("sea lion", 2),
    }
    with pytest.raises(SpecError, match="folders of no class: sea lion; the classes are zebra"):
        read(folder, ("zebra",))
    shutil.copytree(folder / "zebra", folder / "%7Aebra")
    with pytest.raises(SpecError, match="two folders are of class 'zebra'"):
        read(folder)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ('{"file_name": "zebra/deep/0.png", "synthetic": false}', "says that it is real"),
        ('{"file_name": "zebra/deep/0.png", "generation": 0}', "from 1 on"),
        ('{"file_name": "zebra/deep/0.png", "prompt": ["a"]}', "must be text"),
        ('{"name": "zebra/deep/0.png"}', "metadata.jsonl:1: not a JSON object with a file_name"),
        ("[1]", "metadata.jsonl:1"),
        ("{", "metadata.jsonl:1"),
    ],
)
def test_wrong_metadata_is_refused(line: str, word: str, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images", 1)
    (folder / "metadata.jsonl").write_text(line + "\n")
    with pytest.raises(DataError, match=word):
        read(folder)


def test_what_cannot_be_imported_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_folder(tmp_path / "images", 1)
    out = tmp_path / "out"
    assert "not a folder" in refused(capsys, 1, tmp_path / "none", "--out", out)
    assert "only real images have 0" in refused(capsys, 2, folder, "--out", out, "--generation", 0)
    assert "neither a run" in refused(capsys, 2, folder, "--out", out, "--classes-of", tmp_path)
    (folder / "zebra/dangling.png").symlink_to("nowhere")
    assert "dangling.png: cannot be read" in refused(capsys, 1, folder, "--out", out)
    assert not out.exists()
