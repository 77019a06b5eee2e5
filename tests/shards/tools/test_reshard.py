"""Resharding: another shard size, merged sources and selections; the bytes of members stay and results repeat."""

import gc
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from shards import Members, ShardCache, ShardError, ShardStream
from shards.codec import encode_rgb
from shards.storage.commit import sha256_of
from shards.storage.manifest import read_all_stats, read_rows
from shards.tools.reshard import Resharder
from shards.tools.reshard_plan import ReshardOptions, read_selected_keys
from shards.tools.verify import verify_folder
from tests.shards.tools.shard_folders import (
    CLASSES,
    make_plan,
    make_sample,
    read_files,
    read_members,
    write_folder,
    write_foreign,
)

ROOT = Path(__file__).parents[3]


def reshard(sources: Iterable[Path], out: Path, **options: Any) -> Path:
    plan = make_plan(sources, ReshardOptions(**options))
    resharder = Resharder(plan, out, ShardCache())
    resharder.prepare_folder()
    assert list(resharder.write())[-1] == plan.total
    return out


@settings(max_examples=20)
@given(st.integers(1, 45))
def test_another_shard_size_and_back_gives_equal_files(
    source: Path, tmp_path_factory: pytest.TempPathFactory, size: int
) -> None:
    other = reshard([source], tmp_path_factory.mktemp("other") / "out", per_shard=size)
    back = reshard([other], tmp_path_factory.mktemp("back") / "out", per_shard=12)
    assert [len(part) for part in ReshardOptions(size).shard_ranges(40)] == [
        stats["count"] for stats in read_all_stats(other).values()
    ]
    assert read_members(other) == read_members(source)
    for path in (*source.glob("*.tar"), *source.glob("*.parquet")):
        assert sha256_of(path) == sha256_of(back / path.name), path.name


def test_every_run_gives_equal_and_valid_shards(source: Path, tmp_path: Path) -> None:
    out, again = (reshard([source], tmp_path / name, shards=7) for name in ("out", "again"))
    assert read_files(out) == read_files(again)
    assert [stats["count"] for stats in read_all_stats(out).values()] == [5, 6, 6, 5, 6, 6, 6]
    digest = read_all_stats(out)["00000"]["plan_digest"]
    assert list(verify_folder(out, CLASSES, [f"{n:05d}" for n in range(7)], digest)) == []
    assert all(stats["license"] == "cc0-1.0" and stats["model"] == "m" for stats in read_all_stats(out).values())
    assert json.loads((out / "_info.json").read_text())["classes"] == list(CLASSES)


def test_sources_with_different_fields_are_merged(source: Path, tmp_path: Path) -> None:
    real = write_folder(tmp_path / "real", [make_sample(i, False, split="train", origin=f"{i}") for i in range(9)], 4)
    out = reshard([real, source], tmp_path / "out", per_shard=10)
    assert read_members(out) == read_members(real) | read_members(source)
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


def test_a_selection_keeps_only_its_keys(source: Path, tmp_path: Path) -> None:
    keys = [f"s{number:05d}" for number in (3, 39, 17)]
    pq.write_table(pa.table({"key": keys}), tmp_path / "keep.parquet")
    out = reshard([source], tmp_path / "out", select=read_selected_keys(tmp_path / "keep.parquet"))
    assert [row["key"] for row in read_rows(out, ["key"])] == sorted(keys)
    assert read_members(out) == {name: data for name, data in read_members(source).items() if name[:6] in keys}
    with pytest.raises(ShardError, match="1 of 4 keys"):
        reshard([source], tmp_path / "more", select=frozenset([*keys, "s99999"]))
    pq.write_table(pa.table({"key": keys, "weight": [1.0, 2.0, 3.0]}), tmp_path / "weights.parquet")
    with pytest.raises(ShardError, match="weight"):
        read_selected_keys(tmp_path / "weights.parquet")


def test_a_stopped_reshard_resumes_to_equal_files(source: Path, tmp_path: Path) -> None:
    whole = reshard([source], tmp_path / "whole", per_shard=6)
    out = tmp_path / "out"
    resharder = Resharder(make_plan([source], ReshardOptions(6)), out, ShardCache())
    resharder.prepare_folder()
    steps = resharder.write()
    assert [next(steps), next(steps), next(steps)] == [6, 12, 18]
    steps.close()
    assert sorted(read_all_stats(out)) == ["00000", "00001", "00002"]
    (out / "00002_stats.json").unlink()  # stopped before the last step of publishing
    first = (out / "00000.tar").stat().st_ino
    reshard([source], out, per_shard=6)
    assert read_files(out) == read_files(whole)
    assert (out / "00000.tar").stat().st_ino == first, "finished shards are not written again"


