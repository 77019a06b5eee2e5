"""The text for other clients: S3 URLs, captions, labels, and short lists of tars."""

from fractions import Fraction

import pytest
from braceexpand import braceexpand
from hypothesis import given
from hypothesis import strategies as st

from shards import ShardError
from shards.tools.client_mix import ClientMix, ClientSource
from shards.tools.interop import CLIENTS, brace_patterns, python_list

NUMBERS = st.lists(st.integers(0, 30), min_size=1, max_size=25, unique=True).map(sorted)


def single(source: ClientSource) -> ClientMix:
    return ClientMix([source], [Fraction(1)])


def test_webdataset_reads_s3_by_a_command() -> None:
    mix = single(ClientSource([f"s3://bucket/{i:05d}.tar" for i in range(2)], [3, 4], [3, 4], 0, True))
    for client in ("open_clip", "timm"):
        assert "pipe:aws s3 cp s3://bucket/{00000..00001}.tar -" in CLIENTS[client](mix)
    assert "pipe:aws s3 cp s3://bucket/{n:05d}.tar -" in CLIENTS["webdataset"](mix)
    assert "pipe:aws s3 cp" not in CLIENTS["ray"](mix)


def test_without_labels_captions_are_the_target() -> None:
    mix = single(ClientSource(["/a.tar"], [3], [3], 0, False))
    assert '"txt"' in CLIENTS["webdataset"](mix)
    with pytest.raises(ShardError, match="timm trains on labels"):
        CLIENTS["timm"](mix)


def test_open_clip_needs_captions() -> None:
    with pytest.raises(ShardError, match="open_clip trains on captions"):
        CLIENTS["open_clip"](single(ClientSource(["/a.tar"], [3], [0], 0, True)))


def test_open_clip_counts_only_samples_with_captions() -> None:
    """Of the second source's 20 samples open_clip reads 5, so the factor follows from 5."""
    whole = ClientSource(["/a/0.tar", "/a/1.tar"], [10, 10], [10, 10], 0, True)
    quarter = ClientSource(["/b/0.tar", "/b/1.tar"], [10, 10], [5, 0], 2, True)
    text = CLIENTS["open_clip"](ClientMix([whole, quarter], [Fraction(1, 2)] * 2))
    assert "--train-data-upsampling-factors 1.0::4.0" in text
    assert "--train-num-samples 40" in text
    assert "# 2 captions are empty.\n" in text


@given(
    NUMBERS, st.sampled_from(["/a/{:05d}.tar", "/a b/it's {{x}},{{1..3}}/{}.tar", "gs://b2/s-{:02d}-train.tar", "/v{}"])
)
def test_patterns_and_lists_name_exactly_the_tars(numbers: list[int], name: str) -> None:
    urls = [name.format(i) for i in numbers]
    assert [url for pattern in brace_patterns(urls) for url in braceexpand(pattern)] == urls
    assert eval(python_list(urls)) == urls
    if numbers == list(range(numbers[0], numbers[-1] + 1)) and name.startswith("/a/"):
        assert len(brace_patterns(urls)) == 1, "consecutive shards are one pattern"
