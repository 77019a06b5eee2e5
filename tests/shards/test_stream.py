"""One stream: what it reads, takes, leaves out and refuses."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards import Batch, NotReal, Sample, ShardError, ShardStream, ShardWriter
from shards.codec import CorruptImage, decode_rgb, encode_rgb, fit_rgb
from shards.reading.shard_index import open_index
from shards.storage.open_store import open_store
from tests.shards.folders import write

NAMES = {0: "cat", 1: "dog", 2: "owl"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("stream"), "s", 50, True, classes=NAMES, mask=True)


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Of 24 samples number 5 is no image any more, and the last shard ends in the middle of number 20."""
    made = write(tmp_path, "r", 24, False)
    index = pq.read_table(made / "00000.parquet").to_pylist()
    tar = bytearray((made / "00000.tar").read_bytes())
    tar[index[5]["image_offset"] + 40 : index[5]["image_offset"] + 60] = b"x" * 20
    (made / "00000.tar").write_bytes(tar)
    end = pq.read_table(made / "00002.parquet").to_pylist()[4]["image_offset"] + 10
    (made / "00002.tar").write_bytes((made / "00002.tar").read_bytes()[:end])
    return made


def keys(batches: list[Batch]) -> list[str]:
    return [key for batch in batches for key in batch.key]


def test_every_sample_once_per_epoch_with_its_own_label_and_pixels(folder: Path) -> None:
    stream = ShardStream(folder, seed=5)
    for epoch in range(3):
        batch = stream.read(range(50 * epoch, 50 * (epoch + 1)))
        numbers = [int(key[1:]) for key in batch.key]
        assert sorted(numbers) == list(range(50))
        assert numbers != list(range(50))
        assert batch.label.tolist() == [number % 3 for number in numbers]
        assert batch.image[:, 0, 0, 0].tolist() == numbers
        assert batch.synthetic.all()
    assert stream.read(range(50)).key == ShardStream(folder, seed=5).read(range(50)).key
    assert stream.read(range(50)).key != ShardStream(folder, seed=6).read(range(50)).key
    assert stream.read(range(50)).key != stream.read(range(50, 100)).key


def test_without_shuffling_the_order_is_that_on_disk(folder: Path) -> None:
    stream = ShardStream(folder, shuffle=False)
    assert keys(list(stream.batches(8))) == [f"s{i:04d}" for i in range(50)]
    assert [item.key for item in stream] == [f"s{i:04d}" for i in range(50)]


