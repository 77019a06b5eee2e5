"""Shards in another size, merged, and chosen from: every member as it was, and equal bytes every time."""

import gc
import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from shards import Members, Sample, ShardError, ShardStream, ShardWriter
from shards.codec import encode_mask, encode_rgb
from shards.storage.commit import sha256_of
from shards.storage.manifest import read_all_stats, read_rows
from shards.storage.open_store import open_store
from shards.tools.reshard import Wanted, wanted_keys
from shards.tools.reshard_plan import ReshardPlan
from shards.tools.verify import verify_folder
from shards.writing.dataset_card import DatasetCard, write_card

ROOT = Path(__file__).parents[2]
CLASSES = ("cat", "sea lion", "größe")
Files = dict[str, bytes]


def made(number: int, synthetic: bool = True, classes: Iterable[str] = CLASSES, **more: Any) -> Sample:
    names = list(classes)
    key, label = f"{'s' if synthetic else 'r'}{number:05d}", number % len(names)
    meta = {
        "key": key,
        "label": label,
        "class_name": names[label],
        "synthetic": synthetic,
        "prompt": f'ein "{number}" größer',
    }
    image = encode_rgb(np.full((4, 6, 3), number % 251, np.uint8), "png")
    return Sample(key, image, "png", label, meta | more)


def write(folder: Path, samples: list[Sample], per_shard: int, classes: Iterable[str] = CLASSES, **facts: Any) -> Path:
    """A finished folder, as the engine leaves it."""
    for start in range(0, len(samples), per_shard):
        part, name = samples[start : start + per_shard], f"{start // per_shard:05d}"
        with ShardWriter(folder, name) as writer:
            for sample in part:
                writer.add(sample)
            files = writer.publish()
        content = {"unit": 0, "count": len(part), "plan_digest": "", "files": [one.as_json() for one in files]}
        kept = {name: sum(one.meta["class_name"] == name for one in part) for name in classes}
        counts = {"planned": kept, "kept": kept, "failed": {}}
        open_store(folder).publish_json(f"{name}_stats.json", content | counts | facts)
    write_card(folder, DatasetCard("test", "Of a test.", "cc0-1.0", ("test",), list(classes)))
    return folder


def reshard(sources: Iterable[Path | str], out: Path, **wanted: Any) -> Path:
    tally = ReshardPlan([str(one) for one in sources], Wanted(**wanted))
    assert list(tally.look())[-1] == tally.shards
    plan = tally.decide()
    plan.take(out)
    assert list(plan.write(out))[-1] == plan.total
    return out


def members(folder: Path) -> Files:
    found: Files = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                assert member.name not in found
                found[member.name] = tar.extractfile(member).read()  # type: ignore[union-attr]
    return found


