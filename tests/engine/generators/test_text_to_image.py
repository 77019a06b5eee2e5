"""Text-to-image, for each family of models: our batches are what diffusers itself makes of the prompts."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from torch.nn.modules.module import register_module_forward_hook

from engine.config.cluster_spec import ClusterSpec
from engine.config.output_spec import ImageSpec
from engine.errors import ModelError
from engine.generators.kinds.text_to_image import TextToImage, TextToImageSettings
from engine.generators.generator import Request
from engine.types import Prompt
from shards.codec import Pixels
from tests.recipes import models

MAKERS = {
    "StableDiffusionPipeline": models.make_sd,
    "StableDiffusionXLPipeline": models.make_sdxl,
    "StableDiffusion3Pipeline": models.make_sd3,
    "FluxPipeline": models.make_flux,
    "ZImagePipeline": models.make_z_image,
}
TEXTS = ["a cat", "a photo of a ship", "x", "a very long caption of a dog"]

Folders = Callable[[str], Path]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """The folder of a small model of a class, made when it is first asked for."""
    root = tmp_path_factory.mktemp("families")

    def folder(name: str) -> Path:
        return root / name if (root / name).exists() else MAKERS[name](root / name)

    return folder


def load(folder: Path, **settings: Any) -> TextToImage:
    given = {"source": str(folder), "dtype": "fp32", "steps": 2, "batch_size": 4, "width": 16, "height": 16, **settings}
    return TextToImage(TextToImageSettings(**given), ImageSpec(), ClusterSpec(cpus_per_actor=2))


def ask(text: str, seed: int, negative: str = "") -> Request:
    return Request(Prompt(text, negative, (), "templates"), 0, "thing", seed)


@contextmanager
def forwards() -> Iterator[Counter[str]]:
    """Counts the calls of each class of module."""
    counts: Counter[str] = Counter()
    hook = register_module_forward_hook(lambda module, *_: counts.update([type(module).__name__]))
    try:
        yield counts
    finally:
        hook.remove()


def by_diffusers(folder: Path, negative: str, guidance: float) -> Pixels:
    """What the pipeline makes of TEXTS when it is called by hand."""
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    made = pipe(
        prompt=list(TEXTS),
        generator=[torch.Generator().manual_seed(seed) for seed in range(len(TEXTS))],
        num_inference_steps=2,
        guidance_scale=guidance,
        width=16,
        height=16,
        output_type="np",
        **({"negative_prompt": [negative] * len(TEXTS)} if negative else {}),
    ).images
    return (made * 255).round().astype(np.uint8)


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
def test_a_batch_is_what_diffusers_makes_of_the_prompts(
    folders: Folders, family: str, guidance: float, negative: str
) -> None:
    generator = load(folders(family), guidance=guidance)
    assert generator.facts.pipeline == family
    made = generator.generate([ask(text, seed, negative) for seed, text in enumerate(TEXTS)]).pixels
    # The layout of the weights in memory differs, and with it the order of sums.
    assert np.abs(made.astype(int) - by_diffusers(folders(family), negative, guidance)).max() <= 2
    other = generator.generate([ask("another", seed, negative) for seed in range(len(TEXTS))]).pixels
    assert np.abs(made.astype(int) - other).max((1, 2, 3)).min() > 2, "the text must matter, or nothing was compared"


@pytest.mark.parametrize(("guidance", "rows"), [(0.0, 4), (6.5, 8)])
def test_guidance_is_one_batched_forward_of_a_step(folders: Folders, guidance: float, rows: int) -> None:
    generator = load(folders("StableDiffusionPipeline"), guidance=guidance, steps=3)
    seen = []
    hook = register_module_forward_hook(
        lambda module, given, made: seen.append(len(given[0])) if "UNet2DCondition" in type(module).__name__ else None
    )
    try:
        generator.generate([ask(text, 1) for text in TEXTS])
    finally:
        hook.remove()
    assert seen == [rows] * 3


def test_each_distinct_text_is_encoded_once(folders: Folders) -> None:
    generator = load(folders("StableDiffusionPipeline"), guidance=6.5)
    with forwards() as first:
        generator.generate([ask(text, 1, "ugly") for text in TEXTS])
    with forwards() as again:
        generator.generate([ask(text, 2, "ugly") for text in reversed(TEXTS)])
    assert (first["CLIPTextModel"], again["CLIPTextModel"]) == (2, 0)


@pytest.mark.parametrize("family", ["StableDiffusionXLPipeline", "ZImagePipeline"])
@pytest.mark.parametrize(("guidance", "dtype"), [(0.0, "fp32"), (3.0, "fp32"), (3.0, "bf16")])
def test_an_image_does_not_depend_on_its_company(folders: Folders, family: str, guidance: float, dtype: str) -> None:
    wanted = ask("a cat", 7, "ugly")
    friends = [ask(text, seed, "bad") for seed, text in enumerate(["x", "a dog", "one small ox", "a bird"])]
    made = []
    for company in ([wanted] * 4, [wanted, *friends[:3]], [friends[3], friends[0], wanted, friends[2]]):
        generator = load(folders(family), guidance=guidance, dtype=dtype)
        assert len({generator.shape(request) for request in company}) == 1
        made.append(generator.generate(company).pixels[company.index(wanted)])
    assert np.array_equal(made[0], made[1])
    assert np.array_equal(made[0], made[2])


def test_captions_that_are_filled_up_to_different_lengths_share_no_batch(folders: Folders) -> None:
    short, long = "a cat", "a cat " * 8
    free, guided = (load(folders("ZImagePipeline"), guidance=guidance) for guidance in (0.0, 3.0))
    assert free.shape(ask(short, 1)) != free.shape(ask(long, 1))
    assert free.shape(ask(short, 1)) == free.shape(ask(short, 1, long)), "what is not used has no length"
    assert guided.shape(ask(short, 1)) != guided.shape(ask(short, 1, long))
    padded = load(folders("StableDiffusionPipeline"))
    assert padded.shape(ask(short, 1)) == padded.shape(ask(long, 1))


def test_sdxl_in_fp16_where_its_vae_overflows_is_what_it_is_in_fp32(tmp_path: Path) -> None:
    folder = models.make_sdxl(tmp_path / "model", vae_gain=1e5)
    requests = [ask(text, seed) for seed, text in enumerate(TEXTS)]
    wide = load(folder).generate(requests)
    generator = load(folder, dtype="fp16")
    # The pipeline's own remedy on each call would warn, and so fail this test.
    narrow, again = generator.generate(requests), generator.generate(requests)
    assert narrow.refused == ("",) * 4
    assert np.abs(narrow.pixels.astype(int) - wide.pixels).mean() < 1
    assert np.array_equal(narrow.pixels, again.pixels)


def test_images_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    folder = models.make_sdxl(tmp_path / "model", vae_gain=1e5, force_upcast=False)
    images = load(folder, dtype="fp16").generate([ask(text, 1) for text in TEXTS])
    assert images.refused == ("not finite",) * 4
    assert not images.pixels.any()


def test_a_model_of_another_kind_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "DiTPipeline"}')
    with pytest.raises(ModelError, match=r"model\.source: .* for kind 'text-to-image': .*DiTPipeline.*; give a model"):
        load(tmp_path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("family", ["StableDiffusionXLPipeline", "ZImagePipeline"])
@pytest.mark.parametrize("offload", ["model", "layers"])
def test_offloading_on_a_gpu_changes_no_image(folders: Folders, family: str, offload: str) -> None:
    made = []
    for wish in ("none", offload):
        settings = TextToImageSettings(
            source=str(folders(family)), dtype="fp16", steps=2, batch_size=4, width=16, height=16, offload=wish
        )
        generator = TextToImage(settings, ImageSpec(), ClusterSpec(gpus_per_actor=1))
        requests = [ask(text, seed) for seed, text in enumerate(TEXTS)]
        made += [generator.generate(requests).images().pixels for _ in range(2)]
    assert all(np.array_equal(made[0], other) for other in made[1:])
