"""ControlNet: masks that are labels by construction."""

import base64
import json
import shutil
from collections import Counter
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.config.spec import Spec
from engine.errors import ModelError
from engine.generators.generator import load_generator
from engine.report.class_images import read_thumbnails
from engine.report.write_report import write_report
from engine.run.run import Run
from engine.worker.replay import replay
from engine.worker.runner import run_unit, time_batch
from shards.codec import decode_mask, decode_rgb
from tests.recipes.controlnets import SMALL, begin, make, make_controlnet, models
from tests.recipes.harness import assert_actors_make_the_same, make_recipe, members, rows, shipped
from tests.recipes.models import make_sdxl

__all__ = ["models"]


@pytest.fixture(scope="module")
def drawn(models: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run the shipped controlnet-seg.yaml with a small model."""
    small = ("plan.per_class=8", "output.samples_per_shard=8", "output.image.size=32")
    return make_recipe(shipped("controlnet-seg.yaml", *models, *SMALL, *small), tmp_path_factory.mktemp("drawn"))


def masks(run: Run) -> list[np.ndarray]:
    return [decode_mask(data) for data in members(run, rows(run), "mask")]


def layout_spec(models: tuple[str, ...], path: Path, *more: str) -> Spec:
    palette = dict(shipped("controlnet-seg.yaml").condition.palette)  # type: ignore[union-attr]
    condition = json.dumps({"source": "layouts", "path": str(path), "palette": palette})
    counts = ("plan.per_class=6", "output.samples_per_shard=9", "output.image.size=8")
    return shipped("controlnet-seg.yaml", *models, *SMALL, *counts, f"condition={condition}", *more)


def test_drawn_layouts_are_masks_of_their_class(drawn: Run) -> None:
    plan, palette = drawn.context.plan, drawn.context.spec.condition.palette  # type: ignore[union-attr]
    names = list(palette)
    for row, mask, image in zip(rows(drawn), masks(drawn), members(drawn, rows(drawn), "image"), strict=True):
        assert mask.shape == decode_rgb(image).shape[:2] == (32, 32)
        assert {names[index] for index in np.unique(mask)} == {row["class_name"], "road"}
        assert json.loads(row["mask_classes"]) == {name: list(colour) for name, colour in palette.items()}
        assert list(json.loads(row["mask_classes"])) == names
        assert row["source"] == ""
        book = drawn.context.conditions
        assert book is not None
        again = book.condition(plan.slot_of_key(row["key"]), row["seed"], "").mask_at(32, 32)
        assert np.array_equal(mask, again)
    assert len({mask.tobytes() for mask in masks(drawn)}) == plan.total


def test_the_report_shows_masks_in_the_palettes_colours(drawn: Run) -> None:
    names = [drawn.context.plan.shard_name(number) for number in range(drawn.context.plan.n_units)]
    shown = [one for found in read_thumbnails(drawn.shards, {0: names, 1: names}, 6).values() for one in found]
    stored = {row["key"]: mask for row, mask in zip(rows(drawn), masks(drawn), strict=True)}
    colours = np.array(list(drawn.context.spec.condition.palette.values()), np.uint8)  # type: ignore[union-attr]
    assert len(shown) == 12
    for picture in shown:
        coloured = decode_rgb(base64.b64decode(picture.mask.partition(",")[2]))
        assert np.array_equal(coloured, colours[stored[picture.key]])
    assert Path(write_report(drawn)).read_text().count('alt="its mask"') > 12


@pytest.mark.usefixtures("shared_ray")
def test_a_batch_can_be_timed(drawn: Run) -> None:
    spec = drawn.context.spec
    assert time_batch(drawn.context, load_generator(spec.model, spec.output.image, spec.cluster)) > 0


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write three layouts of each class: RGB, with a palette of its own, and grey."""
    folder, noise = tmp_path_factory.mktemp("layouts"), np.random.default_rng(5)
    palette = shipped("controlnet-seg.yaml").condition.palette  # type: ignore[union-attr]
    colours = np.array(list(palette.values()), np.uint8)
    for name in ("car", "person", "tree"):
        (folder / name).mkdir()
        for kind in ("rgb", "own", "grey"):
            mask = np.kron(noise.integers(0, 6, (5, 5), dtype=np.uint8), np.ones((5, 5), np.uint8))
            grey = Image.fromarray(mask)
            image = grey if kind == "grey" else Image.fromarray(colours[mask])
            image = image.quantize(6, dither=Image.Dither.NONE) if kind == "own" else image
            image.save(folder / name / f"{kind}.png")
            np.save(folder / f"{name}-{kind}.npy", mask)
    return folder


def test_layouts_of_a_folder_are_the_masks_and_outlive_it(
    models: tuple[str, ...], layouts: Path, tmp_path: Path
) -> None:
    place = shutil.copytree(layouts, tmp_path / "layouts")
    spec = layout_spec(models, place)
    run, controls = make(spec, tmp_path / "run")
    colours = np.array(list(spec.condition.palette.values()), np.uint8)  # type: ignore[union-attr]
    known = {sha256(path.read_bytes()).hexdigest(): path for path in place.glob("*/*.png")}
    used = Counter()
    for row, mask, control in zip(rows(run), masks(run), controls, strict=True):
        path = known[row["source"]]
        assert path.parent.name == row["class_name"]
        used[path] += 1
        truth = Image.fromarray(np.load(place / f"{path.parent.name}-{path.stem}.npy"))
        assert np.array_equal(mask, np.asarray(truth.resize((8, 8), Image.Resampling.NEAREST)))
        assert np.array_equal(control, colours[np.asarray(truth.resize((16, 16), Image.Resampling.NEAREST))])
    assert set(used.values()) == {2}
    assert len(used) == 9

    shutil.rmtree(place)
    for path in run.shards.local.glob("00001*"):
        path.rename(tmp_path / path.name)
    again, generator = begin(spec, tmp_path / "run")
    assert again.pending() == [1]
    run_unit(again.context, 1, generator, again.shards)
    assert again.shards.read("00001.tar") == (tmp_path / "00001.tar").read_bytes()
    assert replay(again, rows(again)[-1]["key"]).equal


def test_layouts_from_shards(models: tuple[str, ...], drawn: Run, tmp_path: Path) -> None:
    run, _ = make(layout_spec(models, drawn.shards, "output.image.size=32"), tmp_path / "run")
    expected = {(row["class_name"], mask.tobytes()) for row, mask in zip(rows(drawn), masks(drawn), strict=True)}
    actual = [(row["class_name"], mask.tobytes()) for row, mask in zip(rows(run), masks(run), strict=True)]
    assert len(set(actual)) == len(actual)
    assert set(actual) <= expected


def test_an_image_follows_its_layout(models: tuple[str, ...], layouts: Path, tmp_path: Path) -> None:
    spec = layout_spec(models, layouts)
    run, steered = begin(spec, tmp_path / "run")
    free = spec.model_copy(update={"model": spec.model.model_copy(update={"scale": 0.0})})
    slots = [run.context.plan.slot(index) for index in range(4)]
    requests = [run.context.request(slot, 0) for slot in slots]
    unsteered = load_generator(free.model, free.output.image, free.cluster)
    other = [*requests[:3], run.context.request(run.context.plan.slot(9), 0)]
    combined, apart, without = (
        generator.generate(batch).pixels
        for generator, batch in ((steered, requests), (steered, other), (unsteered, requests))
    )
    assert np.array_equal(combined[:3], apart[:3])
    assert (combined != without).any(axis=(1, 2, 3)).all()


def test_sdxl_and_what_does_not_fit_it(models: tuple[str, ...], tiny_model: Path, tmp_path: Path) -> None:
    sdxl = make_sdxl(tmp_path / "sdxl")
    net = make_controlnet(sdxl, tmp_path / "net")
    small = (*models, *SMALL, "plan.per_class=4", f"model.source={sdxl}", "output.image.size=null")
    run, generator = begin(shipped("controlnet-seg.yaml", *small, f"model.controlnet={net}"), tmp_path / "run")
    requests = [run.context.request(run.context.plan.slot(index), 0) for index in range(4)]
    images = generator.generate(requests)
    assert generator.facts.pipeline == "StableDiffusionXLControlNetPipeline"
    assert images.masks is not None
    assert images.masks.shape == images.pixels.shape[:3] == (4, 16, 16)

    for other, words in ((models[1], "texts of width 16, and .* of 32; give"), (f"x={sdxl}/unet", "is a UNet2D.*give")):
        spec = shipped("controlnet-seg.yaml", *small, f"model.controlnet={other.partition('=')[2]}")
        with pytest.raises(ModelError, match=f"model.controlnet: .*{words}"):
            load_generator(spec.model, spec.output.image, spec.cluster)


@pytest.mark.slow
def test_actors_make_the_same_bytes(drawn: Run, tmp_path: Path) -> None:
    assert_actors_make_the_same(drawn, tmp_path)
