"""The commands `inspect` and `reshard`."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import fsspec
import numpy as np
import pytest

from jobs.__main__ import main
from jobs.progress import print_progress
from shards.codec import encode_rgb
from shards.tools.image_grid import MAX_CLASSES
from tests.shards.tools.shard_folders import CLASSES, make_sample, read_files, write_folder, write_foreign

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write seven synthetic and three real samples whose image sizes and formats differ."""
    samples = [make_sample(i, i < 7, note="x") for i in range(10)]
    return write_folder(tmp_path / "set", samples, 4)


def inspect_json(run: Run, *arguments: object) -> dict[str, Any]:
    code, out, err = run("inspect", *arguments, "--json")
    assert (code, err) == (0, "")
    summary: dict[str, Any] = json.loads(out)
    return summary


def test_json_tells_what_is_there(folder: Path, run: Run) -> None:
    summary = inspect_json(run, folder)
    assert {name: summary[name] for name in ("shards", "samples", "synthetic", "real", "not_said", "problems")} == {
        "shards": 3,
        "samples": 10,
        "synthetic": 7,
        "real": 3,
        "not_said": 0,
        "problems": 0,
    }
    assert summary["bytes"] == sum(path.stat().st_size for path in folder.glob("*.tar"))
    assert summary["classes"] == [
        {"label": label, "name": name, "samples": count}
        for label, (name, count) in enumerate(zip(CLASSES, (4, 3, 3), strict=True))
    ]
    assert summary["images"] == {"formats": {"png": 10}, "width": [6, 6], "height": [4, 4]}
    assert summary["members"] == dict.fromkeys(("png", "cls", "json", "txt"), 10)
    assert summary["fields"]["synthetic"] == {"bool": 10}


def test_the_text_tells_the_same(folder: Path, run: Run) -> None:
    code, out, err = run("inspect", folder)
    assert (code, err) == (0, "")
    for line in ("samples   10", "images    10 png; 6x4", "origin    7 synthetic, 3 real, 0 not said", "größe"):
        assert line in out
    assert "\nnote:" not in out
    assert "damaged" not in out


def test_shards_of_others(tmp_path: Path, run: Run) -> None:
    write_foreign(tmp_path / "foreign")
    summary = inspect_json(run, tmp_path / "foreign" / "a-b.tar")
    assert (summary["samples"], summary["without_image"], summary["not_said"]) == (8, 1, 8)
    assert summary["fields"]["score"] == {"float": 3, "int": 3}
    assert summary["fields"]["ok"] == {"bool": 5, "null": 1}
    assert summary["fields"]["exif"] == {"object": 6}
    assert summary["members"]["pyd"] == 6
    assert summary["classes"][-1] == {"label": None, "name": None, "samples": 2}
    (tmp_path / "foreign" / "_info.json").write_text(json.dumps({"classes": CLASSES}))
    assert [row["name"] for row in inspect_json(run, tmp_path / "foreign")["classes"]] == [*CLASSES, None]
    assert [row["label"] for row in inspect_json(run, tmp_path / "foreign", "--label", "json.width")["classes"]] == [
        6,
        None,
    ]


def test_a_url(folder: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARDMILL_CACHE", str(tmp_path / "cache"))
    store = fsspec.filesystem("memory")
    try:
        for name, data in read_files(folder).items():
            store.pipe_file(f"/birds/{name}", data)
        local, remote = inspect_json(run, folder), inspect_json(run, "memory://birds/{00000..00002}.tar")
        assert {**local, "path": ""} == {**remote, "path": ""}
        assert inspect_json(run, "memory://birds", "--first", 1)["samples"] == 4
    finally:
        store.rm("/birds", recursive=True)


def pack(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"b.png": b"no image"}, "sample 'b' at byte"),
        ({"b.cls": b"two"}, "sample 'b': .cls: b'two' is no class index"),
        ({"b.json": b"{"}, "sample 'b': .json"),
        ({"b.json": b"[1]"}, "sample 'b': .json: list, not an object"),
        ({"b.jpg": b""}, "sample 'b': several images: jpg, png"),
    ],
)
def test_what_is_damaged_is_named_and_the_rest_counted(
    tmp_path: Path, run: Run, change: dict[str, bytes], words: str
) -> None:
    image = encode_rgb(np.zeros((5, 5, 3), np.uint8), "png")
    files = {f"{key}.{ext}": data for key in "abc" for ext, data in (("png", image), ("cls", b"1"), ("json", b"{}"))}
    pack(tmp_path / "0.tar", dict(sorted((files | change).items())))
    code, out, err = run("inspect", tmp_path)
    assert code == 1
    assert words in out
    assert words in err
    assert "samples   3" in out


def test_names_of_strangers_do_not_steer_a_terminal(tmp_path: Path, run: Run) -> None:
    image, title = encode_rgb(np.zeros((5, 5, 3), np.uint8), "png"), "\x1b]0;größe\x07"
    fields = json.dumps({"class": title, title: 1}).encode()
    pack(tmp_path / "0.tar", {"a.png": image, "a.cls": b"0", "a.json": fields, "\x1b[2J.cls": b"\x1b"})
    code, out, err = run("inspect", tmp_path)
    assert code == 1
    assert "\\x1b]0;größe\\x07" in out
    assert not {"\x1b", "\x07"} & {*out, *err}


