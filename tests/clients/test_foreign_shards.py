"""Our stream reads shards of other writers: of the real packages, or of their layout file by file."""

import gc
import io
import json
import random
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from shards import ShardError, ShardStream
from shards.reading.members import Members
from tests.conftest import start_ray

SAMPLES = 12


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARDMILL_CACHE", str(tmp_path / "cache"))


def colour(i: int) -> tuple[int, int, int]:
    """Return the colour of every pixel of image i. JPEG and WebP keep it to a few grey levels."""
    return 20 * i, 255 - 20 * i, 120


def image(i: int, format: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 12), colour(i)).save(buffer, {"jpg": "jpeg"}.get(format, format))
    return buffer.getvalue()


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def by_webdataset(folder: Path) -> dict[str, int]:
    from webdataset import ShardWriter

    with ShardWriter(str(folder / "train-%04d.tar"), maxcount=5, verbose=0) as writer:
        for i in range(SAMPLES):
            pixels = np.full((12, 16, 3), colour(i), np.uint8)
            sample = {"__key__": f"n0144/Größe_{i}", "png": pixels, "cls": i % 3, "json": {"i": i}}
            writer.write({**sample, "pyd": {"a": "pickle"}, "npy": np.zeros(3), "input.txt": "text"})
    return {f"n0144/Größe_{i}": i for i in range(SAMPLES)}


def by_shell(folder: Path, format: str) -> dict[str, int]:
    """Members in no order, folders, links, long names, a sample without a label, one without an image."""
    keys = {f"data/d{'d' * 9 * i}/{i}": i for i in range(SAMPLES)}
    files = {f"{key}.{end}": body for key, i in keys.items() for end, body in members(i).items()}
    files |= {"data/lonely.cls": b"1", "data/README": b"no sample"}
    source = folder.parent / "source"
    write_files(source, files)
    (source / "data" / "link.png").symlink_to("README")
    names = ["data/link.png", "data/d", *files]
    random.Random(1).shuffle(names)
    command = ["tar", f"--format={format}", "--no-recursion", "-cf", folder / "all.tar", "-C", source, "-T", "-"]
    subprocess.run(command, input="\n".join(names), text=True, check=True)
    return keys


def members(i: int) -> dict[str, bytes]:
    return {("png", "jpg", "webp")[i % 3]: image(i, ("png", "jpg", "webp")[i % 3]), "cls": b"%d\n" % (i % 3)}


def by_gnu_tar(folder: Path) -> dict[str, int]:
    return by_shell(folder, "gnu")


def by_pax_tar(folder: Path) -> dict[str, int]:
    return by_shell(folder, "pax")


def by_ustar_tar(folder: Path) -> dict[str, int]:
    return by_shell(folder, "ustar")


def by_v7_tar(folder: Path) -> dict[str, int]:
    source = folder.parent / "source"
    write_files(source, {f"{i}.{end}": body for i in range(SAMPLES) for end, body in members(i).items()})
    subprocess.run(["tar", "--format=v7", "-cf", folder / "all.tar", "-C", source, "."], check=True)
    return {f"./{i}": i for i in range(SAMPLES)}


def by_ray_data(folder: Path) -> dict[str, int]:
    import ray

    start_ray()
    pixels = [np.full((12, 16, 3), colour(i), np.uint8) for i in range(SAMPLES)]
    rows = [{"__key__": f"{i:04d}", "jpg": pixels[i], "cls": i % 3, "json": {"i": i}} for i in range(SAMPLES)]
    ray.data.from_items(rows).write_webdataset(str(folder))
    return {f"{i:04d}": i for i in range(SAMPLES)}