def contents(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = [made(i, score=i / 2, license="cc0-1.0") for i in range(40)]
    samples = [replace(one, mask=encode_mask(np.full((4, 6), i, np.uint8))) for i, one in enumerate(samples)]
    return write(tmp_path_factory.mktemp("source"), samples, 12, license="cc0-1.0", model="m", revision="1")


@settings(max_examples=20)
@given(st.integers(1, 45))
def test_another_size_and_back_gives_the_very_files(
    source: Path, tmp_path_factory: pytest.TempPathFactory, size: int
) -> None:
    other = reshard([source], tmp_path_factory.mktemp("other") / "out", per_shard=size)
    back = reshard([other], tmp_path_factory.mktemp("back") / "out", per_shard=12)
    assert [len(part) for part in Wanted(size).cuts(40)] == [one["count"] for one in read_all_stats(other).values()]
    assert members(other) == members(source)
    for path in (*source.glob("*.tar"), *source.glob("*.parquet")):
        assert sha256_of(path) == sha256_of(back / path.name), path.name


def test_equal_bytes_on_every_run_and_nothing_to_find(source: Path, tmp_path: Path) -> None:
    one, other = (reshard([source], tmp_path / name, shards=7) for name in ("one", "other"))
    assert contents(one) == contents(other)
    assert [stats["count"] for stats in read_all_stats(one).values()] == [5, 6, 6, 5, 6, 6, 6]
    digest = read_all_stats(one)["00000"]["plan_digest"]
    assert list(verify_folder(one, CLASSES, [f"{n:05d}" for n in range(7)], digest)) == []
    assert all(stats["license"] == "cc0-1.0" and stats["model"] == "m" for stats in read_all_stats(one).values())
    assert json.loads((one / "_info.json").read_text())["classes"] == list(CLASSES)


def test_real_and_synthetic_with_other_fields_become_one(source: Path, tmp_path: Path) -> None:
    real = write(tmp_path / "real", [made(i, False, split="train", origin=f"{i}") for i in range(9)], 4)
    out = reshard([real, source], tmp_path / "out", per_shard=10)
    assert members(out) == members(real) | members(source)
    rows = {row["key"]: row for row in read_rows(out, pq.read_schema(out / "00000.parquet").names)}
    for folder in (real, source):
        names = [name for name in pq.read_schema(folder / "00000.parquet").names if not name.endswith("_offset")]
        for row in read_rows(folder, names):
            assert {name: rows[row["key"]][name] for name in names} == row
    assert rows["r00000"]["score"] is None
    assert (rows["r00000"]["mask_offset"], rows["r00000"]["mask_size"]) == (-1, 0)
    stream = ShardStream(out, shuffle=False, fields=("score", "origin"))
    batch = stream.read(range(49))
    assert batch.synthetic.tolist() == [False] * 9 + [True] * 40
    assert batch.fields["score"][8:10] == [None, 0.0]
    assert batch.image[:, 0, 0, 0].tolist() == [*range(9), *range(40)]
    assert stream.classes == dict(enumerate(CLASSES))


def test_a_selection_keeps_its_keys_alone(source: Path, tmp_path: Path) -> None:
    wanted = [f"s{number:05d}" for number in (3, 39, 17)]
    pq.write_table(pa.table({"key": wanted}), tmp_path / "keep.parquet")
    out = reshard([source], tmp_path / "out", select=wanted_keys(tmp_path / "keep.parquet"))
    assert [row["key"] for row in read_rows(out, ["key"])] == sorted(wanted)
    assert members(out) == {name: data for name, data in members(source).items() if name[:6] in wanted}
    with pytest.raises(ShardError, match="1 of 4 keys"):
        reshard([source], tmp_path / "more", select=frozenset([*wanted, "s99999"]))
    pq.write_table(pa.table({"key": wanted, "weight": [1.0, 2.0, 3.0]}), tmp_path / "weights.parquet")
    with pytest.raises(ShardError, match="weight"):
        wanted_keys(tmp_path / "weights.parquet")


def test_one_that_was_stopped_goes_on_and_ends_alike(source: Path, tmp_path: Path) -> None:
    whole = reshard([source], tmp_path / "whole", per_shard=6)
    tally = ReshardPlan([str(source)], Wanted(6))
    list(tally.look())
    plan, out = tally.decide(), tmp_path / "out"
    plan.take(out)
    steps = plan.write(out)
    assert [next(steps), next(steps), next(steps)] == [6, 12, 18]
    steps.close()
    assert sorted(read_all_stats(out)) == ["00000", "00001", "00002"]
    (out / "00002_stats.json").unlink()  # stopped before the last step of publishing
    first = (out / "00000.tar").stat().st_ino
    reshard([source], out, per_shard=6)
    assert contents(out) == contents(whole)
    assert (out / "00000.tar").stat().st_ino == first, "not written anew"


def test_other_images_of_the_same_size_are_another_source(source: Path, tmp_path: Path) -> None:
    def digest() -> str:
        tally = ReshardPlan([str(copy)], Wanted())
        assert list(tally.look())
        return tally.decide().digest

    copy = Path(shutil.copytree(source, tmp_path / "copy"))
    before, tar = digest(), copy / "00000.tar"
    assert digest() == before
    content = bytearray(tar.read_bytes())
    content[content.index(b"IDAT") + 4] ^= 1
    tar.write_bytes(content)
    assert digest() != before


def test_a_folder_that_holds_something_else_is_refused(source: Path, tmp_path: Path) -> None:
    out = reshard([source], tmp_path / "out", per_shard=20)
    before = contents(out)
    for other in ({"per_shard": 10}, {"shards": 2}, {"per_shard": 20, "select": frozenset(["s00001"])}):
        with pytest.raises(ShardError, match="was begun"):
            reshard([source], out, **other)
    with pytest.raises(ShardError, match="was begun"):
        reshard([write(tmp_path / "real", [made(1, False)], 1)], out, per_shard=20)
    assert contents(out) == before
    with pytest.raises(ShardError, match="is the source"):
        reshard([source], source)
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.tex").write_text("x")
    with pytest.raises(ShardError, match="thesis"):
        reshard([source], tmp_path / "papers")
    with pytest.raises(ShardError, match="only 40 samples"):
        reshard([source], tmp_path / "many", shards=41)
    assert not (tmp_path / "many").exists()


def test_a_key_in_two_places_is_refused_with_both(source: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", [made(i) for i in (7000, 17, 7001)], 1)
    with pytest.raises(ShardError, match=f"'s00017' stands in {source}/00001.tar and in {other}/00001.tar"):
        reshard([source, other], tmp_path / "out")
    with pytest.raises(ShardError, match="named twice"):
        ReshardPlan([str(source), str(source / "00001.tar")], Wanted())
    out = reshard([source, other], tmp_path / "out", select=frozenset(["s00003", "s07001"]))
    assert len(members(out)) == 9


@pytest.mark.parametrize(
    ("classes", "word"),
    [
        (("cat", "dog"), "label 1 is 'dog', but in the sources before it it is 'sea lion'"),
        (("cat", "sea lion", "größe", "cat "), None),
        (("cat",), None),
        (("sea lion", "cat"), "label 0 is 'sea lion'"),
    ],
)
def test_classes_must_agree_by_name(source: Path, tmp_path: Path, classes: tuple[str, ...], word: str | None) -> None:
    other = write(tmp_path / "other", [made(i, False, classes) for i in range(4)], 2, classes)
    if word is None:
        out = reshard([source, other], tmp_path / "out")
        assert len(json.loads((out / "_info.json").read_text())["classes"]) == max(3, len(classes))
        return
    with pytest.raises(ShardError, match=word):
        reshard([source, other], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_named_and_nameless_classes_do_not_mix_until_names_are_told(source: Path, tmp_path: Path) -> None:
    foreign(tmp_path / "foreign")
    with pytest.raises(ShardError, match="put an _info"):
        reshard([source, tmp_path / "foreign"], tmp_path / "out")
    (tmp_path / "foreign" / "_info.json").write_text(json.dumps({"classes": CLASSES}))
    out = reshard([source, tmp_path / "foreign"], tmp_path / "out")
    names = {row["key"]: row["class_name"] for row in read_rows(out, ["key", "class_name"])}
    assert [names[f"train/Bild {i}"] for i in range(4)] == ["cat", "sea lion", "größe", "cat"]


def foreign(folder: Path) -> Files:
    """What other tools write: folders, upper case, nested and changing json, members that we do not know, no order."""
    folder.mkdir()
    files: Files = {}
    for i in range(6):
        key = f"train/Bild {i}"
        nested = {"exif": {"iso": 100}, "score": i if i % 2 else i / 2, "width": 6, "ok": None if i == 3 else True}
        image = encode_rgb(np.full((4, 6, 3), 10 * i, np.uint8), "jpg")
        files |= {f"{key}.JPEG": image, f"{key}.cls": b"%d\n" % (i % 3), f"{key}.json": json.dumps(nested).encode()}
        files |= {f"{key}.npy": b"array %d" % i, f"{key}.seg.png": b"map %d" % i, f"{key}.pyd": b"evil"}
    files |= {"train/alone.txt": b"no image", "größe/" + "x" * 120 + ".jpg": files["train/Bild 0.JPEG"]}
    with tarfile.open(folder / "a-b.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        for name in sorted(files, key=lambda name: name.partition(".")[2]):  # members of a sample far apart
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(files[name]), 1_700_000_000
            tar.addfile(member, io.BytesIO(files[name]))
    return files


def test_shards_of_others_keep_their_bytes_and_names(tmp_path: Path) -> None:
    files = foreign(tmp_path / "foreign")
    tally = ReshardPlan([str(tmp_path / "foreign")], Wanted(more=("npy",)))
    list(tally.look())
    plan = tally.decide()
    assert (plan.left_out, plan.imageless) == ({"pyd": 6, "seg.png": 6}, 1)
    out = reshard([tmp_path / "foreign"], tmp_path / "out", per_shard=3, more=("npy",))
    kept = {name: data for name, data in files.items() if not name.endswith((".pyd", ".seg.png", "alone.txt"))}
    assert members(out) == kept
    stream = ShardStream(out, shuffle=False, synthetic=False, fields=("exif", "score"), size=4)
    batch = stream.read(range(7))
    by_key = dict(zip(batch.key, batch.label.tolist(), strict=True))
    assert by_key == {"größe/" + "x" * 120: -1} | {f"train/Bild {i}": i % 3 for i in range(6)}
    assert {json.dumps(found) for found in batch.fields["exif"]} == {'{"iso": 100}', "null"}
    names = pq.read_schema(out / "00000.parquet").names
    assert "ok" in names
    assert "npy_offset" in names
    assert not {"exif", "score"} & set(names)  # no plain type that all of them have
    rows = {row["key"]: row for row in read_rows(out, ["key", "ok", "synthetic", "image_format"])}
    assert [rows[f"train/Bild {i}"]["ok"] for i in range(6)] == [True, True, True, None, True, True]
    assert {row["synthetic"] for row in rows.values()} == {None}
    assert {row["image_format"] for row in rows.values()} == {"jpg"}


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset leaves them open
def test_webdataset_reads_what_was_written_from_its_own(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    image = encode_rgb(np.zeros((4, 4, 3), np.uint8), "png")
    with webdataset.ShardWriter(str(tmp_path / "theirs" / "%03d.tar"), maxcount=4, verbose=0) as writer:
        for i in range(10):
            writer.write({"__key__": f"k{i}", "png": image, "json": {"class": i % 2, "n": i}})
    out = reshard([tmp_path / "theirs"], tmp_path / "out", per_shard=5, roles=Members(label="json.class"))
    urls = [str(path) for path in sorted(out.glob("*.tar"))]
    read = list(webdataset.WebDataset(urls, shardshuffle=False))
    gc.collect()  # so that what is left open is warned of here, where that is allowed
    assert [(one["__key__"], json.loads(one["json"])["n"], one["png"]) for one in read] == [
        (f"k{i}", i, image) for i in range(10)
    ]
    assert ShardStream(out, shuffle=False, synthetic=False).read(range(10)).label.tolist() == [0, 1] * 5


@pytest.mark.parametrize("at", [600, 5000, -1024])
def test_a_damaged_source_is_named_and_nothing_is_written(source: Path, tmp_path: Path, at: int) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "00000.tar").write_bytes((source / "00000.tar").read_bytes()[:at])
    with pytest.raises(ShardError, match=f"{damaged}/00000.tar, byte"):
        reshard([damaged], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_source_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    folder = write(tmp_path / "source", [made(i) for i in range(8)], 8)
    tally = ReshardPlan([str(folder)], Wanted(3))
    list(tally.look())
    plan, out = tally.decide(), tmp_path / "out"
    plan.take(out)
    write(tmp_path / "less", [made(i) for i in range(5)], 5)
    (folder / "00000.tar").write_bytes((tmp_path / "less" / "00000.tar").read_bytes())
    with pytest.raises(ShardError, match="have changed"):
        list(plan.write(out))
    assert sorted(read_all_stats(out)) == ["00000"]


MEMORY = """
import sys, psutil
from pathlib import Path
from shards.tools.reshard import Wanted
from shards.tools.reshard_plan import Tally
used = []
def note(_):
    used.append(psutil.Process().memory_info().rss)
tally = Tally([sys.argv[1]], Wanted(300))
for step in tally.look(): note(step)
plan = tally.decide()
plan.take(Path(sys.argv[2]))
for step in plan.write(Path(sys.argv[2])): note(step)
print(max(used[len(used) // 2:]) - used[len(used) // 2], plan.total)
"""


def test_memory_does_not_grow_with_the_shards(tmp_path: Path) -> None:
    source = write(tmp_path / "source", [made(i, text="x" * 2000) for i in range(12_000)], 400)
    line = [sys.executable, "-c", MEMORY, str(source), str(tmp_path / "out")]
    found = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    grown, total = map(int, found.stdout.split())
    assert total == 12_000
    assert grown < 15e6  # the shards hold 80 MB