@given(st.integers(1, 60), st.integers(1, 8))
def test_every_rank_has_as_many_batches_and_together_they_have_all(folder: Path, size: int, world_size: int) -> None:
    stream = ShardStream(folder, shuffle=False, threads=1)
    ranks = [list(stream.batches(size, rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert {len(batches) for batches in ranks} == {-(-50 // size)}
    assert sorted(key for batches in ranks for key in keys(batches)) == [f"s{i:04d}" for i in range(50)]
    assert all(len(batch.image) == len(batch.label) == len(batch.key) for one in ranks for batch in one)


@pytest.mark.parametrize("threads", [1, 2, 5, None])
def test_threads_change_nothing(folder: Path, threads: int | None) -> None:
    expected = ShardStream(folder, seed=5, threads=1).read(range(50))
    found = ShardStream(folder, seed=5, threads=threads).read(range(50))
    assert found.key == expected.key
    assert (found.image == expected.image).all()
    assert ShardStream(folder, threads=threads).read([7]).image.shape == (1, 4, 4, 3)


def test_memory_of_a_batch_that_nobody_holds_is_used_again(folder: Path) -> None:
    stream = ShardStream(folder, shuffle=False)
    places = {stream.read(range(5 * n, 5 * n + 5)).image.ctypes.data for n in range(10)}
    assert len(places) == 1


def test_a_batch_that_somebody_holds_is_never_written_again(folder: Path) -> None:
    stream = ShardStream(folder, shuffle=False)
    held = [stream.read(range(5 * n, 5 * n + 5)) for n in range(10)]
    views = [stream.read(range(5 * n, 5 * n + 5)).image[1:2, 0] for n in range(10)]
    for n, (batch, view) in enumerate(zip(held, views, strict=True)):
        assert batch.image[:, 3, 3, 2].tolist() == list(range(5 * n, 5 * n + 5))
        assert view[0, 0, 0] == 5 * n + 1


def test_a_real_only_stream_refuses_a_synthetic_sample(folder: Path) -> None:
    with pytest.raises(NotReal, match=r"00000\.tar: sample 's0000' is synthetic"):
        ShardStream(folder, real_only=True)
    with pytest.raises(NotReal):  # what the shards say stands above what their reader believes
        ShardStream(folder, real_only=True, synthetic=False)


def test_masks_and_fields_come_with_their_own_image(folder: Path) -> None:
    stream = ShardStream(folder, seed=2, mask=True, fields=["prompt", "class_name", "txt", "nothing"])
    for batch in stream.batches(16):
        numbers = [int(key[1:]) for key in batch.key]
        assert batch.mask is not None
        assert batch.mask.shape == (len(batch), 4, 4)
        assert batch.mask[:, 1, 2].tolist() == numbers
        assert batch.fields["prompt"] == batch.fields["txt"] == [f"number {number}" for number in numbers]
        assert batch.fields["class_name"] == [NAMES[number % 3] for number in numbers]
        assert batch.fields["nothing"] == [None] * len(batch)
    item = stream[3]
    assert item.mask is not None
    assert (item.image[0, 0, 0], item.mask[0, 0]) == (int(item.key[1:]), int(item.key[1:]))
    assert item.fields["prompt"] == f"number {int(item.key[1:])}"


def test_a_mask_that_is_not_there_is_named(tmp_path: Path) -> None:
    write(tmp_path, "r", 4, False)
    with pytest.raises(ShardError, match=r"sample 'r000\d' at byte \d+: its mask cannot be read"):
        ShardStream(tmp_path, mask=True).read([0, 1])


@pytest.mark.parametrize("format", ["png", "jpg", "webp"])
def test_images_of_different_sizes_are_scaled_and_cut_when_a_size_is_given(tmp_path: Path, format: str) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (20 + 3 * n, 31, 3), np.uint8) for n in range(6)]
    with ShardWriter(tmp_path, "00000") as writer:
        for n, image in enumerate(images):
            meta = {"key": f"k{n}", "label": n, "synthetic": False, "prompt": ""}
            writer.add(Sample(f"k{n}", encode_rgb(image, format), format, n, meta))
        files = writer.publish()
    open_store(tmp_path).publish_json("00000_stats.json", {"count": 6, "files": [one.as_json() for one in files]})
    with pytest.raises(ShardError, match=r"different sizes, \(20, 31\) and \(23, 31\): open the stream with size="):
        ShardStream(tmp_path, shuffle=False).read(range(6))
    batch = ShardStream(tmp_path, shuffle=False, size=16).read(range(6))
    assert batch.image.shape == (6, 16, 16, 3)
    for n, image in enumerate(images):
        decoded = decode_rgb(encode_rgb(image, format))
        assert (batch.image[n] == fit_rgb(decoded, 16, 16)).all()
        assert (ShardStream(tmp_path, shuffle=False)[n].image == decoded).all()
    assert ShardStream(tmp_path, size=(10, 12)).read([0]).image.shape == (1, 10, 12, 3)


def test_jpegs_are_decoded_as_cv2_does() -> None:
    rng = np.random.default_rng(1)
    for shape in ((33, 47), (8, 8), (1, 1), (64, 17)):
        for channels in (1, 3):
            pixels = cv2.GaussianBlur(rng.integers(0, 255, (*shape, channels), np.uint8), (0, 0), 2)
            data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
            expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
            out = np.zeros((*shape, 3), np.uint8)
            assert (decode_rgb(data) == expected).all()
            assert decode_rgb(data, out) is out
            assert (out == expected).all()
            wrong = np.zeros((shape[0] + 1, shape[1], 3), np.uint8)
            assert (decode_rgb(data, wrong) == expected).all()
            small = np.zeros((1, 1, 1), np.uint8)
            assert (decode_rgb(data, small) == expected).all()


def test_a_selection_is_taken_by_key(folder: Path, tmp_path: Path) -> None:
    wanted = [f"s{n:04d}" for n in (49, 3, 17, 20)]
    pq.write_table(pa.table({"key": wanted}), tmp_path / "keep.parquet")
    for chosen in (wanted, tmp_path / "keep.parquet", str(tmp_path / "keep.parquet")):
        stream = ShardStream(folder, select=chosen, seed=1)
        assert len(stream) == 4
        for epoch in range(3):
            assert sorted(stream.read(range(4 * epoch, 4 * epoch + 4)).key) == sorted(wanted)


def test_weights_of_a_selection_say_how_often_a_sample_comes(folder: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"key": ["s0007", "s0001"], "weight": [3.0, 1.0]}), tmp_path / "w.parquet")
    stream = ShardStream(folder, select=tmp_path / "w.parquet")
    assert sorted(stream.read(range(4)).key) == ["s0001", "s0007", "s0007", "s0007"]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"key": ["s0001", "x"]}, "1 of 2 keys are not in the shards, the first is 'x'"),
        ({"key": ["s0001", "s0001"]}, "twice"),
        ({"name": ["s0001"]}, "a selection has a column `key`, this has name"),
        ({"key": ["s0001"], "weight": [-1.0]}, "weights must be"),
        ({"key": ["s0001"], "weight": [float("nan")]}, "weights must be"),
        ({"key": ["s0001"], "weight": [0.0]}, "selects nothing"),
        ({"key": pa.array([], pa.string())}, "selects nothing"),
    ],
)
def test_a_selection_that_cannot_be_is_refused(
    folder: Path, tmp_path: Path, table: dict[str, object], words: str
) -> None:
    pq.write_table(pa.table(table), tmp_path / "keep.parquet")
    with pytest.raises(ShardError, match=words):
        ShardStream(folder, select=tmp_path / "keep.parquet")
    with pytest.raises(ShardError, match="cannot be read as parquet"):
        ShardStream(folder, select=tmp_path / "absent.parquet")


