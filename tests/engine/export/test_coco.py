"""The export format coco, read with pycocotools."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.export.formats.coco import run_lengths
from tests.engine.export.exports import exported, refused, stored
from tests.engine.shardsets import PALETTE, make_shards, mask_of, masked


@pytest.fixture
def harbours(tmp_path: Path) -> Path:
    shards = [[masked(f"{n:09d}", n) for n in range(start, start + 4)] for start in (0, 4)]
    return make_shards(tmp_path / "shards", ("harbour",), shards)


@pytest.mark.parametrize("background", [None, "water"])
def test_coco_gives_every_mask_back_exactly(harbours: Path, tmp_path: Path, background: str | None) -> None:
    from pycocotools.coco import COCO

    options = [] if background is None else ["--background", background]
    out = exported(harbours, tmp_path / "out", "coco", *options)
    coco = COCO(str(out / "annotations.json"))
    named = {category["name"]: category["id"] for category in coco.loadCats(coco.getCatIds())}
    assert named == {name: n for n, name in enumerate(PALETTE, 1) if name != background}
    images = coco.loadImgs(coco.getImgIds())
    assert [image["file_name"] for image in images] == [f"{n:09d}.png" for n in range(8)]
    for number, (image, expected) in enumerate(zip(images, stored(harbours), strict=True)):
        assert (out / "images" / image["file_name"]).read_bytes() == expected.image
        assert image["metadata"] == expected.meta
        mask = np.zeros((image["height"], image["width"]), np.uint8)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]])):
            region = coco.annToMask(annotation).astype(bool)
            assert not mask[region].any(), "regions do not overlap"
            mask[region] = annotation["category_id"] - 1
            rows, columns = np.nonzero(region)
            left, top = columns.min(), rows.min()
            assert annotation["area"] == region.sum()
            assert annotation["bbox"] == [left, top, columns.max() - left + 1, rows.max() - top + 1]
            assert annotation["category_id"] in named.values()
        assert np.array_equal(mask, mask_of(number))


@given(st.integers(1, 12), st.integers(1, 12), st.randoms(use_true_random=False))
def test_runs_of_any_region_are_those_of_pycocotools(height: int, width: int, random) -> None:  # type: ignore[no-untyped-def]
    from pycocotools import mask as reference

    region = np.array([[random.random() < 0.5 for _ in range(width)] for _ in range(height)])
    region[random.randrange(height), random.randrange(width)] = True
    columns = np.flatnonzero(region.any(axis=0))
    left, right = int(columns[0]), int(columns[-1]) + 1
    ours = run_lengths(region[:, left:right], left, region.shape)
    assert reference.frPyObjects(ours, height, width) == reference.encode(np.asfortranarray(region.astype(np.uint8)))


def test_each_split_has_its_own_annotations(harbours: Path, tmp_path: Path) -> None:
    out = exported(harbours, tmp_path / "out", "coco", "--splits", "train=0.75,extra=0.25")
    counts = {
        split: len(json.loads((out / split / "annotations.json").read_text())["images"]) for split in ("train", "extra")
    }
    assert counts == {"train": 6, "extra": 2}


def test_an_unknown_background_is_refused(harbours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, 2, harbours, "--to", "coco", "--out", tmp_path / "out", "--background", "sky")
    assert "use one of water, boat, größe" in error
