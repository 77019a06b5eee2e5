"""The splits of an export, with and without real images."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import SpecError
from engine.export.export_samples import export_samples
from engine.export.export_splits import assign_shares, parse_shares, split_by_shares, split_with_real
from engine.export.formats import make_writer
from engine.export.shard_reader import open_shard_folder
from shards.errors import NotReal
from tests.engine.export.exports import CLASSES, exported, make_run
from tests.engine.shardsets import plain_shards


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return plain_shards(tmp_path / "shards", CLASSES)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=200),
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.randoms(use_true_random=False),
)
def test_shares_are_exact_in_every_class_and_follow_from_the_key(labels: list[int], weights: list[int], random) -> None:  # type: ignore[no-untyped-def]
    shares = [weight / sum(weights) for weight in weights]
    keys = [f"k{n}" for n in range(len(labels))]
    parts = assign_shares(keys, np.array(labels), shares)
    for label in set(labels):
        counts = Counter(int(part) for part, sample_label in zip(parts, labels, strict=True) if sample_label == label)
        size = sum(counts.values())
        assert all(abs(counts[number] - share * size) < 1 for number, share in enumerate(shares))
    order = list(range(len(labels)))
    random.shuffle(order)
    again = assign_shares([keys[i] for i in order], np.array([labels[i] for i in order]), shares)
    assert [int(part) for part in again] == [int(parts[i]) for i in order]


def test_splits_divide_every_class_and_say_what_is_synthetic(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = exported(shards, tmp_path / "out", "imagefolder", "--splits", "train=0.8,validation=0.2")
    assert "note: synthetic images in validation" in capsys.readouterr().out
    for split, count in (("train", 8), ("validation", 2)):
        assert {name: len(list((out / split / name).iterdir())) for name in CLASSES} == dict.fromkeys(CLASSES, count)
    assert len({path.name for path in out.rglob("*.png")}) == 30
    exported(shards, tmp_path / "one", "imagefolder")
    assert "note:" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    ["", "train", "train=1.5", "train=0.5,train=0.5", "a/b=1", "=1", "train=x", "train=1,test=0", "..=1", "a=nan"],
)
def test_bad_shares_are_refused(text: str) -> None:
    with pytest.raises(SpecError, match=r"write it as train=0\.8"):
        parse_shares(text)


def test_a_split_that_would_be_empty_is_refused(shards: Path) -> None:
    with pytest.raises(SpecError, match=r"test=0\.001 of 30 images is none"):
        split_by_shares(open_shard_folder(shards), parse_shares("train=0.999,test=0.001"))


@pytest.mark.parametrize("form", ["imagefolder", "parquet"])
def test_real_images_judge_and_train_beside_synthetic_ones(form: str, tmp_path: Path) -> None:
    from datasets import load_dataset

    run = make_run(tmp_path / "run")
    source = open_shard_folder(run / "shards")
    export_samples(split_with_real(run, source), source.classes, make_writer(form, None), tmp_path / "out")
    dataset = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {name: Counter(split["synthetic"]) for name, split in dataset.items()} == {
        "train": {False: 6, True: 30},
        "validation": {False: 6},
    }
    assert {row["seed"] for row in dataset["validation"]} == {0 if form == "imagefolder" else None}
    assert (
        "| train | 36 | with synthetic images |\n| validation | 6 | real |" in (tmp_path / "out/README.md").read_text()
    )


def test_a_validation_split_that_is_not_real_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", validation_is_real=False)
    with pytest.raises(NotReal, match="validation"):
        split_with_real(run, open_shard_folder(run / "shards"))
    shutil.rmtree(run / "real")
    with pytest.raises(SpecError, match="`sweep` writes the real images"):
        split_with_real(run, open_shard_folder(run / "shards"))
