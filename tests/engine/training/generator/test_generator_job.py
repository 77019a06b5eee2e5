"""A tiny generator training: it finishes, resumes to the same result, and refuses the folder of another training."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline

from engine.data.splits import load_splits
from engine.errors import DataError, ModelError, SpecError
from engine.training.generator.generator_job import train_generator
from engine.training.generator.generator_spec import GeneratorSpec
from tests.engine.evaluation.sweep_runs import make_sweep_run

TINY: dict[str, object] = {
    "name": "tiny",
    "seed": 1,
    "data": {"source": "digits", "splits": {"world": 0.05, "train": 0.15, "validation": 0.4, "test": 0.4}},
    "size": 16,
    "attributes": ["weight", "slant"],
    "pool": {"copies": 2, "rotation": 6.0, "shift": 1.5, "stroke": 0.6},
    "captions": {"templates": ["a {listed} handwritten digit {name}", "{name} {clauses}"], "aliases": {"two": ["2"]}},
    "text": {"width": 16, "layers": 1, "heads": 2},
    "autoencoder": {"channels": [4, 8], "steps": 8, "batch": 8},
    "denoiser": {"channels": [8, 16], "heads": 2, "steps": 8, "batch": 8, "warmup": 2},
    "inference_steps": 2,
    "checkpoint_seconds": 1e-6,
    "judged": 10,
    "judge_steps": 5,
}


def read(content: dict[str, object]) -> GeneratorSpec:
    """Return the spec, validated as a YAML file is."""
    return GeneratorSpec.model_validate_json(json.dumps(content))


class Killed(Exception):
    """The simulated end of the process."""


def kill_at(text: str) -> Callable[[str], None]:
    """Return a log that ends the training at a line with `text`."""

    def log(line: str) -> None:
        if text in line:
            raise Killed

    return log


def silent(line: str) -> None:
    """Drop a log line."""


def weights(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.safetensors")}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("generator") / "out"
    train_generator(read(TINY), out, silent)
    return out


def test_the_folder_is_an_ordinary_pipeline(trained: Path) -> None:
    pipeline = DiffusionPipeline.from_pretrained(trained)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(
        ["a bold two", "seven"], height=16, width=16, num_inference_steps=2, guidance_scale=0.0, output_type="np",
        generator=[torch.Generator().manual_seed(at) for at in range(2)],
    ).images  # fmt: skip
    assert images.shape == (2, 16, 16, 3)
    assert not (trained / ".training").exists()


def test_the_record_lists_seed_digests_and_generation(trained: Path) -> None:
    record = json.loads((trained / "training.json").read_text())
    digests = (trained / "world_digests.txt").read_text().split()
    assert record["generation"] == 1
    assert record["world_images"] == len(digests) == len(set(digests))
    assert digests == sorted(digests)
    assert record["spec"]["seed"] == 1
    assert (trained / "README.md").read_text().startswith("---\nlicense:")


@pytest.mark.parametrize("moment", ["autoencoder: step", "denoiser: step", "quality"])
def test_an_interrupted_training_ends_with_the_same_weights(trained: Path, tmp_path: Path, moment: str) -> None:
    spec = read(TINY)
    with pytest.raises(Killed):
        train_generator(spec, tmp_path, kill_at(moment))
    assert not (tmp_path / "training.json").exists()
    train_generator(spec, tmp_path, silent)
    assert weights(tmp_path) == weights(trained)


def test_a_finished_folder_is_left_as_it_is(trained: Path) -> None:
    lines: list[str] = []
    train_generator(read(TINY), trained, lines.append)
    assert lines == [f"{trained} holds this model already"]


def test_another_spec_is_refused(trained: Path, tmp_path: Path) -> None:
    other = read({**TINY, "seed": 2})
    with pytest.raises(ModelError, match="another folder"):
        train_generator(other, trained, silent)
    with pytest.raises(Killed):
        train_generator(read(TINY), tmp_path, kill_at("denoiser: step"))
    with pytest.raises(ModelError, match="another spec"):
        train_generator(other, tmp_path, silent)


def test_settings_without_effect_on_weights_may_change(tmp_path: Path) -> None:
    log_lines: list[str] = []
    with pytest.raises(Killed):
        train_generator(read(TINY), tmp_path, kill_at("quality"))
    train_generator(read({**TINY, "guidance": 2.0}), tmp_path, log_lines.append)
    assert not [line for line in log_lines if ": step" in line]
    assert json.loads((tmp_path / "training.json").read_text())["spec"]["guidance"] == 2


def test_another_denoiser_keeps_the_trained_autoencoder(tmp_path: Path) -> None:
    log_lines: list[str] = []
    with pytest.raises(Killed):
        train_generator(read(TINY), tmp_path, kill_at("autoencoder: mean"))
    train_generator(read({**TINY, "denoiser": {**TINY["denoiser"], "rate": 2e-3}}), tmp_path, log_lines.append)
    assert not [line for line in log_lines if line.startswith("autoencoder: step")]
    assert [line for line in log_lines if line.startswith("denoiser: step")]


def test_an_alias_of_an_unknown_class_is_refused(tmp_path: Path) -> None:
    captions = {"templates": ["a {listed} {name}"], "aliases": {"tow": ["2"]}}
    with pytest.raises(DataError, match="no class 'tow'; there are zero, one, two"):
        train_generator(read({**TINY, "captions": captions}), tmp_path, silent)


def test_synthetic_images_are_learned_from_only_on_request(tmp_path: Path) -> None:
    run = make_sweep_run(tmp_path)  # forty images of a model of one generation
    splits = {"world": 1, "train": 0, "validation": 0, "test": 0}
    data = {"source": "webdataset", "path": run.shards.url, "splits": splits}
    with pytest.raises(DataError, match="says that it is synthetic; real data must be real"):
        train_generator(read({**TINY, "data": data}), tmp_path / "refused", silent)
    allowed = {**data, "synthetic": True}
    with pytest.raises(SpecError, match=r"data\.synthetic: only train-generator takes synthetic images"):
        load_splits(read({**TINY, "data": allowed}).data)
    spec = read({**TINY, "data": allowed, "captions": {"templates": ["a {listed} digit {name}"]}})
    train_generator(spec, tmp_path / "model", silent)
    assert json.loads((tmp_path / "model" / "training.json").read_text())["generation"] == 2
    card = (tmp_path / "model" / "README.md").read_text()
    assert "40 synthetic images of the source `webdataset`" in card
    assert "2 generation(s) of synthetic data" in card
