"""The autoencoder: replacements, overflow in fp16, and decoding in groups."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DiffusionPipeline
from torch.nn.modules.module import register_module_forward_hook

from bench.tiny_pipeline import make_vae
from engine.errors import ModelError
from engine.generators.vae import decode_group_size
from tests.engine.generators.tiny_generators import GPU, TEXTS, batch, load, make
from tests.recipes import models


@pytest.fixture
def decoded() -> Iterator[list[int]]:
    """Record the number of images in each decoder call."""
    sizes: list[int] = []
    hook = register_module_forward_hook(
        lambda module, args, _: sizes.append(len(args[0])) if type(module).__name__ == "Decoder" else None
    )
    yield sizes
    hook.remove()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an autoencoder of another class for the latents of `sd`."""
    torch.manual_seed(2)
    blocks = {f"{side}_block_out_channels": (8, 8) for side in ("encoder", "decoder")}
    counts = {f"num_{side}_blocks": (1, 1) for side in ("encoder", "decoder")}
    folder = tmp_path_factory.mktemp("tiny")
    AutoencoderTiny(latent_channels=4, **blocks, **counts).save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return folder


def test_replacement_decodes_as_in_diffusers(sd: Path, tiny: Path) -> None:
    generator = load(sd, vae=str(tiny))
    pipe = DiffusionPipeline.from_pretrained(sd, vae=AutoencoderTiny.from_pretrained(tiny), safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(request.seed) for request in batch()]
    arguments = {"num_inference_steps": 2, "guidance_scale": 0.0, "width": 16, "height": 16, "output_type": "np"}
    by_hand = pipe(prompt=list(TEXTS), generator=generators, **arguments).images
    pixels = make(generator).pixels
    assert np.abs(pixels.astype(int) - (by_hand * 255).round().astype(int)).max() <= 1
    assert not np.array_equal(pixels, make(load(sd)).pixels)
    recorded = json.loads(generator.facts.settings)
    assert (recorded["vae"], recorded["vae_license"], len(recorded["vae_revision"])) == (str(tiny), "mit", 12)


def test_replacement_that_does_not_fit(sd: Path, tmp_path: Path) -> None:
    make_vae(latent_channels=8).save_pretrained(tmp_path / "channels")
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3}
    AutoencoderKL(block_out_channels=(8, 8, 8), norm_num_groups=4, **blocks).save_pretrained(tmp_path / "scale")
    for folder, words in (
        (tmp_path / "channels", "decodes latents of 8 channels, and .* makes them of 4; give one"),
        (tmp_path / "scale", "decodes latents of 4 pixels a side, and .* makes them of 2; give one"),
        (sd / "unet", "is a UNet2DConditionModel; give an autoencoder"),
    ):
        with pytest.raises(ModelError, match=f"model.vae: .*{words}"):
            load(sd, vae=str(folder))


def test_sdxl_in_fp16_equals_fp32(tmp_path: Path) -> None:
    folder = models.make_sdxl(tmp_path / "model", vae_gain=1e5)
    wide, generator = make(load(folder)), load(folder, dtype="fp16")
    # The pipeline's own remedy in each call would warn, and so fail this test.
    narrow, again = make(generator), make(generator)
    assert narrow.refused == ("",) * 4
    assert np.abs(narrow.pixels.astype(int) - wide.pixels).mean() < 1
    assert np.array_equal(narrow.pixels, again.pixels)


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_groups_have_one_size(sd: Path, device: str, dtype: str, decoded: list[int]) -> None:
    generator = load(sd, device, dtype=dtype, optimizations={"decode_batch": 3})
    target, *others = batch("a cat", "x", "a dog", "one small ox")
    images = []
    for requests in ([target] * 4, [target, *others], [*others, target]):
        decoded.clear()
        images.append(make(generator, requests).pixels[requests.index(target)])
        assert decoded == [3, 3]
    assert all(np.array_equal(images[0], other) for other in images[1:])
    assert json.loads(generator.facts.settings)["optimizations"] == {"decode_batch": 3}


def test_default_group_is_the_batch(sd: Path, decoded: list[int]) -> None:
    expected = make(load(sd)).pixels
    for size in (4, 99):
        assert np.array_equal(make(load(sd, optimizations={"decode_batch": size})).pixels, expected)
    assert decoded == [4, 4, 99]


@pytest.mark.parametrize(
    ("widths", "shape", "expected"),
    [
        ((128, 256, 512, 512), (32, 4, 64, 64), 16),  # 256 channels at 512x512, 32 times: 2**31
        ((128, 256, 512, 512), (31, 4, 64, 64), 31),
        ((128, 256, 512, 512), (33, 4, 64, 64), 17),
        ((128, 256, 512, 512), (8, 16, 128, 128), 4),
        ((64, 64, 64, 64), (64, 4, 64, 64), 64),
        ((64,), (64, 4, 64, 64), 64),
        ((), (64, 4, 64, 64), 64),
    ],
)
def test_group_size_fits_32_bit_indices(widths: tuple[int, ...], shape: tuple[int, ...], expected: int) -> None:
    assert decode_group_size({"block_out_channels": widths} if widths else {}, shape) == expected


def test_group_size_counts_the_largest_output() -> None:
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 16, 16),
        norm_num_groups=4,
    )
    sizes: list[int] = []
    for module in vae.decoder.modules():
        module.register_forward_hook(lambda _module, _args, output: sizes.append(output.numel()))
    shape = (2, 4, 8, 8)
    vae.decode(torch.zeros(shape))
    assert max(sizes) == 2 * 16 * 16 * 8 * 8
    assert decode_group_size(vae.config, (2**31 // max(sizes) * 2, *shape[1:])) == 2**31 // max(sizes)
