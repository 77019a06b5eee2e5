"""Masks of real images: located, validated, cropped with their images, and warped without changing classes."""

import io
import json
import tarfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engine.config.condition_spec import WarpSpec
from engine.config.data_spec import SOURCES, SourceSettings
from engine.config.output_spec import ImageSpec
from engine.config.spec import Spec
from engine.data.masks import colours_of
from engine.data.open_source import open_source
from engine.data.real_shards import write_real_shards
from engine.data.sources.digits import CLASSES
from engine.data.splits import load_splits
from engine.errors import DataError
from engine.generators.conditioning.warp import draw_warp
from engine.generators.generator import Images
from engine.run.run import begin_run, plan_run
from engine.worker.runner import run_unit
from shards import ShardStream
from shards.codec import encode_mask
from shards.storage.manifest import read_rows
from tests.engine.fakes import FakeGenerator

PALETTE = {"sky": (0, 0, 0), "sea": (0, 0, 255), "ship": (255, 255, 255)}
ELEVEN = {name: (20 * number, 0, 0) for number, name in enumerate(("paper", *CLASSES))}
COLOURS = colours_of(PALETTE)


def blocks(seed: int, shape: tuple[int, int] = (24, 40)) -> np.ndarray:
    """Return a mask of squares of 8 pixels."""
    coarse = np.random.default_rng(seed).integers(0, 3, (shape[0] // 8, shape[1] // 8), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8), np.uint8))


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def fill(folder: Path, count: int = 6) -> dict[str, Any]:
    """Write images/<class>/ and masks/<class>/. Images show the palette's colours; masks are coloured or indexed."""
    for number in range(count):
        for name in ("calm", "storm"):
            mask = blocks(2 * number + (name == "storm"))
            for kind, pixels in (("images", COLOURS[mask]), ("masks", mask if number % 2 else COLOURS[mask])):
                path = folder / kind / name / "deep" / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(png(pixels))
    masks = {"palette": PALETTE, "path": str(folder / "masks")}
    return {"source": "imagefolder", "path": str(folder / "images"), "masks": masks}


def tars(folder: Path, drop: str = "", **fields: Any) -> dict[str, Any]:
    """Write the same images as a WebDataset tar, without the members whose extension is `drop`."""
    fill(folder)
    with tarfile.open(folder / "0.tar", "w") as tar:
        for path in sorted((folder / "images").rglob("*.png")):
            mask = folder / "masks" / path.relative_to(folder / "images")
            label = ("calm", "storm").index(path.parts[-3])
            members = {"png": path.read_bytes(), "mask.png": mask.read_bytes(), "cls": str(label).encode()}
            members["json"] = json.dumps({"class_name": path.parts[-3], **fields}).encode()
            for extension, data in members.items():
                if extension != drop:
                    info = tarfile.TarInfo(f"{label}-{path.stem}.{extension}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    return {"source": "webdataset", "path": str(folder), "masks": {"palette": PALETTE}}


def read(content: dict[str, Any]) -> SourceSettings:
    return SOURCES.parse(content)


@pytest.mark.parametrize("make", [fill, tars])
def test_every_image_comes_with_its_own_mask(make: Callable[[Path], dict[str, Any]], tmp_path: Path) -> None:
    real = open_source(read(make(tmp_path)))
    assert len(real.images) == 12
    for image in real.images:
        assert np.array_equal(COLOURS[image.mask()], image.pixels())


def test_held_out_images_have_masks_of_their_own(tmp_path: Path) -> None:
    data, other = fill(tmp_path / "a"), fill(tmp_path / "b", 2)
    data["masks"]["held_out"] = other["masks"]["path"]
    real = open_source(read(data | {"held_out": other["path"]}))
    assert len(real.held_out) == 4
    for image in real.held_out:
        assert np.array_equal(COLOURS[image.mask()], image.pixels())


@pytest.mark.parametrize(("height", "width"), [(24, 40), (48, 80), (24, 24), (12, 20), (60, 50)])
def test_on_disk_a_mask_lies_where_its_image_does(height: int, width: int, tmp_path: Path) -> None:
    splits = load_splits(read(fill(tmp_path) | {"splits": {"world": 0, "train": 0.5, "validation": 0.5, "test": 0}}))
    write_real_shards(splits, tmp_path / "real", ImageSpec(), (height, width))
    for split in ("train", "validation"):
        stream = ShardStream(str(tmp_path / "real" / split), shuffle=False, real_only=True, mask=True)
        batch = stream.read(range(len(stream)))
        assert batch.mask is not None
        assert batch.mask.shape == batch.image.shape[:3] == (6, height, width)
        nearest = np.abs(batch.image[..., None, :].astype(int) - COLOURS).sum(axis=-1).argmin(axis=-1)
        assert (nearest == batch.mask).mean() > 0.9, (
            "only the edges may differ, because resizing smooths them in the image"
        )
        rows = read_rows(tmp_path / "real" / split, ["mask_classes"])
        assert all(list(json.loads(row["mask_classes"])) == list(PALETTE) for row in rows)


def test_the_digits_are_masked_by_their_strokes() -> None:
    plain, masked = (
        open_source(read({"source": "digits"} | changes)) for changes in ({}, {"masks": {"palette": ELEVEN}})
    )
    assert [image.digest for image in masked.images] == [image.digest for image in plain.images], (
        "masks do not change the splits"
    )
    for image in masked.images[:200]:
        mask = image.mask()
        assert mask.shape == (32, 32)
        assert set(np.unique(mask)) == {0, image.label + 1}
        ink = image.pixels()[..., 0] / 255
        share = cv2.resize((mask > 0).astype(np.float32), (8, 8), interpolation=cv2.INTER_AREA)
        assert np.corrcoef(ink.ravel(), share.ravel())[0, 1] > 0.9


def resized(place: Path, shape: tuple[int, int]) -> dict[str, Any]:
    data = fill(place)
    (place / "masks/storm/deep/4.png").write_bytes(png(np.zeros(shape, np.uint8)))
    return data


def indexed(place: Path, pixels: np.ndarray) -> dict[str, Any]:
    data = fill(place)
    (place / "masks/storm/deep/4.png").write_bytes(png(pixels))
    return data


def unmasked(place: Path) -> dict[str, Any]:
    data = fill(place)
    (place / "masks/storm/deep/4.png").unlink()
    return data


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (unmasked, r"data\.masks: .*images/storm/deep/4\.png has no mask .*masks/storm/deep/4\.png; add it"),
        (lambda place: resized(place, (24, 39)), "4.png: is 40x24 pixels, and its mask 39x24; save"),
        (lambda place: resized(place, (12, 20)), "4.png: is 40x24 pixels, and its mask 20x12; save"),
        (lambda place: resized(place, (48, 40)), "4.png: is 40x24 pixels, and its mask 40x48; save"),
        (
            lambda place: indexed(place, np.full((24, 40), 3, np.uint8)),
            r"4\.png: a grey mask holds class indices, and 3 is none of the 3 of data\.masks\.palette",
        ),
        (
            lambda place: indexed(place, np.full((24, 40, 3), 9, np.uint8)),
            r"pixel 0,0 has the colour \[9, 9, 9\], which data\.masks\.palette does not name",
        ),
        (lambda place: tars(place, drop="mask.png"), r"data\.masks: .*0\.tar:0-0 has no \.mask\.png"),
        (
            lambda place: tars(place, mask_classes=json.dumps({"sea": 1, "sky": 2})),
            r"its mask's classes are sea, sky, and data\.masks\.palette has sky, sea, ship; give these in the masks'",
        ),
    ],
)
def test_errors_name_what_is_wrong_with_a_mask(
    make: Callable[[Path], dict[str, Any]], words: str, tmp_path: Path
) -> None:
    data = read(make(tmp_path))
    with pytest.raises(DataError, match=words):
        [image.mask() for image in open_source(data).images]


def test_one_image_with_two_masks_is_an_error(tmp_path: Path) -> None:
    data, images = fill(tmp_path), tmp_path / "images/storm/deep"
    (images / "copy.png").write_bytes((images / "4.png").read_bytes())
    mask = tmp_path / "masks/storm/deep/4.png"
    mask.with_name("copy.png").write_bytes(mask.read_bytes())
    assert load_splits(read(data)).duplicates == 1
    mask.with_name("copy.png").write_bytes(png(np.zeros((24, 40), np.uint8)))
    with pytest.raises(DataError, match=r"copy\.png and .*4\.png are the same image with two masks; remove one"):
        load_splits(read(data))


def test_a_palette_that_is_not_the_digits_is_refused() -> None:
    with pytest.raises(ValueError, match=r"masks\.palette: has 3 classes; the digits' masks have 11"):
        read({"source": "digits", "masks": {"palette": PALETTE}})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"source": "parquet", "path": "x", "masks": {"palette": PALETTE}}, "masks\n  Extra inputs are not permitted"),
        ({"source": "imagefolder", "path": "x", "masks": {"palette": PALETTE}}, r"masks\.path\n  Field required"),
        ({"source": "digits", "masks": {"palette": ELEVEN, "path": "x"}}, r"masks\.path\n  Extra inputs"),
        (
            {"source": "imagefolder", "path": "x", "held_out": "y", "masks": {"palette": PALETTE, "path": "z"}},
            r"masks\.held_out is .*: give it",
        ),
    ],
)
def test_mask_settings_must_fit_the_source(data: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read(data)


@given(st.integers(0, 2**63 - 1), st.integers(0, 99))
def test_a_warp_moves_image_and_mask_alike(seed: int, number: int) -> None:
    mask, spec = blocks(number, (48, 64)), WarpSpec(rotation=20, scale=0.2, shift=0.1, bend=0.05)
    warp = draw_warp(spec, np.random.default_rng(seed), 48, 64)
    changed = warp.mask(mask)
    assert set(np.unique(changed)) <= set(np.unique(mask))
    assert np.array_equal(changed, draw_warp(spec, np.random.default_rng(seed), 48, 64).mask(mask))
    moved = warp.image(COLOURS[mask])
    nearest = np.abs(moved[..., None, :].astype(int) - COLOURS).sum(axis=-1).argmin(axis=-1)
    assert (nearest == changed).mean() > 0.9


def test_a_zero_warp_is_the_identity_and_warps_scale() -> None:
    mask = blocks(3, (48, 64))
    still = WarpSpec(rotation=0, scale=0, shift=0, bend=0)
    assert np.array_equal(draw_warp(still, np.random.default_rng(0), 48, 64).mask(mask), mask)
    shifts = WarpSpec(rotation=0, scale=0, shift=0.25, bend=0)
    big, small = (
        draw_warp(shifts, np.random.default_rng(5), 48 * times, 64 * times).mask(np.kron(mask, np.ones((times,) * 2)))
        for times in (4, 1)
    )
    assert (big[2::4, 2::4] == small).mean() > 0.9, "the warp is the same at another size"
    assert (small != mask).mean() > 0.1


class PaintingGenerator(FakeGenerator):
    """A generator that paints each request in the colours of its layout."""

    def generate(self, requests: Any) -> Images:
        conditions = [request.condition for request in requests]
        self.requests += requests
        return Images(
            np.stack([condition.control(24, 24) for condition in conditions]),
            np.stack([condition.mask_at(24, 24) for condition in conditions]),
        )


def dense(place: Path, **changes: Any) -> Spec:
    content: dict[str, Any] = {
        "name": "dense",
        "data": fill(place, 12) | {"splits": {"world": 0.25, "train": 0.25, "validation": 0.25, "test": 0.25}},
        "plan": {"per_class": 9},
        "model": {"kind": "controlnet", "source": "embedded/digits", "controlnet": "embedded/digits-masks"},
        "condition": {"source": "masks"},
        "output": {"samples_per_shard": 6},
        "filters": [],
    }
    return Spec.model_validate_json(json.dumps(content | changes))


def test_synthetic_images_follow_warped_masks_of_train_images(tmp_path: Path) -> None:
    spec = dense(tmp_path, condition={"source": "masks", "flip": True})
    run = begin_run(plan_run(spec), tmp_path / "run")
    generator = PaintingGenerator()
    for number in run.pending():
        run_unit(run.context, number, generator, run.shards)
    assert spec.data is not None
    splits = load_splits(spec.data)
    train = {sha256(encode_mask(image.mask())).hexdigest(): image for image in splits.train}
    assert len(train) == 6
    stream = ShardStream(str(run.shards.local), shuffle=False, mask=True, fields=["source", "mask_classes"])
    batch = stream.read(range(len(stream)))
    assert batch.mask is not None
    assert len({mask.tobytes() for mask in batch.mask}) == len(batch) == 18, "every mask is warped differently"
    assert np.array_equal(batch.image, COLOURS[batch.mask])
    for label, mask, source, mask_classes in zip(batch.label, batch.mask, *batch.fields.values(), strict=True):
        assert train[source].label == label
        assert set(np.unique(mask)) <= set(np.unique(train[source].mask()))
        assert list(json.loads(mask_classes)) == list(PALETTE)


def test_masks_must_be_those_of_the_data(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"condition\.source 'masks' takes those of the real images: give data\.masks"):
        dense(tmp_path, data={"source": "digits"})
    other = {"source": "shapes", "palette": dict(reversed(PALETTE.items())), "background": "sky"}
    with pytest.raises(ValueError, match=r"condition\.palette and data\.masks\.palette name other classes"):
        dense(tmp_path, condition=other)
