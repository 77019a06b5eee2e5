"""Bad conditions and prompt banks: errors of one or two lines that name place, value and remedy, before a GPU works."""

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from engine.errors import DataError, SpecError
from engine.run.run import begin_run, plan_run
from engine.worker.runner import run_unit
from shards.errors import ShardmillError
from tests.conftest import Jobs, text_of
from tests.engine.fakes import FakeGenerator
from tests.engine.places import CONTROLNET, PALETTE, SHAPES, Change, bank, edges, fill, layouts, of_bank, spec


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return fill(tmp_path)


def write(place: Path, pixels: np.ndarray) -> dict[str, Any]:
    Image.fromarray(pixels).save(place / "layouts/car/1.png")
    return layouts(place)


def truncate(place: Path, kind: str) -> None:
    path = place / kind / "car/1.png"
    path.write_bytes(path.read_bytes()[:90])


def unmasked(place: Path) -> dict[str, Any]:
    run = begin_run(plan_run(spec(place, {})), place / "plain")
    run_unit(run.context, 0, FakeGenerator(), run.shards)
    return layouts(place, path=str(run.shards))


def other_masks(place: Path) -> dict[str, Any]:
    """Write shards whose masks number their classes in another order."""
    context = begin_run(plan_run(spec(place, layouts(place))), place / "other").context
    folder = context.assets.condition
    assert folder is not None
    with tarfile.open(place / "x.tar", "w") as out:
        for extension, data in (
            ("mask.png", (place / "layouts/car/0.png").read_bytes()),
            ("cls", b"0"),
            ("json", json.dumps({"class_name": "car", "mask_classes": json.dumps({"car": [1, 2, 3]})}).encode()),
        ):
            info = tarfile.TarInfo(f"a.{extension}")
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return layouts(place, path=str(place / "x.tar"))


def flat(place: Path) -> dict[str, Any]:
    return layouts(place, path=str(place / "layouts/car"))


def misnamed(place: Path) -> dict[str, Any]:
    (place / "layouts/car").rename(place / "layouts/cars")
    return layouts(place)


def lacking(place: Path) -> dict[str, Any]:
    shutil.rmtree(place / "layouts/car")
    return layouts(place)


def empty_bank(place: Path) -> dict[str, Any]:
    bank(place / "bank.parquet")
    return of_bank(place)


def bank_of_cars(place: Path) -> dict[str, Any]:
    bank(place / "bank.parquet", "car")
    return of_bank(place)


def no_bank(place: Path) -> dict[str, Any]:
    pq.write_table(pa.table({"text": ["a"]}), place / "bank.parquet")
    return of_bank(place)


def lost_bank(place: Path) -> dict[str, Any]:
    (place / "bank.parquet").unlink()
    return of_bank(place)


def broken_layout(place: Path) -> dict[str, Any]:
    truncate(place, "layouts")
    return layouts(place)


def broken_photo(place: Path) -> dict[str, Any]:
    truncate(place, "photos")
    return edges(place)


