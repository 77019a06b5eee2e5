"""Asynchronous launches change no image."""

from pathlib import Path

import numpy as np
import pytest

from engine.generators.optimizations.async_launch import launch_async
from tests.engine.generators.conftest import Folders
from tests.engine.generators.tiny_generators import TEXTS, batch, load, make

SCHEDULERS = [
    "DDIMScheduler",
    "PNDMScheduler",
    "EulerAncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
    "HeunDiscreteScheduler",
    "LCMScheduler",
]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_images_stay_the_same(sd: Path, scheduler: str) -> None:
    generator = load(sd, scheduler=scheduler, steps=4, guidance=3.0)
    batches = [batch(), batch(*reversed(TEXTS), seed=9)]
    expected = [make(generator, requests).pixels for requests in batches]
    launch_async(generator._pipe.pipeline, "cpu")
    for _ in range(2):
        results = [make(generator, requests).pixels for requests in batches]
        assert np.array_equal(results, expected)


def test_sdxl_images_stay_the_same(folders: Folders) -> None:
    generator = load(folders("StableDiffusionXLPipeline"))
    expected = make(generator).pixels
    launch_async(generator._pipe.pipeline, "cpu")
    assert all(np.array_equal(make(generator).pixels, expected) for _ in range(2))
