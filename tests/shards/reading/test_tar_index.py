"""Samples of tars of other tools: their keys, labels and metadata."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from webdataset.tariterators import base_plus_ext

from shards.errors import ShardError
from shards.reading.members import Members
from shards.reading.tar_index import index_tar
from shards.reading.tar_samples import read_tar_samples
from tests.shards.tars import JPG, PNG, Entry, names, pack, refusal

DEFAULT = Members()


def rows(files: Sequence[Entry], members: Members = DEFAULT) -> list[dict]:
    return index_tar(pack(files), "x.tar", members).to_pylist()


@given(name=names)
@example("a/b.c/d.seg.png")
@example("./a.jpg")
@example("noext")
def test_keys_equal_those_of_webdataset(name: str) -> None:
    """Hidden files in folders are the exception: webdataset takes them for samples named like the folder."""
    assume("\n" not in name and not name.rpartition("/")[2].startswith("."))
    key, extension = base_plus_ext(name)
    try:
        image = "png" if extension is None else extension.lower()
        table = rows([(name, PNG)], Members(image=(image,), label="none", mask="none"))
    except ValueError:  # too long for ustar
        assume(False)
    written = [] if key is None else [key.encode("utf-8", "backslashreplace").decode()]
    if not written or not name.startswith("__"):
        assert [row["key"] for row in table] == written


def test_a_row_holds_ranges_and_metadata() -> None:
    meta = {"synthetic": True, "class_name": "größe"}
    files = [("a.json", json.dumps(meta).encode()), ("a.JPG", JPG), ("a.cls", b" 7\n"), ("a.mask.png", PNG)]
    data = pack([*files, ("a.txt", b"text"), ("a.pyd", b"a pickle"), ("a.npy", b"array")])
    (row,) = index_tar(data, "x.tar", Members()).to_pylist()
    assert {name: row[name] for name in ("key", "label", "synthetic", "class_name", "image_format")} == {
        "key": "a", "label": 7, "synthetic": True, "class_name": "größe", "image_format": "jpg",
    }  # fmt: skip
    stored = {role: data[row[f"{role}_offset"] :][: row[f"{role}_size"]] for role in ("image", "mask", "json", "txt")}
    assert stored == {"image": JPG, "mask": PNG, "json": files[0][1], "txt": b"text"}


def test_samples_without_an_image_are_counted() -> None:
    table = index_tar(
        pack([("a.png", PNG), ("b.cls", b"1"), ("c.txt", b"no image"), ("README.md", b"")]), "x.tar", Members()
    )
    (row,) = table.to_pylist()
    assert (row["key"], row["label"], row["synthetic"], row["class_name"]) == ("a", -1, None, None)
    assert [row[f"{role}_offset"] for role in ("mask", "json", "txt")] == [-1, -1, -1]
    assert [row[f"{role}_size"] for role in ("mask", "json", "txt")] == [0, 0, 0]
    assert table.schema.metadata[b"incomplete"] == b"2"


@given(
    order=st.permutations([f"{key}.{end}" for key in ("a", "B/c", "B/é", "B.d/a") for end in ("png", "cls", "json")])
)
def test_members_may_come_in_any_order(order: list[str]) -> None:
    contents = {"png": PNG, "json": b'{"synthetic": false}'}
    table = rows([(name, contents.get(name.rpartition(".")[2], str(len(name)).encode())) for name in order])
    assert {row["key"] for row in table} == {"a", "B/c", "B/é", "B.d/a"}
    assert all(row["label"] == len(row["key"] + ".cls") and row["synthetic"] is False for row in table)
    firsts = list(dict.fromkeys(name.rpartition(".")[0] for name in order))
    assert [row["key"] for row in table] == firsts


def test_meta_and_hidden_members_are_no_samples() -> None:
    hidden = [("__meta__/a.png", PNG), (".hidden.png", PNG), ("folder/._a.png", PNG), ("folder/", b"")]
    shown = [("__a__.png", PNG), ("__b.png", PNG), ("folder/__c.png", PNG)]
    keys = ["__a__", "__b", "folder/__c"]
    assert [row["key"] for row in rows([*hidden, *shown])] == keys
    entries = read_tar_samples(pack([*hidden, *shown]), "x.tar", Members())
    assert [sample.key for sample in entries if not sample.key.startswith((".", "folder/."))] == keys, (
        "reshard finds the same"
    )


def test_the_image_format_follows_from_its_bytes() -> None:
    files = [("a.png", JPG), ("b.jpeg", PNG), ("c.webp", b"RIFF\0\0\0\0WEBP"), ("d.jpeg", b"damaged")]
    assert [row["image_format"] for row in rows(files)] == ["jpg", "png", "webp", "jpg"]


def test_two_members_of_one_role_are_refused() -> None:
    text = refusal(lambda: rows([("a.cls", b"1"), ("a.png", PNG), ("b.png", PNG), ("a.cls", b"2")]))
    assert "x.tar, byte " in text
    assert "'a.cls'" in text
    pair = [("a.jpg", JPG), ("a.png", PNG)]
    assert "'a.jpg' and 'a.png' are both the image" in refusal(lambda: rows(pair))
    (row,) = rows(pair, Members(mask="png"))
    assert (row["image_format"], row["mask_size"]) == ("jpg", len(PNG))


@pytest.mark.parametrize("value", [b"cat", b"", b"1.0", b"1_0", "٣".encode(), b"9" * 19, b"9" * 30, b"\xff"])
def test_a_cls_that_is_no_integer_is_refused(value: bytes) -> None:
    text = refusal(lambda: rows([("a.png", PNG), ("a.cls", value)]))
    assert "x.tar: sample 'a': cls holds" in text
    assert value.decode("ascii", "backslashreplace")[:20] in text


@pytest.mark.parametrize(
    "meta", [b'{"y": "3"}', b'{"y": true}', b'{"y": 3.0}', b"{}", b"[3]", b"{", b'{"y": NaN}', None]
)
def test_a_json_label_that_is_no_integer_is_refused(meta: bytes | None) -> None:
    files = [("a.png", PNG), ("a.cls", b"1")] + ([] if meta is None else [("a.json", meta)])
    assert "sample 'a': json.y" in refusal(lambda: rows(files, Members(label="json.y")))


def test_labels_may_come_from_json_or_another_member() -> None:
    files = [("a.png", PNG), ("a.json", b'{"y": -5}'), ("a.id.txt", b"12"), ("a.cls", b"unused")]
    assert [row["label"] for row in rows(files, Members(label="json.y"))] == [-5]
    assert [row["label"] for row in rows(files, Members(label="id.txt"))] == [12]


jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["synthetic", "class_name"]), inner),
).map(lambda value: json.dumps(value).encode())


@given(meta=jsons | st.binary())
@example(b"[" * 100_000)
@example(b'{"class_name": "\\ud800", "synthetic": 1}')
@example(b'{"synthetic": ' + b"9" * 5000 + b"}")
@example(b"\xef\xbb\xbf{}")
def test_a_damaged_json_does_not_lose_its_sample(meta: bytes) -> None:
    try:
        facts = json.loads(meta)
    except (ValueError, RecursionError):
        facts = None
    facts = facts if isinstance(facts, dict) else {}
    if not isinstance(facts.get("synthetic"), bool | None):
        with pytest.raises(ShardError, match=r"\.json: synthetic is .*, neither true nor false"):
            rows([("a.png", PNG), ("a.json", meta)])
        return
    (row,) = rows([("a.png", PNG), ("a.json", meta)])
    assert row["json_size"] == len(meta)
    assert row["synthetic"] is facts.get("synthetic")
    assert (row["class_name"] is None) == (not isinstance(facts.get("class_name"), str))


def test_keys_that_are_not_utf8_are_escaped() -> None:
    assert [row["key"] for row in rows([("\udcff.png", PNG)])] == ["\\udcff"]
