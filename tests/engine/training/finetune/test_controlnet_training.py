"""ControlNet training: it learns the colours of masks, resumes after a break, and records its images."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from engine.config.cluster_spec import ClusterSpec
from engine.config.output_spec import ImageSpec
from engine.config.spec import Spec
from engine.data.masks import colours_of
from engine.data.splits import load_splits
from engine.errors import DataError, ModelError, SpecError
from engine.generators.conditioning.condition import Layout
from engine.generators.generator import Request
from engine.generators.kinds.controlnet import ControlNet, ControlNetSettings
from engine.models.model_folder import training_digests
from engine.models.resolve import fetch_model
from engine.run.run import pin_spec
from engine.training.checkpoint import Checkpoint
from engine.training.finetune.controlnet_training import ControlNetLearner
from engine.training.finetune.finetune_job import finetune
from engine.training.finetune.finetune_loop import train_learner
from engine.training.finetune.finetune_samples import cache_image, crop_image
from engine.training.finetune.finetune_spec import FinetuneSpec
from engine.training.random_streams import numpy_rng
from engine.types import Prompt
from shards.codec import encode_mask, encode_rgb
from shards.storage.open_store import open_store
from tests.recipes.models import make_sd, make_sdxl

PALETTE = {"night": (0, 0, 0), "day": (255, 255, 255)}
COLOURS = colours_of(PALETTE)
SPLITS = {"world": 0.5, "train": 0.2, "validation": 0.2, "test": 0.1}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread, as in the process that is killed."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write images of 16 pixels that are bright on one side of a line, and their masks."""
    folder, noise = tmp_path_factory.mktemp("halves"), np.random.default_rng(0)
    for name in ("rows", "columns"):
        for kind in ("images", "masks"):
            (folder / kind / name).mkdir(parents=True)
        for number in range(20):
            mask = np.zeros((16, 16), np.uint8)
            mask[: int(noise.integers(4, 13))] = 1
            mask = mask if name == "rows" else mask.T
            pixels = np.where(mask[..., None], 200, 40) + noise.integers(-20, 20, (16, 16, 3))
            (folder / "images" / name / f"{number}.png").write_bytes(encode_rgb(pixels.astype(np.uint8), "png"))
            (folder / "masks" / name / f"{number}.png").write_bytes(encode_mask(np.ascontiguousarray(mask)))
    return folder


def read(halves: Path, model: Path, **changes: Any) -> FinetuneSpec:
    masks = {"palette": PALETTE, "path": str(halves / "masks")}
    content: dict[str, Any] = {
        "name": "halves",
        "seed": 1,
        "model": {"source": str(model), "dtype": "fp32"},
        "data": {"source": "imagefolder", "path": str(halves / "images"), "masks": masks, "splits": SPLITS},
        "prompt": "{class}",
        "control": {"warp": {"rotation": 5}},
        "size": 16,
        "flip": False,
        "steps": 6,
        "batch": 4,
        "rate": 3e-3,
    }
    return FinetuneSpec.model_validate_json(json.dumps(content | changes))


