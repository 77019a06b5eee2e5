"""LoRA training: an adapter learns its class and little else, resumes to the same bytes, and records its images."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from huggingface_hub import ModelCard

from engine.config.cluster_spec import ClusterSpec
from engine.config.output_spec import ImageSpec
from engine.data.splits import load_splits
from engine.errors import DataError, ModelError, SpecError
from engine.generators.adapters import Adapters
from engine.generators.kinds.text_to_image import TextToImage, TextToImageSettings
from engine.models.resolve import fetch_model
from engine.training.finetune.finetune_job import finetune
from engine.training.finetune.finetune_samples import prompt_request
from engine.training.finetune.finetune_spec import FinetuneSpec
from engine.training.finetune.lora_layers import LoraLearner
from shards.codec import Pixels, encode_rgb
from tests.recipes.models import make_sd, make_sdxl, make_z_image

SPLITS = {"world": 0.6, "train": 0.1, "validation": 0.2, "test": 0.1}
PRIOR = {"prompt": "a handwritten digit seven", "images": 16, "steps": 4, "guidance": 0, "batch_size": 8}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread, as in the process that is killed."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write forty zeros, forty sevens rotated by 90 degrees, which no model knows, and an empty class."""
    from engine.data.open_source import open_source
    from tests.specs import data_spec

    folder = tmp_path_factory.mktemp("digits")
    (folder / "unseen").mkdir()
    images = open_source(data_spec()).images
    for name, label, turns in (("zero", 0, 0), ("turned", 7, 1)):
        (folder / name).mkdir()
        for number, image in enumerate([image for image in images if image.label == label][:40]):
            (folder / name / f"{number}.png").write_bytes(encode_rgb(np.rot90(image.pixels(), turns), "png"))
    return folder


def read(digits: Path, **changes: Any) -> FinetuneSpec:
    """Return the spec of a training of the embedded model, validated as a YAML file is."""
    content: dict[str, Any] = {
        "name": "few",
        "seed": 1,
        "model": {"source": "embedded/digits", "dtype": "fp32"},
        "data": {"source": "imagefolder", "path": str(digits), "splits": SPLITS},
        "classes": ["turned"],
        "prompt": "a handwritten digit {class}",
        "rank": 8,
        "size": 32,
        "flip": False,
        "steps": 50,
        "batch": 6,
        "rate": 3e-3,
    }
    return FinetuneSpec.model_validate_json(json.dumps(content | changes))


def small(digits: Path, model: Path, **changes: Any) -> FinetuneSpec:
    """Return the spec of a few steps of a model with random weights, with all options."""
    content = {
        "model": {"source": str(model), "dtype": "fp32"},
        "prior": PRIOR | {"images": 3, "steps": 2, "guidance": 2.0, "batch_size": 2},
        "size": 16,
        "crop": "random",
        "flip": True,
        "snr_gamma": 5.0,
        "steps": 8,
        "batch": 2,
        "accumulation": 2,
        "warmup": 2,
        "alpha": 16.0,
    }
    return read(digits, **content | changes)


def silent(line: str) -> None:
    """Drop a log line."""


def images(model: object, adapter: Path | None, prompt: str, side: int = 32, count: int = 16) -> Pixels:
    """Generate images without guidance, from seeds 0, 1, 2, ..."""
    adapters = [] if adapter is None else [{"source": str(adapter)}]
    content = {"source": str(model), "dtype": "fp32", "steps": 4, "batch_size": count, "adapters": adapters}
    settings = TextToImageSettings.model_validate_json(json.dumps(content))
    generator = TextToImage(settings, ImageSpec(size=side), ClusterSpec())
    return generator.generate([prompt_request(prompt, seed) for seed in range(count)]).pixels


def weights(folder: Path) -> bytes:
    return (folder / "pytorch_lora_weights.safetensors").read_bytes()