def by_img2dataset(folder: Path) -> dict[str, int]:
    """The layout of its WebDatasetSampleWriter and its write_stats; a failed download has a parquet row alone."""
    from webdataset import TarWriter

    for shard in range(2):
        metas = []
        with (folder / f"{shard:05d}.tar").open("wb") as file, TarWriter(file) as writer:
            for n in range(SAMPLES // 2 + 1):
                i, key = shard * SAMPLES // 2 + n, f"{shard:05d}{n:04d}"
                done = n < SAMPLES // 2
                meta = {
                    "caption": f"größe {i}",
                    "url": f"http://x/{i}",
                    "key": key,
                    "exif": "{}",
                    "sha256": f"{i:064x}",
                }
                meta |= {"status": "success" if done else "failed_to_download", "width": 16 if done else None}
                meta |= {"error_message": None if done else "HTTP Error 404: Not Found", "class": i % 3}
                if done:
                    text = json.dumps(meta, indent=4)
                    writer.write({"__key__": key, "jpg": image(i, "jpg"), "txt": meta["caption"], "json": text})
                metas.append(meta)
        pq.write_table(pa.Table.from_pylist(metas), folder / f"{shard:05d}.parquet")
        stats = {"count": 7, "successes": 6, "failed_to_download": 1, "failed_to_resize": 0, "duration": 1.5}
        stats |= {"start_time": 1.5, "end_time": 3.0, "status_dict": {"success": 6, "HTTP Error 404: Not Found": 1}}
        (folder / f"{shard:05d}_stats.json").write_text(json.dumps(stats, indent=4))
    return {f"{i // 6:05d}{i % 6:04d}": i for i in range(SAMPLES)}


def by_hub_users(folder: Path) -> dict[str, int]:
    """As data sets on the hub often are: split names, `.jpeg`, the label in the `.json`, Python's tarfile."""
    for shard in range(2):
        with tarfile.open(folder / f"train-{shard:05d}-of-00002.tar", "w") as tar:
            for i in range(shard, SAMPLES, 2):
                meta = {"class": i % 3, "class_name": "größe", "nested": {"a": [1, None, float("nan")]}}
                for end, body in (("jpeg", image(i, "jpg")), ("json", json.dumps(meta).encode())):
                    info = tarfile.TarInfo(f"Übung {i}" + "x" * 99 + f".{end}")
                    info.size = len(body)
                    tar.addfile(info, io.BytesIO(body))
    return {f"Übung {i}" + "x" * 99: i for i in range(SAMPLES)}


leaves_files_open = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
IN_JSON = (by_img2dataset, by_hub_users)
sets_what_it_deprecates = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")


@pytest.mark.parametrize(
    "write",
    [
        by_webdataset,
        by_gnu_tar,
        by_pax_tar,
        by_ustar_tar,
        by_v7_tar,
        pytest.param(by_ray_data, marks=sets_what_it_deprecates),
        by_img2dataset,
        by_hub_users,
    ],
)
def test_every_image_comes_with_its_label(write: Callable[[Path], dict[str, int]], tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    written = write(folder)
    assert len(written) == SAMPLES
    labels = Members(label="json.class") if write in IN_JSON else None
    for _ in ("scanned", "from the kept index"):
        stream = ShardStream(folder, synthetic=False, shuffle=False, threads=1, members=labels)
        samples = {item.key: item for item in stream}
        assert samples.keys() == written.keys()
        assert len(stream) == SAMPLES
        for key, i in written.items():
            assert samples[key].label == i % 3
            assert not samples[key].synthetic
            assert samples[key].image.shape == (12, 16, 3)
            assert np.abs(samples[key].image.astype(int) - colour(i)).max() <= 6


def test_captions_and_fields_of_img2dataset(tmp_path: Path) -> None:
    written = by_img2dataset(tmp_path)
    stream = ShardStream(tmp_path, synthetic=False, shuffle=False, fields=["txt", "url", "exif", "nothing"])
    batch = stream.read(range(SAMPLES))
    numbers = [written[key] for key in batch.key]
    assert batch.label.tolist() == [-1] * SAMPLES  # it knows of no labels
    assert batch.fields["txt"] == [f"größe {i}" for i in numbers]
    assert batch.fields["url"] == [f"http://x/{i}" for i in numbers]
    assert (batch.fields["exif"], batch.fields["nothing"]) == (["{}"] * SAMPLES, [None] * SAMPLES)


@leaves_files_open
def test_webdataset_reads_the_same_samples(tmp_path: Path) -> None:
    from webdataset import WebDataset

    by_webdataset(tmp_path)
    theirs = WebDataset([str(path) for path in sorted(tmp_path.glob("*.tar"))], shardshuffle=False, empty_check=False)
    stream = ShardStream(tmp_path, synthetic=False, shuffle=False)
    ours = stream.reader.encoded(stream.rows)
    for sample, item, encoded in zip(theirs, stream, ours, strict=True):
        assert (sample["__key__"], int(sample["cls"])) == (item.key, item.label)
        assert sample["png"] == encoded.tobytes()
    gc.collect()  # so that what it left open is warned of here, where that is allowed


def test_masks_by_another_name(tmp_path: Path) -> None:
    from webdataset import ShardWriter

    with ShardWriter(str(tmp_path / "%04d.tar"), verbose=0) as writer:
        for i in range(4):
            writer.write({"__key__": f"{i}", "jpg": image(i, "jpg"), "seg.png": np.full((12, 16), i, np.uint8)})
    stream = ShardStream(tmp_path, synthetic=False, shuffle=False, members=Members(mask="seg.png"), mask=True)
    mask = stream.read(range(4)).mask
    assert mask is not None
    assert (mask == np.arange(4)[:, None, None]).all()


def test_shard_of_a_killed_writer_is_refused_by_name(tmp_path: Path) -> None:
    by_webdataset(tmp_path)
    last = sorted(tmp_path.glob("*.tar"))[-1]
    whole = last.read_bytes()
    with tarfile.open(last) as tar:
        member = tar.getmembers()[-2]
    place = member.offset_data + member.size + -member.size % 512
    last.write_bytes(whole[:place])  # between two members, where nothing but the missing end tells
    with pytest.raises(ShardError, match=rf"{last}, byte {place}: the tar ends without its end mark"):
        ShardStream(tmp_path, synthetic=False)


def test_no_member_is_ever_decoded_by_its_name(tmp_path: Path) -> None:
    from webdataset import TarWriter

    with TarWriter(str(tmp_path / "0.tar")) as writer:
        for key in ("../../escape", "/etc/passwd", "a"):
            writer.write({"__key__": key, "png": image(1, "png"), "pickle": b"cos\nsystem\n(S'exit 1'\ntR.", "cls": 1})
    before = sorted(tmp_path.rglob("*"))
    stream = ShardStream(tmp_path / "0.tar", synthetic=False, shuffle=False)
    assert stream.read(range(3)).key == ("../../escape", "/etc/passwd", "a")
    assert [path for path in sorted(tmp_path.rglob("*")) if "cache" not in path.parts] == before
