"""Text-to-image for each model family: batches equal those of the diffusers pipeline."""

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

from engine.errors import ModelError
from shards.codec import Pixels
from tests.engine.generators.conftest import Folders
from tests.engine.generators.tiny_generators import TEXTS, batch, load, make, request


def by_diffusers(folder: Path, negative: str, guidance: float) -> Pixels:
    """Call the pipeline by hand for TEXTS."""
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    images = pipe(
        prompt=list(TEXTS),
        generator=[torch.Generator().manual_seed(seed) for seed in range(len(TEXTS))],
        num_inference_steps=2,
        guidance_scale=guidance,
        width=16,
        height=16,
        output_type="np",
        **({"negative_prompt": [negative] * len(TEXTS)} if negative else {}),
    ).images
    return (images * 255).round().astype(np.uint8)


@pytest.mark.parametrize(
    ("family", "guidance", "negative"),
    [
        ("StableDiffusionPipeline", 0.0, ""),
        ("StableDiffusionPipeline", 6.5, ""),
        ("StableDiffusionPipeline", 6.5, "ugly"),
        ("StableDiffusionXLPipeline", 0.0, ""),
        ("StableDiffusionXLPipeline", 5.0, ""),
        ("StableDiffusionXLPipeline", 5.0, "ugly"),
        ("StableDiffusion3Pipeline", 0.0, ""),
        ("StableDiffusion3Pipeline", 5.0, "ugly"),
        ("FluxPipeline", 3.5, ""),
        ("ZImagePipeline", 0.0, ""),
        ("ZImagePipeline", 3.0, "ugly"),
    ],
)
def test_batch_equals_diffusers(folders: Folders, family: str, guidance: float, negative: str) -> None:
    generator = load(folders(family), guidance=guidance)
    assert generator.facts.pipeline == family
    pixels = make(generator, batch(negative=negative)).pixels
    # The layout of the weights in memory differs, and with it the order of sums.
    assert np.abs(pixels.astype(int) - by_diffusers(folders(family), negative, guidance)).max() <= 2
    other = make(generator, batch(*["another"] * 4, negative=negative)).pixels
    assert np.abs(pixels.astype(int) - other).max((1, 2, 3)).min() > 2, (
        "different texts must give different images, or the comparison proves nothing"
    )


@pytest.mark.parametrize("family", ["StableDiffusionXLPipeline", "ZImagePipeline"])
@pytest.mark.parametrize(("guidance", "dtype"), [(0.0, "fp32"), (3.0, "fp32"), (3.0, "bf16")])
def test_image_ignores_its_neighbours(folders: Folders, family: str, guidance: float, dtype: str) -> None:
    target = request("a cat", 7, "ugly")
    others = batch("x", "a dog", "one small ox", "a bird", negative="bad")
    images = []
    for requests in ([target] * 4, [target, *others[:3]], [others[3], others[0], target, others[2]]):
        generator = load(folders(family), guidance=guidance, dtype=dtype)
        assert len({generator.batch_key(each) for each in requests}) == 1
        images.append(make(generator, requests).pixels[requests.index(target)])
    assert np.array_equal(images[0], images[1])
    assert np.array_equal(images[0], images[2])


def test_model_of_another_kind_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "DiTPipeline"}')
    with pytest.raises(ModelError, match=r"model\.source: .* for kind 'text-to-image': .*DiTPipeline.*; give a model"):
        load(tmp_path)
