"""Damaged and made-up inputs raise nothing but ShardmillError: some seconds of what `make fuzz` does for minutes."""

import io
import json
import tarfile
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.config.spec import Spec
from engine.config.spec_file import load_as
from engine.errors import SpecError
from shards.reading.tar_scan import scan_members
from tests.conftest import ROOT
from tests.fuzz import index, scan, spec, stream

TARGETS = {"scan": scan, "stream": stream, "index": index, "spec": spec}

SPECS = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "jobs/specs").glob("*.yaml"))]
KEYS = sorted({key for one in SPECS for key in one} | {"int", "str", "a[b", "", "kind", "source", "name", "\n"})
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
jsons = st.recursive(
    plain | st.sampled_from([2**63, 10**400, -1, "max", "{class}", "real", "a/b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def damaged(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Return a seed with some pieces replaced by others."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 3))):
        low = draw(st.integers(0, len(data)))
        other = draw(st.binary(max_size=12) | st.sampled_from(seeds).map(lambda one: one[:700]))
        data = data[:low] + other + data[low + draw(st.sampled_from([0, 1, len(other), 512])) :]
    return data


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_every_seed_is_taken(target: ModuleType) -> None:
    for seed in target.seeds():
        target.check(seed)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_damage_is_told_in_our_words(target: ModuleType) -> None:
    @settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
    @given(damaged(target.seeds()))
    def check(data: bytes) -> None:
        target.check(data)

    check()


def test_a_header_of_a_million_records_costs_one_pass() -> None:
    header = tarfile.TarInfo("all")
    records = b"7 a=bc\n" * 1_000_000 + b"".join(b"%d k%06d=x\n" % (13, n) for n in range(10_000))
    header.type, header.size = tarfile.XGLTYPE, len(records)
    member = tarfile.TarInfo("a.txt").tobuf(tarfile.USTAR_FORMAT)
    tar = header.tobuf(tarfile.USTAR_FORMAT) + records + b"\0" * (-len(records) % 512) + member * 10_000 + b"\0" * 1024
    started = time.process_time()
    assert len(list(scan_members(tar, "x.tar"))) == 10_000
    assert time.process_time() - started < 20


# -------------------------------------------------------------------------------------------------------- specs


def places(content: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return every place of a tree."""
    below = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [above, *(place for key, value in below for place in places(value, (*above, key)))]


@st.composite
def changed_specs(draw: st.DrawFn) -> Any:
    """Return a shipped spec with one value moved to another place or to another name."""
    content = deepcopy(draw(st.sampled_from(SPECS)))
    *above, last = draw(st.sampled_from(places(content)[1:]))
    holder = content
    for key in above:
        holder = holder[key]
    if isinstance(holder, dict) and draw(st.booleans()):
        last = draw(st.sampled_from(KEYS) | st.text(max_size=6))
    holder[last] = draw(jsons)
    return content


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(content=changed_specs())
@example({"int": 1})
@example({"a[b": 1})
@example({"model": {"source": "embedded/digits", "str": 1}})
@example({"classes": ["a"], "name": "x", "plan": {"per_class": 10**400}, "model": {"source": "embedded/digits"}})
@example({"classes": ["a"], "name": "x", "plan": {"total": 10**400}, "model": {"source": "embedded/digits"}})
def test_a_spec_of_another_form_is_told_in_our_words(content: Any) -> None:
    spec.check(yaml.safe_dump(content, allow_unicode=True).encode())


NESTED = "[" * 3000
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (NESTED, "not YAML: RecursionError"),
        ("a: &a [*a]", "Circular reference"),
        (BOMB, "is more than 8 MiB, its aliases written out"),
        ("a: !!int ''", "not YAML: IndexError"),
        ("a: !!bool x", "not YAML: KeyError"),
        ("a: !!timestamp x", "not YAML: AttributeError"),
        ("a: 2020-13-45", "not YAML: ValueError: month must be in 1..12"),
        ("a: " + "1:" * 400 + "1.5", "not YAML: OverflowError"),
        ("a: " + "9" * 5000, "not YAML: ValueError"),
        ("a: .inf", "Out of range float"),
        ("a: !!python/object/apply:os.system ['true']", "line 1: could not determine a constructor"),
    ],
)
def test_yaml_that_breaks_readers_is_refused(text: str, word: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=r"spec\.yaml") as caught:
        load_as(Spec, path)
    assert word in str(caught.value)
    assert len(str(caught.value)) < 400


def test_many_mistakes_are_some_lines(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(json.dumps({f"wrong{n}": 1 for n in range(100)}))
    with pytest.raises(SpecError) as caught:
        load_as(Spec, path)
    assert len(str(caught.value).splitlines()) == 9
    assert str(caught.value).endswith(" more")


# -------------------------------------------------------------------------------------------------------- indexes

values: dict[str, Callable[[int], st.SearchStrategy[pa.Array]]] = {
    "int64": lambda n: st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=n, max_size=n).map(
        lambda items: pa.array(items, pa.int64())
    ),
    "text": lambda n: st.lists(st.none() | st.text(), min_size=n, max_size=n).map(
        lambda items: pa.array(items, pa.string())
    ),
    "bytes": lambda n: st.lists(st.binary(), min_size=n, max_size=n).map(lambda items: pa.array(items, pa.binary())),
    "floats": lambda n: st.lists(st.floats(), min_size=n, max_size=n).map(lambda items: pa.array(items, pa.float64())),
    "lists": lambda n: st.just(pa.array([[1]] * n)),
}
COLUMNS = (
    "key",
    "label",
    "synthetic",
    "class_name",
    "image_offset",
    "image_size",
    "mask_offset",
    "mask_size",
    "json_offset",
)


@st.composite
def indexes(draw: st.DrawFn) -> bytes:
    """Return an index of ours with some columns that have other values, are absent or appear twice."""
    table = pq.read_table(index.ours() / "00000.parquet")
    for name in draw(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=3)):
        kept = table.select([column for column in table.column_names if column != name])
        kinds = draw(st.sampled_from([*values, None]))
        table = kept if kinds is None else kept.append_column(name, draw(values[kinds](table.num_rows)))
    if draw(st.booleans()):
        table = table.append_column(table.column_names[-1], table[-1])
    file = io.BytesIO()
    pq.write_table(table, file)
    return b"\0" + file.getvalue()


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(data=indexes())
def test_an_index_of_other_columns_is_told_in_our_words(data: bytes) -> None:
    index.check(data)
