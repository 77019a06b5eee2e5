"""The core of the diffusers generators: batches, stages, refusals, masks, and stored sizes."""

from itertools import pairwise
from pathlib import Path
from time import perf_counter, sleep

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate
from torch.nn.modules.module import register_module_forward_hook

from engine.config.cluster_spec import ClusterSpec
from engine.config.output_spec import ImageSpec
from engine.generators.conditioning.condition import Layout
from engine.generators.diffusers_pipeline import DiffusersPipeline
from engine.generators.generator import Request
from engine.profiling import DEVICE
from tests.engine.generators.conftest import Folders
from tests.engine.generators.tiny_generators import GPU, batch, load, make, settings
from tests.recipes import models


@pytest.mark.parametrize(("guidance", "rows"), [(0.0, 4), (6.5, 8)])
def test_guidance_is_one_forward_per_step(sd: Path, guidance: float, rows: int) -> None:
    generator = load(sd, guidance=guidance, steps=3)
    sizes = []
    hook = register_module_forward_hook(
        lambda module, args, _: sizes.append(len(args[0])) if "UNet2DCondition" in type(module).__name__ else None
    )
    try:
        make(generator)
    finally:
        hook.remove()
    assert sizes == [rows] * 3


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("family", ["StableDiffusionPipeline", "FluxPipeline"])
def test_spans_cover_the_stages_of_a_batch(folders: Folders, device: str, family: str) -> None:
    generator = load(folders(family), device)
    for _ in range(2):
        spans = make(generator).spans
        assert [span.stage for span in spans][-3:] == list(DEVICE[1:])
        assert "text" in [span.stage for span in spans]
        assert all(span.start <= span.end for span in spans)
        assert all(earlier.end <= later.start for earlier, later in pairwise(spans))
        assert sum(span.seconds for span in spans if span.stage == "denoise") > 0


def test_failed_batch_adds_no_time_to_the_next(sd: Path) -> None:
    generator = load(sd)
    with pytest.raises(ValueError, match="generators"):
        generator._pipe.generate(batch("a cat"), **generator._pipe.encode_prompts(batch()))
    failed = perf_counter()
    sleep(0.05)
    spans = make(generator).spans
    assert all(span.end <= failed or span.start >= failed + 0.05 for span in spans)
    assert [span.stage for span in spans][-3:] == list(DEVICE[1:])


def test_images_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    folder = models.make_sdxl(tmp_path / "model", vae_gain=1e5, force_upcast=False)
    images = make(load(folder, dtype="fp16"))
    assert images.refused == ("not finite",) * 4
    assert not images.pixels.any()


def test_wide_images_are_cut_then_resized(sd: Path) -> None:
    wide = settings(sd, width=24)
    whole, cut, small = (
        DiffusersPipeline("AutoPipelineForText2Image", wide, ImageSpec(size=size), ClusterSpec())
        for size in (None, 16, 8)
    )
    mask = np.arange(16 * 24, dtype=np.uint8).reshape(16, 24) // 4
    layout = Layout("", lambda: mask, np.zeros((99, 3), np.uint8))
    requests = [Request(request.prompt, 0, "cat", request.seed, 0, layout) for request in batch()]
    results = [
        pipe.generate(requests, pipe.stored_masks(requests), **pipe.encode_prompts(requests)).images()
        for pipe in (whole, cut, small)
    ]
    assert [images.pixels.shape[1:3] for images in results] == [(16, 24), (16, 16), (8, 8)]
    assert np.array_equal(results[1].pixels, results[0].pixels[:, :, 4:20])
    square = torch.from_numpy(results[1].pixels).permute(0, 3, 1, 2).float()
    resized = interpolate(square, (8, 8), mode="bicubic", antialias=True).clamp(0, 255).permute(0, 2, 3, 1).numpy()
    assert np.abs(resized - results[2].pixels).max() <= 2
    assert results[1].masks is not None
    assert results[2].masks is not None
    assert np.array_equal(results[1].masks[0], mask[:, 4:20])
    assert np.isin(results[2].masks[0], mask[:, 4:20]).all()
    assert results[2].masks.shape == (4, 8, 8)