def test_a_key_of_several_samples_chooses_none(folder: Path, tmp_path: Path) -> None:
    again = write(tmp_path, "s", 3, False, classes=NAMES)
    assert len(ShardStream([folder, again], select=["s0003"])) == 1
    with pytest.raises(ShardError, match="several samples of the shards have the key 's0002'"):
        ShardStream([folder, again], select=["s0003", "s0002"])


def test_labels_follow_the_names_that_are_asked_for(folder: Path) -> None:
    stream = ShardStream(folder, classes=["owl", "cat", "pet"], class_map={"dog": "pet"}, shuffle=False)
    assert stream.read(range(6)).label.tolist() == [1, 2, 0, 1, 2, 0]
    assert stream.classes == {0: "owl", 1: "cat", 2: "pet"}
    without = ShardStream(folder, classes=["cat", "owl"], class_map={"dog": None}, shuffle=False)
    assert without.read(range(4)).label.tolist() == [0, 1, 0, 1]
    assert len(without) == 33
    with pytest.raises(ShardError, match=r"class 'dog' \(label 1 in the shards\) is none of \['cat', 'owl'\]"):
        ShardStream(folder, classes=["cat", "owl"])
    with pytest.raises(ShardError, match="no sample is left of 50"):
        ShardStream(folder, classes=["fox"], class_map=dict.fromkeys(NAMES.values()))
    with pytest.raises(ValueError, match="give those as well"):
        ShardStream(folder, class_map={"dog": None})


def test_shards_without_names_are_mapped_by_label(tmp_path: Path) -> None:
    write(tmp_path, "r", 9, False)
    stream = ShardStream(tmp_path, classes=["a", "b"], class_map={0: "b", 1: "a", 2: None}, shuffle=False)
    assert stream.read(range(6)).label.tolist() == [1, 0, 1, 0, 1, 0]
    with pytest.raises(ShardError, match=r"the shards tell no name for label 0: give one, class_map=\{0: NAME\}"):
        ShardStream(tmp_path, classes=["a", "b"])


def test_a_label_in_a_class_map_renames_no_class_that_has_a_name(folder: Path, tmp_path: Path) -> None:
    nameless = write(tmp_path, "t", 3, False, classes={})
    renamed = {0: "owl", 1: "owl", 2: None}
    stream = ShardStream([folder, nameless], classes=["cat", "dog", "owl"], class_map=renamed, shuffle=False)
    assert stream.read(range(6)).label.tolist() == [0, 1, 2, 0, 1, 2]
    assert stream.read([50, 51]).label.tolist() == [2, 2]
    assert len(stream) == 52


def test_labels_may_be_any_numbers(tmp_path: Path) -> None:
    names = {2**62: "cat", 2**62 + 1: "dog", -5: "owl"}
    table = pa.table({"label": list(names), "class_name": list(names.values())})
    index = replace(open_index(write(tmp_path, "r", 3, False)), label=table["label"].to_numpy())
    index = replace(index, class_of=table["class_name"].combine_chunks().dictionary_encode())
    pairs, which = index.pairs()
    assert [pairs[one] for one in which] == list(names.items())


def test_several_places_are_one_stream_if_their_labels_agree(folder: Path, tmp_path: Path) -> None:
    more = write(tmp_path / "more", "t", 10, True, classes=NAMES)
    stream = ShardStream([folder, more / "{00000..00001}.tar"], seed=3)
    assert sorted(stream.read(range(60)).key) == [f"s{n:04d}" for n in range(50)] + [f"t{n:04d}" for n in range(10)]
    other = write(tmp_path / "other", "u", 10, True, classes={0: "dog", 1: "cat", 2: "owl"})
    with pytest.raises(ShardError, match="label 0 is 'cat' in some shards and 'dog' in others"):
        ShardStream([folder, other])
    aligned = ShardStream([folder, other], classes=["cat", "dog", "owl"], shuffle=False)
    assert aligned.read([0, 1, 50, 51]).label.tolist() == [0, 1, 1, 0]


