"""Encoders in hub folders: a CLIP that was trained to name colours, and a DINOv2, which has no text encoder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    BitImageProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
)

from bench.tiny_pipeline import make_tokenizer
from engine.errors import ModelError
from engine.evaluation.encoders import Encoder, margins
from engine.evaluation.hub_encoder import HubEncoder
from shards.codec import Pixels
from tests.hub import serve, start_client

COLOURS = {"red": (220, 40, 40), "green": (40, 220, 40), "blue": (40, 40, 220)}
PROMPTS = [f"a photo of a {name}" for name in COLOURS]
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}


def pictures(labels: list[int], seed: int) -> Pixels:
    """Return noisy images of one colour each, uint8 (images, 20, 20, 3)."""
    noise = np.random.default_rng(seed).integers(-30, 30, (len(labels), 20, 20, 3))
    return (np.array(list(COLOURS.values()))[labels][:, None, None] + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    tokenizer = make_tokenizer(folder / "words")
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": 32, "bos_token_id": 0, "eos_token_id": 1}
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config={**SMALL, **text, "pad_token_id": 1},
        vision_config={**SMALL, "image_size": 16, "patch_size": 8},
        projection_dim=16,
    )
    model = CLIPModel(config)
    processor = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    texts = tokenizer(PROMPTS, padding="max_length", max_length=32, return_tensors="pt")
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(60):
        images = torch.from_numpy(pictures([0, 1, 2], step)).permute(0, 3, 1, 2)
        seen = processor(list(images), return_tensors="pt")
        loss = model(**texts, **seen, return_loss=True).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for part in (model, tokenizer, processor):
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(clip: Path) -> Encoder:
    return HubEncoder(str(clip), PROMPTS)


def test_clip_scores_an_image_highest_for_its_class(encoder: Encoder) -> None:
    labels = [0, 1, 2] * 5
    seen = encoder.encode(pictures(labels, seed=1000))
    assert seen.scores is not None
    assert seen.scores.shape == (15, 3)
    assert (abs(seen.scores) <= 1 + 1e-6).all()
    margin, _ = margins(seen.scores, np.array(labels))
    assert (margin > 0).all()
    wrong, other = margins(seen.scores, np.array([1, 2, 0] * 5))
    assert (wrong < 0).all()
    assert other.tolist() == labels


def test_features_are_those_of_clip_at_the_scale_of_kd(encoder: Encoder, clip: Path) -> None:
    images = pictures([0, 2], seed=1)
    model, processor = CLIPModel.from_pretrained(clip), CLIPImageProcessor.from_pretrained(clip)
    inputs = processor(list(images), return_tensors="pt", input_data_format="channels_last")
    with torch.inference_mode():
        expected = model.visual_projection(model.vision_model(**inputs).pooler_output).numpy()
    expected *= np.sqrt(16) / np.linalg.norm(expected, axis=1, keepdims=True)
    features = encoder.encode(images).features
    assert features == pytest.approx(expected, abs=1e-4)
    assert encoder.encode(images[1:]).features == pytest.approx(features[1:], abs=1e-4)


def test_the_description_names_model_and_texts(encoder: Encoder, clip: Path) -> None:
    assert encoder.name == str(clip)
    assert encoder.description.startswith(f"CLIPModel {clip}; margin: cosine of an image with the text")
    assert "'a photo of a red'" in encoder.description


def test_dinov2_gives_features_and_no_scores(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = {"image_size": 16, "patch_size": 8, "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    Dinov2Model(Dinov2Config(**shape)).save_pretrained(tmp_path)
    BitImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}).save_pretrained(tmp_path)
    encoder = HubEncoder(str(tmp_path), PROMPTS)
    seen = encoder.encode(pictures([0, 1], seed=0))
    assert seen.scores is None
    assert seen.features.shape == (2, 24)
    assert np.square(seen.features).sum(axis=1) == pytest.approx([24, 24])
    assert encoder.description == f"Dinov2Model {tmp_path}"


def test_a_folder_or_id_without_an_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot be loaded: .*give a hub id or a folder of a CLIP or DINOv2 model"):
        HubEncoder(str(tmp_path), PROMPTS)
    with pytest.raises(ModelError, match=r"^--encoder: .*HF_HUB_OFFLINE is set"):
        HubEncoder("nobody/has-this-model", PROMPTS)
    with pytest.raises(ModelError, match=r"^--encoder: .*neither a folder here nor an id like owner/name"):
        HubEncoder("/no/such/folder", PROMPTS)


def test_weights_in_a_pickle_are_not_loaded(clip: Path, tmp_path: Path) -> None:
    for path in clip.iterdir():
        if path.is_file() and path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save(CLIPModel.from_pretrained(clip).state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        HubEncoder(str(tmp_path), PROMPTS)


CLIENT = """
import numpy as np
from engine.evaluation.hub_encoder import HubEncoder
encoder = HubEncoder("some/clip", ["a photo of a red", "a photo of a blue"])
print(encoder.name, encoder.revision, encoder.encode(np.zeros((2, 20, 20, 3), np.uint8)).scores.shape)
"""


def test_a_hub_model_is_fetched_once_and_then_works_offline(clip: Path, tmp_path: Path) -> None:
    with serve() as hub:
        commit = hub.push("some/clip", clip)
        for environment in ({}, {"HF_HUB_OFFLINE": "1"}):
            out, err = start_client(CLIENT, hub.url, tmp_path, environment).communicate(timeout=120)
            assert out == f"some/clip {commit} (2, 2)\n", err
        assert set(hub.sent().values()) == {1}
        assert "some/clip/model.safetensors" in hub.sent()