def silent(line: str) -> None:
    """Drop a log line."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sd(tmp_path_factory.mktemp("sd") / "model")


@pytest.fixture(scope="module")
def trained_net(halves: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("taught")
    finetune(read(halves, model), out, silent)
    return out


def make_images(model: Path, net: Path, mask: np.ndarray) -> np.ndarray:
    content = {"kind": "controlnet", "source": str(model), "controlnet": str(net), "dtype": "fp32", "steps": 2}
    settings = ControlNetSettings.model_validate_json(json.dumps(content | {"batch_size": 2}))
    generator = ControlNet(settings, ImageSpec(size=16), ClusterSpec())
    layout = Layout("", lambda: mask, COLOURS)
    requests = [Request(Prompt("rows", "", (), "x"), 0, "rows", seed, condition=layout) for seed in range(2)]
    images = generator.generate(requests)
    assert images.masks is not None
    assert (images.masks == mask).all()
    assert json.loads(generator.facts.settings)["controlnet_revision"] == fetch_model(settings.parts[-1]).revision
    return images.pixels


def test_the_usual_controlnet_generator_loads_it(halves: Path, model: Path, trained_net: Path, tmp_path: Path) -> None:
    assert {value.dtype for value in load_file(trained_net / "diffusion_pytorch_model.safetensors").values()} == {
        torch.float16
    }
    finetune(read(halves, model, steps=1, rate=1e-12), tmp_path, silent)
    up, down = np.zeros((2, 16, 16), np.uint8)
    up[:8], down[8:] = 1, 1
    assert (make_images(model, trained_net, up) != make_images(model, trained_net, down)).any(), (
        "the control image changes the result"
    )
    assert (make_images(model, tmp_path, up) == make_images(model, tmp_path, down)).all(), (
        "an untrained ControlNet changes nothing"
    )


def test_only_world_images_are_learned_and_recorded(halves: Path, model: Path, trained_net: Path) -> None:
    record = json.loads((trained_net / "training.json").read_text())
    splits = load_splits(read(halves, model).data)
    world = {image.digest for image in splits.world}
    assert {row["digest"] for row in record["learned"]} == world
    assert len(world) == 20
    assert record["palette"] == {name: list(colour) for name, colour in PALETTE.items()}
    assert (record["generation"], record["split"]) == (1, "world")
    settings = ControlNetSettings(kind="controlnet", source=str(model), controlnet=str(trained_net))
    for split in ("train", "validation", "test"):
        assert training_digests(settings, split) == world
        assert world.isdisjoint(image.digest for image in splits[split])
    card = ModelCard.load(trained_net / "README.md")
    assert "controlnet" in card.data.tags
    assert "| `day` | 255, 255, 255 |" in card.text
    assert not (trained_net / ".training").exists()


def test_masks_in_unknown_colours_are_refused(model: Path, trained_net: Path, tmp_path: Path) -> None:
    content: dict[str, Any] = {
        "name": "x",
        "classes": ["day"],
        "plan": {"per_class": 2},
        "model": {"kind": "controlnet", "source": str(model), "controlnet": str(trained_net)},
        "condition": {"source": "shapes", "palette": PALETTE, "background": "night"},
    }
    pin_spec(Spec.model_validate_json(json.dumps(content)), tmp_path)
    for name, colour, words in (
        ("day", [255, 255, 0], r"learned it as \[255, 255, 255\]"),
        ("dusk", [9, 9, 9], "learned only"),
    ):
        content["condition"]["palette"] = PALETTE | {name: colour}
        with pytest.raises(SpecError, match=rf"condition\.palette\.{name}: is .*, and the ControlNet {words}"):
            pin_spec(Spec.model_validate_json(json.dumps(content)), tmp_path)


def test_an_interrupted_training_ends_with_the_same_weights(halves: Path, model: Path, tmp_path: Path) -> None:
    spec = read(halves, model, checkpoint_seconds=1e-9)

    def trained(path: Path, breaks_at: int | None = None) -> dict[str, torch.Tensor]:
        control = ControlNetLearner(DiffusionPipeline.from_pretrained(model), spec)

        def loss_of(net: Any, number: int) -> torch.Tensor:
            if number == breaks_at:
                raise KeyboardInterrupt
            rng = torch.Generator().manual_seed(number)
            noisy, texts = (torch.randn(shape, generator=rng) for shape in ((2, 4, 8, 8), (2, 5, 16)))
            control_image = torch.rand((2, 3, 16, 16), generator=rng)
            output = net(noisy, 7, encoder_hidden_states=texts, controlnet_cond=control_image, return_dict=False)[0]
            return output.square().mean()

        checkpoint = Checkpoint(open_store(path.parent), "x", path.name, spec.checkpoint_seconds)
        train_learner(control, loss_of, spec, checkpoint, silent)
        return control.state()

    whole = trained(tmp_path / "whole.pt")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "broken.pt", breaks_at=4)
    assert torch.load(tmp_path / "broken.pt")["done"] == 4
    again = trained(tmp_path / "broken.pt")
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_finished_folder_is_left_as_it_is(halves: Path, model: Path, trained_net: Path) -> None:
    lines: list[str] = []
    finetune(read(halves, model, checkpoint_seconds=5), trained_net, lines.append)
    assert lines == [f"{trained_net} holds this ControlNet already"]


def test_other_masks_are_another_training(halves: Path, model: Path, trained_net: Path, tmp_path: Path) -> None:
    spec = read(halves, model)
    assert spec.data.masks is not None
    (tmp_path / "masks").mkdir()
    for file in (halves / "masks").rglob("*.png"):
        place = tmp_path / "masks" / file.relative_to(halves / "masks")
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(encode_mask(np.zeros((16, 16), np.uint8)))
    masks = spec.data.masks.model_copy(update={"path": str(tmp_path / "masks")})
    other = spec.model_copy(update={"data": spec.data.model_copy(update={"masks": masks})})
    with pytest.raises(ModelError, match="other data; give another folder"):
        finetune(other, trained_net, silent)


def test_the_base_model_of_sdxl_does_not_change(halves: Path, tmp_path: Path) -> None:
    model = make_sdxl(tmp_path / "sdxl")
    finetune(read(halves, model, steps=2), tmp_path / "net", silent)
    up = np.zeros((16, 16), np.uint8)
    up[:8] = 1
    assert make_images(model, tmp_path / "net", up).shape == (2, 16, 16, 3)
    pipe = DiffusionPipeline.from_pretrained(model)
    control = ControlNetLearner(pipe, read(halves, model))
    assert not any(parameter.requires_grad for parameter in pipe.unet.parameters())
    assert {id(parameter) for parameter in control.parameters}.isdisjoint(
        id(parameter) for parameter in pipe.unet.parameters()
    )


def test_a_crop_shows_the_image_and_its_mask_alike(halves: Path, model: Path) -> None:
    spec = read(halves, model, flip=True, crop="random", control={"drop_prompt": 0.5, "warp": {"rotation": 20}})
    mask = np.kron(np.random.default_rng(1).integers(0, 2, (4, 6), dtype=np.uint8), np.ones((8, 8), np.uint8))
    cached, prompts = cache_image(COLOURS[mask], "rows", 16, mask), set()
    for number in range(20):
        crop = crop_image(cached, spec, numpy_rng(0, number))
        assert crop.control is not None
        assert set(np.unique(crop.control)) <= {0, 255}
        assert np.abs(crop.control.astype(int) - crop.pixels).mean() < 40
        prompts.add(crop.prompt)
    assert prompts == {"", "rows"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rank": 4}, "rank is of LoRA adapters"),
        ({"prior": {"prompt": "a thing"}}, "prior is of LoRA adapters"),
        ({"data": {"source": "digits"}}, r"control needs the masks of the real images: give data\.masks"),
        ({"split": "test"}, "'world' or 'train'"),
    ],
)
def test_bad_specs_are_refused(halves: Path, model: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(halves, model, **changes)


def test_a_missing_mask_is_reported_before_training(halves: Path, model: Path, tmp_path: Path) -> None:
    spec = read(halves, model)
    assert spec.data.masks is not None
    masks = spec.data.masks.model_copy(update={"path": str(tmp_path / "nowhere")})
    other = spec.model_copy(update={"data": spec.data.model_copy(update={"masks": masks})})
    with pytest.raises(DataError, match=r"has no mask .*nowhere"):
        finetune(other, tmp_path / "out", silent)
    assert not (tmp_path / "out").exists()
