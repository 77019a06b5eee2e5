"""Tests of captions: each describes its own image, and only images of the train split are shown."""

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from engine.data.splits import load_splits
from engine.errors import BankIncomplete, DataError, SpecError
from engine.prompts.llm.bank_jobs import write_captions
from engine.prompts.llm.bank_spec import CaptionBankSpec
from shards.codec import decode_rgb, encode_rgb
from tests.engine.prompts.llm.conftest import silent
from tests.engine.prompts.llm.fake_chat_server import ChatRequest, serving

CLASSES = ("cat", "dog")
PER_CLASS = 12
SPLITS = {"world": 0.25, "train": 0.5, "validation": 0.25, "test": 0.0}
ONLY_TRAIN = {"world": 0.0, "train": 1.0, "validation": 0.0, "test": 0.0}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write uniform images of distinct colours, with one red value per class."""
    root = tmp_path_factory.mktemp("images")
    for label, name in enumerate(CLASSES):
        (root / name).mkdir()
        for index in range(PER_CLASS):
            pixels = np.full((40, 60, 3), (100 * label, 10 * index, 200), np.uint8)
            (root / name / f"{index}.png").write_bytes(encode_rgb(pixels, "png"))
    return root


def colour(data: bytes) -> str:
    return "-".join(str(value) for value in decode_rgb(data)[0, 0])


def describe(request: ChatRequest) -> str:
    """Return the colour of the image, with the class name for every second image."""
    shade = colour(request.image)
    cat = " with a cat" if request.text.endswith("cat") and int(shade.split("-")[1]) % 20 else ""
    return f"Here is the caption:\nA flat picture of {shade}{cat}."


def make_spec(images: Path, model: dict[str, Any], **changes: Any) -> CaptionBankSpec:
    data = {"source": "imagefolder", "path": str(images), "splits": SPLITS}
    content = {"name": "test", "data": data, "instruction": "describe the {class}", "model": model}
    return CaptionBankSpec.model_validate_json(json.dumps(content | changes))


@pytest.mark.parametrize("backend", ["ollama", "openai"])
def test_each_image_of_the_train_split_gets_a_caption(images: Path, tmp_path: Path, backend: str) -> None:
    out = tmp_path / "bank.parquet"
    with serving(describe) as server:
        spec = make_spec(images, server.model(backend))
        write_captions(spec, out, silent)
        assert len(server.arrivals) == PER_CLASS
    files = {hashlib.sha256(file.read_bytes()).hexdigest(): file for file in images.rglob("*.png")}
    rows = pq.read_table(out).to_pylist()
    assert [row["source"] for row in rows] == [image.digest for image in load_splits(spec.data).train]
    for row in rows:
        file = files[row["source"]]
        assert row["class_name"] == file.parent.name
        assert row["instruction"] == f"describe the {file.parent.name}"
        shade = f"A flat picture of {colour(file.read_bytes())}"
        assert row["prompt"] in (f"{shade} with a cat.", f"a photo of a {file.parent.name}: {shade}.")
    assert {row["prompt"].startswith("a photo of a cat: ") for row in rows if row["class_name"] == "cat"} == {
        True,
        False,
    }


def test_a_larger_bank_keeps_the_captions(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "bank.parquet"
    with serving(describe) as server:
        write_captions(make_spec(images, server.model("openai"), per_class=2), out, silent)
        small = pq.read_table(out).to_pylist()
        assert [row["class_name"] for row in small] == ["cat", "cat", "dog", "dog"]
        write_captions(make_spec(images, server.model("openai"), per_class=3), out, silent)
        assert len(server.arrivals) == 6
    assert all(row in pq.read_table(out).to_pylist() for row in small)


def test_several_captions_of_an_image_differ(images: Path, tmp_path: Path) -> None:
    def vary(request: ChatRequest) -> str:
        return describe(request).replace("flat", f"{('dull', 'smooth', 'plain')[request.seed % 3]} flat")

    out = tmp_path / "bank.parquet"
    with serving(vary) as server:
        spec = make_spec(images, server.model("ollama"), per_class=2, per_image=2, patience=20)
        assert write_captions(spec, out, silent).missing == 0
    rows = pq.read_table(out).to_pylist()
    assert len({(row["source"], row["prompt"]) for row in rows}) == len(rows) == 8


def test_a_few_refusals_are_allowed(images: Path, tmp_path: Path) -> None:
    train = load_splits(make_spec(images, _model()).data).train
    refused = next(colour(image.read()) for image in train if image.class_name == "dog")

    def refuse_one(request: ChatRequest) -> str:
        return "I cannot describe it." if colour(request.image) == refused else describe(request)

    out = tmp_path / "bank.parquet"
    with serving(refuse_one) as server:
        with pytest.raises(BankIncomplete, match=r"dog: 5 of 6 \(4 refusal\)"):
            write_captions(make_spec(images, server.model("ollama")), out, silent)
        arrivals = len(server.arrivals)
        bank = write_captions(make_spec(images, server.model("ollama"), may_miss=0.2), out, silent)
        assert len(server.arrivals) == arrivals
    assert (bank.rows, bank.missing) == (11, 1)
    assert "missing: 1" in str(bank)


def test_large_images_are_scaled_down(tmp_path: Path) -> None:
    (tmp_path / "data" / "cat").mkdir(parents=True)
    gradient = np.zeros((300, 200, 3), np.uint8)
    gradient[:150] = 255
    for index in range(4):
        gradient[0, 0, 0] = index
        cv2.imwrite(str(tmp_path / "data" / "cat" / f"{index}.png"), gradient)
    with serving(lambda request: "A cat.") as server:
        spec = make_spec(tmp_path / "data", server.model("openai"), longest_side=60)
        write_captions(spec, tmp_path / "bank.parquet", silent)
        shown = [decode_rgb(request.image) for _, request in server.arrivals]
    assert {image.shape for image in shown} == {(60, 40, 3)}
    assert all(image[:25].min() > 240 and image[35:].max() < 15 for image in shown)


def test_a_corrupt_image_is_named(images: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "cat").mkdir(parents=True)
    (tmp_path / "data" / "cat" / "bad.png").write_bytes(b"no image")
    with serving(describe) as server:
        data = {"source": "imagefolder", "path": str(tmp_path / "data"), "splits": ONLY_TRAIN}
        spec = make_spec(images, server.model("openai"), data=data)
        with pytest.raises(DataError, match=r"bad\.png: corrupt image"):
            write_captions(spec, tmp_path / "bank.parquet", silent)
        assert not server.arrivals


def test_unusable_data_is_refused(images: Path, tmp_path: Path) -> None:
    spec = make_spec(images, _model(), words={"cow": {"name": "cattle"}})
    with pytest.raises(SpecError, match=r"words has 'cow', which is no class of the data: cat, dog"):
        write_captions(spec, tmp_path / "bank.parquet", silent)
    data = {
        "source": "imagefolder",
        "path": str(images),
        "splits": {"world": 1.0, "train": 0, "validation": 0, "test": 0},
    }
    with pytest.raises(DataError, match=r"raise data\.splits\.train"):
        write_captions(make_spec(images, _model(), data=data), tmp_path / "bank.parquet", silent)


def _model() -> dict[str, Any]:
    return {"backend": "ollama", "name": "nobody"}
