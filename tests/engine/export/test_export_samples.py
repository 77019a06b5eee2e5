"""Exports of runs, and the exports that are refused."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from engine.errors import OutputError
from engine.export import output_folder
from engine.export.export_samples import export_samples
from engine.export.export_splits import whole_split
from engine.export.formats import make_writer
from engine.export.shard_reader import open_shard_folder
from shards.errors import ShardError
from shards.storage.manifest import finished_tars
from tests.engine.export.exports import CLASSES, exported, make_run, refused, stored
from tests.engine.shardsets import make_shards, plain_shards, sample


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return plain_shards(tmp_path / "shards", CLASSES)


def test_a_run_is_exported_whole(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = exported(tiny_run, tmp_path / "out", "imagefolder")
    output = capsys.readouterr().out
    assert "120 images of 3 classes" in output
    assert "note:" not in output
    assert {path.relative_to(out).as_posix() for path in out.rglob("*.png")} == {
        f"{sample.meta['class_name']}/{sample.key}.png" for sample in stored(tiny_run / "shards")
    }


def test_the_finished_units_of_a_run_are_exported(
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


def test_what_cannot_be_exported_is_refused(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert "neither a run" in refused(capsys, 2, tmp_path, "--to", "parquet", "--out", out)
    assert "has no mask" in refused(capsys, 2, shards, "--to", "coco", "--out", out)
    assert "--to parquet has no mask classes" in refused(
        capsys, 2, shards, "--to", "parquet", "--out", out, "--background", "water"
    )
    assert "use one of coco, imagefolder, parquet" in refused(capsys, 2, shards, "--to", "coc", "--out", out)
    assert "not empty" in refused(capsys, 1, shards, "--to", "parquet", "--out", shards)
    assert "holds no shards" in refused(capsys, 2, shards, "--to", "parquet", "--out", out, "--with-real")
    tar = finished_tars(shards)[-1]
    tar.write_bytes(tar.read_bytes()[:-6000])
    assert f"{tar}, sample " in refused(capsys, 1, shards, "--to", "imagefolder", "--out", out)
    tar.unlink()
    assert "verify" in refused(capsys, 1, shards, "--to", "imagefolder", "--out", out)
    assert [path.name for path in tmp_path.iterdir()] == ["shards"], "a failed export leaves nothing behind"


def test_a_label_that_is_not_its_class_is_no_export(tmp_path: Path) -> None:
    shards = make_shards(tmp_path / "shards", ("a", "b"), [[sample("0", 1, "a", 0)]])
    with pytest.raises(ShardError, match="label 1 is not its class"):
        export_samples(
            whole_split(open_shard_folder(shards)), ("a", "b"), make_writer("imagefolder", None), tmp_path / "out"
        )


class FailingWriter:
    """A writer that fills the disk."""

    data_files = None

    def write(self, folder: Path, samples: object, schema: object) -> None:
        (folder / "half").write_text("an export")
        raise OSError(28, "No space left on device")


def test_a_failed_export_leaves_an_empty_folder_empty(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(OutputError, match="No space left"):
        export_samples(whole_split(open_shard_folder(shards)), CLASSES, FailingWriter(), out)
    assert not list(out.iterdir())
    exported(shards, out, "parquet")
    assert len(list(out.glob("*.parquet"))) == 1


def test_a_disk_that_is_too_small_is_refused_first(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_folder, "free_bytes", lambda _: 1000)
    with pytest.raises(OutputError, match=r"0\.0 MB are free"):
        export_samples(whole_split(open_shard_folder(shards)), CLASSES, make_writer("parquet", None), tmp_path / "out")
    assert not (tmp_path / "out").exists()