def test_a_jpeg_with_a_hole_is_damage(tmp_path: Path) -> None:
    steps = np.mgrid[0:256, 0:256].sum(0)
    jpeg = bytearray(encode_rgb(np.stack([steps // 2] * 3, axis=-1).astype(np.uint8), "jpg"))
    middle = len(jpeg) // 2
    jpeg[middle : middle + 64] = bytes(64)
    with pytest.raises(CorruptImage, match="premature end of data"):
        decode_rgb(bytes(jpeg))


def test_a_sample_of_weight_0_stands_for_no_other(damaged: Path, tmp_path: Path) -> None:
    """r0002 and r0008 are of the class of r0005, which is damaged."""
    table = pa.table({"key": ["r0002", "r0005", "r0008"], "weight": [1.0, 1.0, 0.0]})
    pq.write_table(table, tmp_path / "w.parquet")
    stream = ShardStream(damaged, select=tmp_path / "w.parquet", on_error="skip", shuffle=False)
    assert stream.read([0, 1]).key == ("r0002", "r0002")


def test_damage_is_named(damaged: Path) -> None:
    with pytest.raises(ShardError, match=r"00000\.tar, sample 'r0005' at byte \d+: .*run verify"):
        ShardStream(damaged, shuffle=False).read(range(8))
    with pytest.raises(ShardError, match=r"00002\.tar, sample 'r0020' at byte \d+: the file ends \d+ bytes early"):
        ShardStream(damaged, shuffle=False).read(range(16, 24))
    (damaged / "00002.tar").write_bytes(b"")
    with pytest.raises(ShardError, match=r"00002\.tar"):
        ShardStream(damaged).read(range(24))
    with pytest.raises(ShardError, match="there is no such file or folder"):
        ShardStream(damaged / "nothing")


@pytest.mark.parametrize("threads", [1, 3])
def test_damage_is_skipped_and_counted_when_asked(damaged: Path, threads: int) -> None:
    stream = ShardStream(damaged, shuffle=False, on_error="skip", threads=threads)
    for _ in range(2):
        batch = stream.read(range(24))
        assert batch.label.tolist() == [n % 3 for n in range(24)]
        assert batch.image[:, 0, 0, 0].tolist() == [int(key[1:]) for key in batch.key]
        wrong = [n for n, key in enumerate(batch.key) if key != f"r{n:04d}"]
        assert wrong == [5, 20, 21, 22, 23]
        assert batch.key[5] == "r0008"  # the next one of its class
        assert sorted(stream.skipped) == [f"r{n:04d}" for n in wrong]
    assert "bytes early" in stream.skipped["r0021"]
    first = ShardStream(damaged, shuffle=False, on_error="skip").read([5, 20])
    assert first.label.tolist() == [2, 2]


def test_where_nothing_can_stand_for_a_damaged_sample_it_is_raised(damaged: Path) -> None:
    stream = ShardStream(damaged, on_error="skip", select=["r0005"])
    with pytest.raises(ShardError, match="no other sample of its class"):
        stream.read([0])


def test_hashes_are_checked_when_asked(folder: Path, tmp_path: Path) -> None:
    assert len(ShardStream(folder, check_hashes=True).read(range(50))) == 50
    write(tmp_path, "r", 8, False)
    tar = bytearray((tmp_path / "00000.tar").read_bytes())
    tar[100] ^= 1  # a header's mode: no image and no label suffers
    (tmp_path / "00000.tar").write_bytes(tar)
    assert len(ShardStream(tmp_path).read(range(8))) == 8
    with pytest.raises(ShardError, match=r"00000\.tar.*SHA-256"):
        ShardStream(tmp_path, check_hashes=True).read(range(8))
    swapped = pq.read_table(tmp_path / "00000.parquet")
    labels = pa.array(swapped["label"].to_pylist()[::-1])
    pq.write_table(swapped.set_column(swapped.column_names.index("label"), "label", labels), tmp_path / "00000.parquet")
    with pytest.raises(ShardError, match=r"00000\.parquet: SHA-256 is .*, and its stats file says"):
        ShardStream(tmp_path, check_hashes=True)
    (tmp_path / "00000_stats.json").unlink()
    with pytest.raises(ShardError, match=r"00000_stats\.json.*cannot be checked"):
        ShardStream(tmp_path, check_hashes=True).read(range(8))


def test_many_shards_are_read_with_few_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shards.reading.mapped_shards._MAPPED", 3)
    write(tmp_path, "r", 60, False, per_shard=2)
    stream = ShardStream(tmp_path, seed=1, threads=2)
    for batch in islice(stream.batches(7), 8):
        assert batch.image[:, 0, 0, 0].tolist() == [int(key[1:]) for key in batch.key]


@pytest.mark.parametrize("wrong", [{"fields": "prompt"}, {"on_error": "ignore"}])
def test_options_that_do_not_exist_are_refused(folder: Path, wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="must be a list"):
        ShardStream(folder, **wrong)  # type: ignore[arg-type]