def test_a_folder_with_other_content_is_refused(source: Path, tmp_path: Path) -> None:
    out = reshard([source], tmp_path / "out", per_shard=20)
    before = read_files(out)
    for other in ({"per_shard": 10}, {"shards": 2}, {"per_shard": 20, "select": frozenset(["s00001"])}):
        with pytest.raises(ShardError, match="from other shards or with other options"):
            reshard([source], out, **other)
    with pytest.raises(ShardError, match="from other shards or with other options"):
        reshard([write_folder(tmp_path / "real", [make_sample(1, False)], 1)], out, per_shard=20)
    assert read_files(out) == before
    with pytest.raises(ShardError, match="is the source"):
        reshard([source], source)
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.tex").write_text("x")
    with pytest.raises(ShardError, match="thesis"):
        reshard([source], tmp_path / "papers")


def test_foreign_members_keep_their_bytes_and_names(tmp_path: Path) -> None:
    files = write_foreign(tmp_path / "foreign")
    plan = make_plan([tmp_path / "foreign"], ReshardOptions(extra_members=("npy",)))
    assert (plan.dropped_members, plan.imageless) == ({"pyd": 6, "seg.png": 6}, 1)
    out = reshard([tmp_path / "foreign"], tmp_path / "out", per_shard=3, extra_members=("npy",))
    kept = {name: data for name, data in files.items() if not name.endswith((".pyd", ".seg.png", "alone.txt"))}
    assert read_members(out) == kept
    stream = ShardStream(out, shuffle=False, synthetic=False, fields=("exif", "score"), size=4)
    batch = stream.read(range(7))
    by_key = dict(zip(batch.key, batch.label.tolist(), strict=True))
    assert by_key == {"größe/" + "x" * 120: -1} | {f"train/Bild {i}": i % 3 for i in range(6)}
    assert {json.dumps(value) for value in batch.fields["exif"]} == {'{"iso": 100}', "null"}
    names = pq.read_schema(out / "00000.parquet").names
    assert "ok" in names
    assert "npy_offset" in names
    assert not {"exif", "score"} & set(names)  # no plain type that all of them have
    rows = {row["key"]: row for row in read_rows(out, ["key", "ok", "synthetic", "image_format"])}
    assert [rows[f"train/Bild {i}"]["ok"] for i in range(6)] == [True, True, True, None, True, True]
    assert {row["synthetic"] for row in rows.values()} == {None}
    assert {row["image_format"] for row in rows.values()} == {"jpg"}


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset leaves them open
def test_webdataset_reads_its_own_samples_resharded(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    image = encode_rgb(np.zeros((4, 4, 3), np.uint8), "png")
    with webdataset.ShardWriter(str(tmp_path / "theirs" / "%03d.tar"), maxcount=4, verbose=0) as writer:
        for i in range(10):
            writer.write({"__key__": f"k{i}", "png": image, "json": {"class": i % 2, "n": i}})
    out = reshard([tmp_path / "theirs"], tmp_path / "out", per_shard=5, roles=Members(label="json.class"))
    urls = [str(path) for path in sorted(out.glob("*.tar"))]
    read = list(webdataset.WebDataset(urls, shardshuffle=False))
    gc.collect()  # so that warnings about open files come here, where they are ignored
    assert [(row["__key__"], json.loads(row["json"])["n"], row["png"]) for row in read] == [
        (f"k{i}", i, image) for i in range(10)
    ]
    assert ShardStream(out, shuffle=False, synthetic=False).read(range(10)).label.tolist() == [0, 1] * 5


def test_a_source_that_changes_meanwhile_is_an_error(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "source", [make_sample(i) for i in range(8)], 8)
    out = tmp_path / "out"
    resharder = Resharder(make_plan([folder], ReshardOptions(3)), out, ShardCache())
    resharder.prepare_folder()
    write_folder(tmp_path / "less", [make_sample(i) for i in range(5)], 5)
    (folder / "00000.tar").write_bytes((tmp_path / "less" / "00000.tar").read_bytes())
    with pytest.raises(ShardError, match="have changed"):
        list(resharder.write())
    assert sorted(read_all_stats(out)) == ["00000"]


MEMORY = """
import sys, psutil
from pathlib import Path
from shards import ShardCache
from shards.tools.reshard import Resharder
from shards.tools.reshard_plan import ReshardOptions, ReshardPlanner
used = []
def note(_):
    used.append(psutil.Process().memory_info().rss)
cache = ShardCache()
planner = ReshardPlanner([sys.argv[1]], ReshardOptions(300), cache)
for step in planner.scan(): note(step)
plan = planner.plan()
resharder = Resharder(plan, Path(sys.argv[2]), cache)
resharder.prepare_folder()
for step in resharder.write(): note(step)
print(max(used[len(used) // 2:]) - used[len(used) // 2], plan.total)
"""


def test_memory_does_not_grow_with_the_shards(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", [make_sample(i, text="x" * 2000) for i in range(12_000)], 400)
    line = [sys.executable, "-c", MEMORY, str(source), str(tmp_path / "out")]
    result = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    grown, total = map(int, result.stdout.split())
    assert total == 12_000
    assert grown < 15e6  # the shards hold 80 MB
