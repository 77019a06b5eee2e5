"""The index of shards."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from shards.reading.shard_index import open_index
from tests.shards.folders import write


def test_class_pairs_handle_any_label(tmp_path: Path) -> None:
    names = {2**62: "cat", 2**62 + 1: "dog", -5: "owl"}
    table = pa.table({"label": list(names), "class_name": list(names.values())})
    index = replace(open_index(write(tmp_path, "r", 3, False)), label=table["label"].to_numpy())
    index = replace(index, class_of=table["class_name"].combine_chunks().dictionary_encode())
    pairs, which = index.class_pairs()
    assert [pairs[number] for number in which] == list(names.items())
