"""Our own dataset in a real DataLoader: the same sequence from any number of workers."""

from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from shards import MixedStream, ShardStream
from shards.loader import ShardDataset


def passed(folder: Path, workers: int, start: int = 0) -> list[dict[str, Any]]:
    stream = MixedStream(None, ShardStream(folder, seed=5), 1.0, batch_size=16, seed=5)
    stream.load_state_dict({"batch": start})
    return list(DataLoader(ShardDataset(stream, steps=9 - start), batch_size=None, num_workers=workers))


def assert_same(first: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    assert len(first) == len(other)
    for a, b in zip(first, other, strict=True):
        assert a["key"] == b["key"]
        assert all(torch.equal(a[name], b[name]) for name in ("image", "label", "synthetic"))


def test_sequence_does_not_depend_on_the_number_of_workers(tiny_run: Path) -> None:
    alone = passed(tiny_run / "shards", 0)
    assert len(alone) == 9
    assert alone[0]["image"].shape == (16, 3, 32, 32)
    assert alone[0]["image"].dtype == torch.uint8
    assert len({key for batch in alone[:7] for key in batch["key"]}) == 7 * 16, "an epoch repeats nothing"
    assert_same(alone, passed(tiny_run / "shards", 2))


def test_loader_goes_on_in_the_middle_of_an_epoch(tiny_run: Path) -> None:
    assert_same(passed(tiny_run / "shards", 0)[4:], passed(tiny_run / "shards", 2, start=4))


def test_keys_labels_and_pixels_are_those_on_disk(tiny_run: Path) -> None:
    on_disk = {}
    for batch in ShardStream(tiny_run / "shards", shuffle=False).batches(32):
        on_disk |= {key: (label, image) for key, label, image in zip(batch.key, batch.label, batch.image, strict=True)}
    for batch in passed(tiny_run / "shards", 2):
        for key, label, image in zip(batch["key"], batch["label"], batch["image"], strict=True):
            assert label == on_disk[key][0]
            assert (image.permute(1, 2, 0).numpy() == on_disk[key][1]).all()