def constant(**change: Any) -> Change:
    return lambda _: change


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (constant(model=CONTROLNET), SpecError, ["model.kind 'controlnet' needs a condition"]),
        (constant(condition=SHAPES), SpecError, ["model.kind 'text-to-image' takes no condition: leave it out"]),
        (
            constant(model={"kind": "image-to-image", "source": "embedded/digits"}, condition=SHAPES),
            SpecError,
            ["model.kind 'image-to-image' varies whole real images: give condition.source real"],
        ),
        (
            constant(model={"kind": "image-to-image", "source": "x/y", "steps": 3, "strength": 0.3}),
            SpecError,
            ["model: steps 3 * strength 0.3 is less than one step; raise one"],
        ),
        (constant(model=CONTROLNET, condition={"source": "real"}), SpecError, ["takes the images of data: give data"]),
        (
            constant(model=CONTROLNET | {"width": 64}, condition=SHAPES),
            SpecError,
            ["model: give width and height, or neither"],
        ),
        (
            constant(model=CONTROLNET, condition={"source": "drawn"}),
            SpecError,
            ["condition.source: \"drawn\" is refused; it is one of 'real', 'layouts', 'shapes'"],
        ),
        (
            constant(model=CONTROLNET, condition=SHAPES | {"palette": PALETTE | {"sky": [0, 102, 200]}}),
            SpecError,
            ["condition.palette: 'car' and 'sky' have the same colour [0, 102, 200]; change one"],
        ),
        (
            constant(model=CONTROLNET, condition=SHAPES | {"palette": PALETTE | {"sky": [0, 300, 2]}}),
            SpecError,
            ["condition.palette.sky.1: 300 is refused", "less than or equal to 255"],
        ),
        (
            constant(model=CONTROLNET, condition=SHAPES | {"background": "sky"}),
            SpecError,
            ["condition: background 'sky' is not in the palette: road, car, person"],
        ),
        (
            constant(model=CONTROLNET, condition=SHAPES, classes=["car", "road"]),
            SpecError,
            ["condition.background: 'road' is a class too"],
        ),
        (
            constant(model=CONTROLNET, condition=SHAPES, classes=["car", "bus"]),
            SpecError,
            ["condition.palette: has no colour for the class 'bus'; add one"],
        ),
        (
            lambda place: edges(place) | {"condition": {"source": "real", "edges": {"low": 300}}},
            SpecError,
            ["condition.edges: low 300 is more than high 200"],
        ),
        (
            flat,
            DataError,
            ["condition.path: ", "holds PNGs, and the run has 2 classes; sort them into a folder per class"],
        ),
        (misnamed, DataError, ["condition.path: ", "a class 'cars', which is unknown; did you mean 'car'?"]),
        (
            lacking,
            SpecError,
            ["condition: class 'car' has no layout, and 4 images of it are to be made; add some, or set"],
        ),
        (lambda place: layouts(place, path="/no/where"), DataError, ["condition.path: /no/where is not a folder"]),
        (
            lambda place: layouts(place, path="/no/where.tar"),
            DataError,
            ["condition.path: no file /no/where.tar; give"],
        ),
        (unmasked, DataError, ["condition.path: ", "has no .mask.png among ['cls', 'json', 'png', 'txt']"]),
        (other_masks, DataError, ["its mask's classes are car, and condition.palette has road, car, person; give"]),
        (
            lambda place: write(place, np.full((16, 16, 3), 7, np.uint8)),
            DataError,
            ["layouts/car/1.png: pixel 0,0 has the colour [7, 7, 7], which condition.palette does not name; add it"],
        ),
        (
            lambda place: write(place, np.full((16, 16), 3, np.uint8)),
            DataError,
            ["layouts/car/1.png: a grey mask holds class indices, and 3 is none of the 3"],
        ),
        (
            lambda place: write(place, np.zeros((16, 20), np.uint8)),
            DataError,
            ["layouts/car/1.png: is 20x16 pixels, and the images will be square; cut the layout to that shape, or set"],
        ),
        (
            lambda place: layouts(place) | {"model": CONTROLNET | {"width": 64, "height": 48}},
            DataError,
            ["layouts/car/0.png: is 16x16 pixels, and the images will be 64x48"],
        ),
        (broken_layout, DataError, ["layouts/car/1.png: not a PNG of 8 bits a channel, or truncated; save"]),
        (broken_photo, DataError, ["photos/car/1.png: corrupt image", "repair or remove it"]),
        (empty_bank, SpecError, ["prompts.bank: ", "is empty; `python -m jobs prompts` fills it"]),
        (bank_of_cars, SpecError, ["has no prompt for class 'person'; add some, or plan no image of it"]),
        (no_bank, SpecError, ["bank.parquet is not a prompt bank"]),
        (lost_bank, SpecError, ["prompts: no file ", "`python -m jobs prompts` writes banks"]),
    ],
)
def test_errors_have_at_most_two_lines(
    change: Change, error: type[ShardmillError], words: list[str], place: Path
) -> None:
    changed = change(place)
    with pytest.raises(error) as caught:
        begin_run(plan_run(spec(place, changed)), place / "run")
    text = str(caught.value)
    assert len(text.splitlines()) <= 2
    for word in words:
        assert word in text
    assert not (place / "run/spec.yaml").exists()


@pytest.mark.parametrize(
    ("override", "code", "words"),
    [("condition=null", 2, "model.kind 'controlnet' needs a condition"), ("model.steps=4", 1, "a.png: pixel 0,0 has")],
)
def test_the_command_prints_the_same_error(
    override: str, code: int, words: str, jobs: Jobs, tiny_model: Path, place: Path
) -> None:
    Image.fromarray(np.full((16, 16, 3), 7, np.uint8)).save(place / "layouts/car/a.png")
    net = CONTROLNET | {"source": str(tiny_model), "controlnet": str(tiny_model / "unet")}
    spec(place, layouts(place) | {"model": net})
    completed = jobs("generate", place / "spec.yaml", "--out", place / "run", "--set", override)
    assert completed.returncode == code, text_of(completed)
    lines = completed.stderr.strip().splitlines()
    assert lines[0].startswith("error: ")
    assert words in lines[0]
    assert len(lines) <= 2