def mean_of(folder: Path) -> np.ndarray[Any, Any]:
    frames = [cv2.resize(cv2.imread(str(path)), (32, 32), interpolation=cv2.INTER_CUBIC) for path in folder.iterdir()]
    return np.mean(frames, axis=0)


@pytest.fixture(scope="module")
def trained_adapter(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train an adapter of the turned sevens without a prior."""
    out = tmp_path_factory.mktemp("taught")
    finetune(read(digits), out, silent)
    return out


def test_images_move_towards_the_learned_class(digits: Path, trained_adapter: Path) -> None:
    real = mean_of(digits / "turned")
    before, after = (
        np.abs(images("embedded/digits", adapter, "a handwritten digit turned").mean(axis=0) - real).mean()
        for adapter in (None, trained_adapter)
    )
    assert after < 0.75 * before


def test_a_prior_preserves_other_classes(digits: Path, trained_adapter: Path, tmp_path: Path) -> None:
    finetune(read(digits, prior=PRIOR), tmp_path, silent)
    known = images("embedded/digits", None, "a handwritten digit seven").astype(float)
    without, with_prior = (
        np.abs(images("embedded/digits", adapter, "a handwritten digit seven") - known).mean()
        for adapter in (trained_adapter, tmp_path)
    )
    assert with_prior < 0.5 * without
    assert json.loads((tmp_path / "training.json").read_text())["generation"] == 2


def test_the_record_and_the_card_name_the_learned_images(digits: Path, trained_adapter: Path) -> None:
    record = json.loads((trained_adapter / "training.json").read_text())
    world = [image for image in load_splits(read(digits).data).world if image.class_name == "turned"]
    assert len(world) == 24
    assert [image["digest"] for image in record["learned"]] == sorted(image.digest for image in world)
    assert {(image["class_name"], image["split"]) for image in record["learned"]} == {("turned", "world")}
    assert {image["origin"] for image in record["learned"]} == {image.origin for image in world}
    assert (record["generation"], record["license"]) == (1, "apache-2.0")
    card = ModelCard.load(trained_adapter / "README.md")
    assert card.data.license == "apache-2.0"
    assert "lora" in card.data.tags
    settings = TextToImageSettings(source="embedded/digits", adapters=({"source": str(trained_adapter)},))  # type: ignore[arg-type]
    adapter = fetch_model(settings.parts[1])
    assert adapter.training_digests == {image.digest for image in world}
    assert adapter.revision == record["revision"]
    assert not (trained_adapter / ".training").exists()


def test_a_finished_folder_refuses_another_training(digits: Path, trained_adapter: Path) -> None:
    lines: list[str] = []
    finetune(read(digits, checkpoint_seconds=5), trained_adapter, lines.append)
    assert lines == [f"{trained_adapter} holds this adapter already"]
    with pytest.raises(ModelError, match="give another folder"):
        finetune(read(digits, seed=2), trained_adapter, silent)


def test_an_interrupted_training_ends_with_the_same_bytes(digits: Path, tmp_path: Path) -> None:
    model = make_sd(tmp_path / "model", unsafe_above=-1.0)
    spec = small(digits, model, checkpoint_seconds=1e-9)
    finetune(spec, tmp_path / "whole", silent)

    def interrupt(line: str) -> None:
        if "step 8/8" in line:
            raise KeyboardInterrupt

    out = tmp_path / "interrupted"
    with pytest.raises(KeyboardInterrupt):
        finetune(spec, out, interrupt)
    assert torch.load(out / ".training" / "adapter.pt")["done"] == 7
    with pytest.raises(ModelError, match="another spec"):
        finetune(small(digits, model, steps=9), out, silent)
    finetune(spec, out, silent)
    assert weights(out) == weights(tmp_path / "whole")


def test_an_adapter_of_sdxl_changes_its_images(digits: Path, tmp_path: Path) -> None:
    model = make_sdxl(tmp_path / "model")
    finetune(small(digits, model, rate=0.05), tmp_path / "out", silent)
    without, with_it = (images(model, adapter, "turned", 16, 2) for adapter in (None, tmp_path / "out"))
    assert (without != with_it).any()
    pipe = DiffusionPipeline.from_pretrained(make_sd(tmp_path / "other"))
    settings = TextToImageSettings(source="x", adapters=({"source": str(tmp_path / "out")},))  # type: ignore[arg-type]
    models = {part.place: fetch_model(part) for part in settings.parts[1:]}
    with pytest.raises(ModelError, match=r"model.adapters.0.source: .* does not fit this model .*size mismatch"):
        Adapters(pipe, settings.adapters, models)


def test_alpha_is_part_of_the_saved_weights(digits: Path, tmp_path: Path) -> None:
    pipe, again = (DiffusionPipeline.from_pretrained(make_sd(tmp_path / name)) for name in ("one", "two"))
    spec = small(digits, tmp_path, alpha=24.0)
    lora = LoraLearner(pipe, spec)
    with torch.no_grad():
        for weight in lora.parameters:
            weight.normal_(generator=torch.Generator().manual_seed(0))
    lora.save(tmp_path / "out")
    inputs = torch.randn(1, 4, 8, 8), 10, torch.randn(1, 5, 16)
    with torch.no_grad():
        trained, plain = pipe.unet(*inputs).sample, again.unet(*inputs).sample
        again.load_lora_weights(tmp_path / "out")
        loaded = again.unet(*inputs).sample
    torch.testing.assert_close(loaded, trained, rtol=1e-3, atol=1e-4)
    assert (trained - plain).abs().max() > 0.1


def test_one_adapter_for_each_class(digits: Path, tmp_path: Path) -> None:
    spec = small(
        digits,
        make_sd(tmp_path / "model"),
        classes=["zero", "turned"],
        per_class=True,
        steps=2,
        split="train",
        prior=None,
    )
    finetune(spec, tmp_path / "out", silent)
    records = {name: json.loads((tmp_path / "out" / name / "training.json").read_text()) for name in ("zero", "turned")}
    train = load_splits(spec.data).train
    for name, record in records.items():
        assert record["classes"] == [name]
        assert {row["digest"] for row in record["learned"]} == {row.digest for row in train if row.class_name == name}
        assert {row["split"] for row in record["learned"]} == {"train"}
    assert weights(tmp_path / "out" / "zero") != weights(tmp_path / "out" / "turned")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"classes": ["eight"]}, SpecError, "the data has no class 'eight'; it has turned, unseen, zero"),
        ({"classes": ["unseen"]}, DataError, "data.splits.world: holds no image of 'unseen'"),
        ({"targets": ["to_x"]}, SpecError, "targets: .*to_x"),
    ],
)
def test_unusable_data_and_targets_are_refused(
    digits: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        finetune(read(digits, **changes), tmp_path / "out", silent)


def test_a_training_that_diverges_leaves_no_adapter(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"step .*: the loss is .*; lower the rate"):
        finetune(small(digits, make_sd(tmp_path / "model"), rate=1e30, warmup=0), tmp_path / "out", silent)
    assert not list((tmp_path / "out").glob("*.safetensors"))


def test_pipelines_without_a_known_loss_are_refused(digits: Path, tmp_path: Path) -> None:
    spec = small(digits, make_z_image(tmp_path / "model"))
    with pytest.raises(ModelError, match=r"ZImagePipeline, which finetune does not train; .*Stable Diffusion or SDXL"):
        finetune(spec, tmp_path / "out", silent)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": "a {kind}"}, "{kind} is no placeholder"),
        ({"prompt": "a digit", "classes": None}, "all classes would be called the same"),
        ({"split": "validation"}, "'world' or 'train'"),
    ],
)
def test_bad_specs_are_refused(digits: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(digits, **changes)