def test_a_tar_cut_short_and_one_that_is_not_finished(folder: Path, run: Run) -> None:
    (folder / "00001.tar").write_bytes((folder / "00001.tar").read_bytes()[:3000])
    (folder / "00002_stats.json").unlink()
    code, out, err = run("inspect", folder)
    assert code == 1
    assert f"damaged: {folder}/00001.tar, byte" in out
    assert "incomplete: 1 shards without a stats file, not read: 00002.tar" in out
    assert "samples   4" in out
    assert err.count("\n") == 1


def test_decoding_finds_what_headers_do_not_tell(folder: Path, run: Run) -> None:
    data = bytearray((folder / "00000.tar").read_bytes())
    start = data.index(b"IDAT") + 6
    data[start : start + 8] = bytes(8)
    (folder / "00000.tar").write_bytes(data)
    assert run("inspect", folder)[0] == 0
    code, out, _ = run("inspect", folder, "--decode")
    assert code == 1
    assert "00000.tar, sample 's00000' at byte" in out
    assert "00000.tar: changed since it was written" in out


def test_keys_in_several_shards_are_counted(tmp_path: Path, run: Run) -> None:
    image = encode_rgb(np.zeros((5, 5, 3), np.uint8), "png")
    for name, keys in (("0.tar", "ab"), ("1.tar", "bc"), ("2.tar", "bd")):
        pack(tmp_path / name, {f"{key}.png": image for key in keys})
    assert inspect_json(run, tmp_path)["repeated_keys"] == 2
    assert "2 samples have the key of a sample in another shard" in run("inspect", tmp_path)[1]


def test_the_sheet_shows_each_class_in_its_row(tmp_path: Path, run: Run) -> None:
    """Images of one colour, which is that of their class."""
    colours = np.random.default_rng(1).integers(60, 200, (3, 3), dtype=np.uint8)
    shades = [encode_rgb(np.full((9, 5, 3), colour, np.uint8), "png") for colour in colours]
    meta = [{"class_name": name, "synthetic": bool(i)} for i, name in enumerate(CLASSES)]
    files: dict[str, bytes] = {}
    for n in range(30):
        label = n % 3
        content = {"png": shades[label], "cls": b"%d" % label, "json": json.dumps(meta[label]).encode()}
        files |= {f"k{n}.{extension}": data for extension, data in content.items()}
    pack(tmp_path / "0.tar", files)
    for name in ("a.png", "b.png"):
        assert run("inspect", tmp_path, "--sheet", tmp_path / name)[0] == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    sheet = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_COLOR_RGB)
    seen_colours = [
        tuple(int(value) for value in colour) for colour in np.unique(sheet[:, 200:].reshape(-1, 3), axis=0)
    ]
    for label, colour in enumerate(colours):
        rows = np.flatnonzero((sheet[:, 240] == colour).all(axis=1))
        assert tuple(map(int, colour)) in seen_colours
        assert len(rows) == (72 if label == 0 else 68)  # an orange frame of two pixels round synthetic ones
        assert (sheet[int(rows.mean()), 240::76] == colour).all()
        assert (sheet[rows[0] : rows[-1], :200] < 128).any(), "no name"


def test_more_classes_than_a_sheet_or_a_screen_holds(tmp_path: Path, run: Run) -> None:
    image = encode_rgb(np.zeros((5, 5, 3), np.uint8), "png")
    pack(tmp_path / "0.tar", {f"k{n}.{e}": d for n in range(300) for e, d in (("png", image), ("cls", b"%d" % n))})
    code, out, _ = run("inspect", tmp_path, "--sheet", tmp_path / "sheet.png")
    assert code == 0
    assert "and 260 more classes" in out
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[0] < 80 * (MAX_CLASSES + 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere"),
        (["{folder}", "--sheet", "{folder}/no/sheet.png"], "cannot be written"),
        (["{folder}", "--label", "json.note"], "json.note: 'x' is no class index"),
    ],
)
def test_bad_input_is_one_line(folder: Path, run: Run, arguments: list[str], words: str) -> None:
    code, _, err = run("inspect", *(argument.format(folder=folder) for argument in arguments))
    assert code == 1
    assert words in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_reshard_from_the_command_line(tmp_path: Path, run: Run) -> None:
    write_foreign(tmp_path / "foreign")
    line = ["reshard", tmp_path / "foreign", "--out", tmp_path / "out", "--shards", 2, "--members", "npy"]
    code, out, err = run(*line)
    assert (code, err) == (0, "")
    assert "note: .pyd of 6 samples is left out" in out
    assert "note: 1 samples without an image are left out" in out
    assert "7 samples of 3 classes in 2 shards" in out
    before = read_files(tmp_path / "out")
    assert run(*line)[0] == 0
    assert read_files(tmp_path / "out") == before
    code, _, err = run(*line[:-4], "--shards", 3)
    assert code == 1
    assert err.count("\n") == 1
    assert "from other shards or with other options" in err


def test_progress_is_a_line_on_a_terminal_and_else_silent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(print_progress(range(1, 4), 3, "shards")) == [1, 2, 3]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("jobs.progress._LIVE_SECONDS", 0)
    assert list(print_progress(range(1, 4), 3, "shards")) == [1, 2, 3]
    stderr = capsys.readouterr().err
    assert "shards: 2 of 3, 0:00 left" in stderr
    assert stderr.endswith("\r\033[K")
