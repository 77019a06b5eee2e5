"""Text-to-image generators of small random models, and requests for them."""

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config.cluster_spec import ClusterSpec
from engine.config.output_spec import ImageSpec
from engine.generators.generator import Images, Request
from engine.generators.kinds.text_to_image import TextToImage, TextToImageSettings
from engine.types import Prompt

TEXTS = ["a cat", "a photo of a ship", "x", "a very long caption of a dog"]
GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"))


def settings(folder: Path, **changes: Any) -> TextToImageSettings:
    defaults = {"source": str(folder), "dtype": "fp32", "steps": 2, "batch_size": 4, "width": 16, "height": 16}
    return TextToImageSettings(**{**defaults, **changes})


def load(folder: Path, device: str = "cpu", **changes: Any) -> TextToImage:
    cluster = ClusterSpec(gpus_per_actor=float(device == "cuda"))
    return TextToImage(settings(folder, **changes), ImageSpec(), cluster)


def request(text: str, seed: int = 0, negative: str = "") -> Request:
    return Request(Prompt(text, negative, (), "templates"), 0, "thing", seed)


def batch(*texts: str, seed: int = 0, negative: str = "ugly") -> list[Request]:
    return [request(text, seed + number, negative) for number, text in enumerate(texts or TEXTS)]


def make(generator: TextToImage, requests: list[Request] | None = None) -> Images:
    return generator.generate(requests or batch()).images()
