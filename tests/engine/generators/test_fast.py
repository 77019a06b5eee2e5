"""The steps of `model.fast`: what each changes, what it must not change, and what is refused."""

import json
import shutil
from collections.abc import Iterator
from itertools import chain, pairwise
from pathlib import Path
from time import perf_counter, sleep
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DiffusionPipeline
from pydantic import ValidationError
from torch._inductor.runtime.cache_dir_utils import default_cache_dir
from torch.nn.functional import interpolate
from torch.nn.modules.module import register_module_forward_hook

from bench.tiny_pipeline import make_vae
from engine.config.cluster_spec import ClusterSpec
from engine.config.output_spec import ImageSpec
from engine.config.spec import Spec
from engine.config.spec_file import identity, parse_as
from engine.errors import ModelError
from engine.generators.conditioning.condition import Layout
from engine.generators.diffusers_pipeline import DiffusersPipeline
from engine.generators.kinds.text_to_image import TextToImage, TextToImageSettings
from engine.generators.optimizations.async_launch import launch_async
from engine.generators.optimizations.compiling import compile_networks
from engine.generators.optimizations.packed_weights import can_pack
from engine.generators.optimizations.quantization import check_fp8
from engine.generators.generator import Images, Request
from engine.generators.vae import decode_group_size
from engine.models.devices import Device
from engine.profiling import DEVICE
from engine.types import Prompt
from tests.recipes import models
from tests.recipes.models import make_z_image_network

TEXTS = ["a cat", "a photo of a ship", "x", "a cat"]
GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"))


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.make_sd(tmp_path_factory.mktemp("sd") / "model")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An autoencoder of another class for the latents of `sd`."""
    torch.manual_seed(2)
    blocks = {f"{side}_block_out_channels": (8, 8) for side in ("encoder", "decoder")}
    counts = {f"num_{side}_blocks": (1, 1) for side in ("encoder", "decoder")}
    folder = tmp_path_factory.mktemp("tiny")
    AutoencoderTiny(latent_channels=4, **blocks, **counts).save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return folder


def settings(folder: Path, **given: Any) -> TextToImageSettings:
    usual = {"source": str(folder), "dtype": "fp32", "steps": 2, "batch_size": 4, "width": 16, "height": 16}
    return TextToImageSettings(**{**usual, **given})


def load(folder: Path, device: str = "cpu", size: int | None = None, **given: Any) -> TextToImage:
    cluster = ClusterSpec(gpus_per_actor=float(device == "cuda"))
    return TextToImage(settings(folder, **given), ImageSpec(size=size), cluster)


def ask(*texts: str, seed: int = 0) -> list[Request]:
    return [Request(Prompt(text, "ugly", (), "templates"), 0, "cat", seed + n) for n, text in enumerate(texts)]


def make(generator: TextToImage, requests: list[Request] | None = None) -> Images:
    return generator.generate(requests or ask(*TEXTS)).images()


@pytest.fixture
def decoded() -> Iterator[list[int]]:
    """How many images each call of a decoder has."""
    seen: list[int] = []

    def look(module: torch.nn.Module, given: Any, _: Any) -> None:
        if type(module).__name__ in ("Decoder", "DecoderTiny"):
            seen.append(len(given[0]))

    hook = register_module_forward_hook(look)
    yield seen
    hook.remove()


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_when_things_are_done_changes_no_byte(sd: Path, device: str) -> None:
    usual = load(sd, device, guidance=5.0)
    first, second = ask(*TEXTS), ask(*reversed(TEXTS), seed=9)
    expected = [make(usual, batch).pixels for batch in (first, second)]
    for step in ("overlap", "texts_once"):
        other = load(sd, device, guidance=5.0, fast={step: False})
        assert all(
            np.array_equal(make(other, batch).pixels, pixels)
            for batch, pixels in zip((first, second), expected, strict=True)
        )
        assert other.facts == usual.facts, "what a sample says is the same too"
    before = usual.generate(first)
    after = usual.generate(second)  # no pixel of a batch that is still being copied may become the next one's
    assert np.array_equal(before.images().pixels, expected[0])
    assert np.array_equal(after.images().pixels, expected[1])


def test_texts_are_encoded_anew_where_that_is_asked(sd: Path) -> None:
    counts: list[str] = []
    hook = register_module_forward_hook(lambda module, *_: counts.append(type(module).__name__))
    try:
        for once, runs in ((True, 0), (False, 2)):
            generator = load(sd, fast={"texts_once": once})
            make(generator)
            counts.clear()
            make(generator), make(generator)
            assert counts.count("CLIPTextModel") == runs
    finally:
        hook.remove()


def test_texts_of_later_batches_fill_the_places_that_a_batch_leaves(sd: Path) -> None:
    batches = [ask("a", "b", "a", "b"), ask("b", "c", "b", "c", seed=4), ask("d", "e", "f", "a", seed=8)]
    counts: list[str] = []
    hook = register_module_forward_hook(lambda module, *_: counts.append(type(module).__name__))
    try:
        seen = []
        for asked in (False, True):
            generator = load(sd, guidance=5.0)
            if asked:
                for request in chain.from_iterable(batches):
                    generator.shape(request)
            counts.clear()
            pixels = [make(generator, batch).pixels for batch in batches]
            seen.append((counts.count("CLIPTextModel"), pixels))
    finally:
        hook.remove()
    (apart, alone), (together, filled) = seen
    assert (apart, together) == (4, 2), "seven texts, the negative one among them, in groups of four"
    assert np.array_equal(alone, filled)


def test_without_channels_last_images_are_the_same_but_for_the_order_of_sums(sd: Path) -> None:
    last, first = load(sd, fast={"packed": False}), load(sd, fast={"channels_last": False})
    weights = [one._pipe.diffusers.unet.conv_in.weight for one in (last, first)]
    assert [weight.is_contiguous(memory_format=torch.channels_last) for weight in weights] == [True, False]
    assert np.abs(make(last).pixels.astype(int) - make(first).pixels).max() <= 1
    assert json.loads(first.facts.settings)["fast"] == {"channels_last": False}
    assert (last.device.split(", ")[-2:], first.device.split(", ")[-1]) == (
        ["channels_last", "texts_once"],
        "texts_once",
    )


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_packed_weights_make_the_same_images(sd: Path, dtype: str) -> None:
    usual, plain = load(sd, dtype=dtype, guidance=5.0), load(sd, dtype=dtype, guidance=5.0, fast={"packed": False})
    most = 0 if dtype == "bf16" else 1
    assert np.abs(make(usual).pixels.astype(int) - make(plain).pixels).max() <= most
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16}
    assert ("packed" in usual.device, "packed" in plain.device) == (can_pack(Device("cpu", dtypes[dtype], "")), False)
    for other in ({"channels_last": False}, {"compile": "default"}):
        generator = load(sd, dtype=dtype, fast=other)
        assert not generator._pipe.diffusers.unet.conv_in.weight.is_mkldnn
        assert "packed" not in generator.device


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_images_are_decoded_in_groups_of_one_size_and_ignore_their_company(
    sd: Path, device: str, dtype: str, decoded: list[int]
) -> None:
    generator = load(sd, device, dtype=dtype, fast={"decode_batch": 3})
    wanted, *others = ask("a cat", "x", "a dog", "one small ox")
    made = []
    for company in ([wanted] * 4, [wanted, *others], [*others, wanted]):
        decoded.clear()
        made.append(make(generator, company).pixels[company.index(wanted)])
        assert decoded == [3, 3]
    assert all(np.array_equal(made[0], other) for other in made[1:])
    assert json.loads(generator.facts.settings)["fast"] == {"decode_batch": 3}


def test_as_many_as_the_batch_are_decoded_at_once_without_a_setting(sd: Path, decoded: list[int]) -> None:
    expected = make(load(sd)).pixels
    for size in (4, 99):
        assert np.array_equal(make(load(sd, fast={"decode_batch": size})).pixels, expected)
    assert decoded[::2] == [4, 99]  # and 4 of 4


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
def test_no_layer_of_the_decoder_makes_more_values_than_32_bits_count(
    widths: tuple[int, ...], shape: tuple[int, ...], expected: int
) -> None:
    assert decode_group_size({"block_out_channels": widths} if widths else {}, shape) == expected


def test_what_is_counted_is_the_largest_output_of_a_decoder() -> None:
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 16, 16),
        norm_num_groups=4,
    )
    sizes: list[int] = []
    for module in vae.decoder.modules():
        module.register_forward_hook(lambda _module, _given, made: sizes.append(made.numel()))
    shape = (2, 4, 8, 8)
    vae.decode(torch.zeros(shape))
    assert max(sizes) == 2 * 16 * 16 * 8 * 8
    assert decode_group_size(vae.config, (2**31 // max(sizes) * 2, *shape[1:])) == 2**31 // max(sizes)


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("family", ["sd", "flux"])
def test_spans_say_where_the_time_of_a_batch_went(tmp_path: Path, device: str, family: str) -> None:
    generator = load(getattr(models, f"make_{family}")(tmp_path / "model"), device)
    for _ in range(2):
        spans = make(generator).spans
        assert [span.stage for span in spans][-3:] == list(DEVICE[1:])
        assert "text" in [span.stage for span in spans]
        assert all(span.start <= span.end for span in spans)
        assert all(one.end <= two.start for one, two in pairwise(spans))
        assert sum(span.seconds for span in spans if span.stage == "denoise") > 0


def test_what_failed_is_no_time_of_the_next_batch(sd: Path) -> None:
    generator = load(sd)
    with pytest.raises(ValueError, match="generators"):
        generator._pipe(ask("a cat"), **generator._pipe.prompts(ask(*TEXTS)))
    failed = perf_counter()
    sleep(0.05)
    spans = make(generator).spans
    assert all(span.end <= failed or span.start >= failed + 0.05 for span in spans)
    assert [span.stage for span in spans][-3:] == list(DEVICE[1:])


def test_another_autoencoder(sd: Path, tiny: Path) -> None:
    generator = load(sd, vae=str(tiny))
    pipe = DiffusionPipeline.from_pretrained(sd, vae=AutoencoderTiny.from_pretrained(tiny), safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    chances = [torch.Generator().manual_seed(request.seed) for request in ask(*TEXTS)]
    asked = {"num_inference_steps": 2, "guidance_scale": 0.0, "width": 16, "height": 16, "output_type": "np"}
    by_hand = pipe(prompt=list(TEXTS), generator=chances, **asked).images
    made = make(generator).pixels
    assert np.abs(made.astype(int) - (by_hand * 255).round().astype(int)).max() <= 1
    assert not np.array_equal(made, make(load(sd)).pixels)
    told = json.loads(generator.facts.settings)
    assert (told["vae"], told["vae_license"], len(told["vae_revision"])) == (str(tiny), "mit", 12)


def test_an_autoencoder_is_pinned_as_other_models_are(sd: Path) -> None:
    model = settings(sd, vae="someone/taesd", vae_revision="main")
    assert [(part.place, part.source, part.revision) for part in model.parts][1:] == [
        ("model.vae", "someone/taesd", "main")
    ]
    pinned = model.with_revisions({"model.vae": f"main@{'a' * 40}"})
    assert pinned.parts[1].commit == "a" * 40
    with pytest.raises(ValidationError, match="vae_revision is of an autoencoder: give vae"):
        settings(sd, vae_revision="main")


def test_an_autoencoder_that_does_not_fit(sd: Path, tmp_path: Path) -> None:
    make_vae(latent_channels=8).save_pretrained(tmp_path / "channels")
    names = {"down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3}
    AutoencoderKL(block_out_channels=(8, 8, 8), norm_num_groups=4, **names).save_pretrained(tmp_path / "scale")
    for folder, words in (
        (tmp_path / "channels", "decodes latents of 8 channels, and .* makes them of 4; give one"),
        (tmp_path / "scale", "decodes latents of 4 pixels a side, and .* makes them of 2; give one"),
        (sd / "unet", "is a UNet2DConditionModel; give an autoencoder"),
    ):
        with pytest.raises(ModelError, match=f"model.vae: .*{words}"):
            load(sd, vae=str(folder))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"fast": {"compile": "default"}, "offload": "model"}, "fast.compile needs the weights .* say offload: none"),
        ({"fast": {"fp8": True}, "offload": "layers"}, "fast.fp8 needs the weights .* say offload: none"),
        ({"fast": {"fp8": True}, "adapters": [{"source": "a/b"}]}, "fast.fp8 cannot take adapters"),
        ({"fast": {"fp8": True}, "dtype": "fp16"}, "say dtype: bf16, not fp16"),
        ({"fast": {"compile": "max-autotune"}}, "kernels by timing them.*nondeterministic: true"),
        ({"fast": {"decode_batch": 0}}, "greater than or equal to 1"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TextToImageSettings.model_validate_json(json.dumps({"source": "m", **given}))


def test_fp8_where_it_cannot_be_computed(sd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"model\.fast\.fp8: a CPU has no instructions for it; say fp8: false"):
        load(sd, dtype="bf16", fast={"fp8": True})
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A100")
    for capability, dtype, words in (((8, 0), torch.bfloat16, "A100 has .* 8.0"), ((8, 9), torch.float16, "say dtype")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda capability=capability: capability)
        with pytest.raises(ModelError, match=words):
            check_fp8(Device("cuda", dtype, "a GPU"))


class Net(torch.nn.Module):
    """Its output has the shape and dtype of its input, in a tuple, as those of denoisers are."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (torch.nn.functional.silu(self.conv(x)),)


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torch.compile, with its cache in `tmp_path`, and no trace of it afterwards."""
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", default_cache_dir())  # as torch leaves it
    monkeypatch.setenv("SHARDMILL_CACHE", str(tmp_path))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    torch.manual_seed(0)
    limits = {name: getattr(torch._dynamo.config, name) for name in ("recompile_limit", "fail_on_recompile_limit_hit")}
    # No pool of processes for a few small kernels.
    with torch._dynamo.config.patch(limits), torch._inductor.config.patch(compile_threads=1):
        yield


@pytest.mark.usefixtures("compiler")
def test_networks_are_compiled_for_each_shape_into_a_cache_that_actors_share(tmp_path: Path) -> None:
    unet = Net()
    batches = [torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 12)]
    with torch.inference_mode():
        expected = [unet(batch)[0] for batch in batches]
        compile_networks(SimpleNamespace(unet=unet, vae=None), "default")
        made = [unet(batch)[0] for batch in batches]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == len(batches), "none is compiled for all shapes"
    assert all(torch.allclose(one, two, atol=1e-6) for one, two in zip(made, expected, strict=True))
    assert list((tmp_path / "inductor").rglob("*.so"))


@pytest.mark.usefixtures("compiler")
def test_captions_of_other_lengths_in_a_bucket_are_not_compiled_for(monkeypatch: pytest.MonkeyPatch) -> None:
    compile = torch.compile  # what is made of the graphs is no part of this
    monkeypatch.setattr(
        torch, "compile", lambda forward, dynamic, **_: compile(forward, dynamic=dynamic, backend="eager")
    )
    network = make_z_image_network()
    image, step = torch.randn(16, 1, 8, 8), torch.tensor([0.5, 0.5])
    captions = [[torch.randn(length, 16) for length in lengths] for lengths in ((5, 6), (6, 5), (7, 31), (40, 33))]
    with torch.inference_mode():
        expected = [network([image, image], step, caption)[0] for caption in captions]
        compile_networks(SimpleNamespace(transformer=network), "default")
        graphs = []
        for caption, wanted in zip(captions, expected, strict=True):
            made = network([image, image], step, caption)[0]
            assert all(torch.allclose(one, two, atol=1e-5) for one, two in zip(made, wanted, strict=True))
            graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert graphs[0] == graphs[1] == graphs[2] < graphs[3], "one bucket of 32 tokens, and another"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU, and a CPU takes a minute to compile it")
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compiled_images_are_those_of_the_model(sd: Path, mode: str) -> None:
    generator = load(sd, "cuda", steps=5, guidance=3.0, scheduler="DPMSolverMultistepScheduler", fast={"compile": mode})
    plain = load(sd, "cuda", steps=5, guidance=3.0, scheduler="DPMSolverMultistepScheduler")
    batches = [generator.generate(batch) for batch in (ask(*TEXTS), ask(*TEXTS, seed=9), ask(*TEXTS))]
    made = [batch.images().pixels for batch in batches]
    assert np.array_equal(made[0], made[2])
    assert np.abs(made[1].astype(int) - make(plain, ask(*TEXTS, seed=9)).pixels).max() <= 3


def test_a_run_may_go_on_with_other_steps_where_they_change_no_byte() -> None:
    def spec(*overrides: str) -> dict[str, Any]:
        text = "{name: a, classes: [b], plan: {per_class: 1}, model: {source: m}}"
        return identity(parse_as(Spec, text, "spec", overrides))

    assert spec("model.fast.overlap=false", "model.fast.texts_once=false") == spec()
    for change in ("channels_last=false", "packed=false", "compile=default", "decode_batch=1", "fp8=true"):
        assert spec(f"model.fast.{change}") != spec()


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
def test_a_host_that_runs_ahead_of_its_device_makes_the_same_images(sd: Path, scheduler: str) -> None:
    generator = load(sd, scheduler=scheduler, steps=4, guidance=3.0)
    batches = [ask(*TEXTS), ask(*reversed(TEXTS), seed=9)]
    expected = [make(generator, batch).pixels for batch in batches]
    launch_async(generator._pipe.diffusers, "cpu")
    for _ in range(2):
        assert all(
            np.array_equal(make(generator, one).pixels, want) for one, want in zip(batches, expected, strict=True)
        )


def test_sdxl_runs_ahead_too(tmp_path: Path) -> None:
    generator = load(models.make_sdxl(tmp_path / "model"))
    expected = make(generator).pixels
    launch_async(generator._pipe.diffusers, "cpu")
    assert all(np.array_equal(make(generator).pixels, expected) for _ in range(2))


def test_what_is_no_square_is_cut_around_its_centre_before_it_is_resized(sd: Path) -> None:
    wide = settings(sd, width=24)
    whole, cut, small = (
        DiffusersPipeline("AutoPipelineForText2Image", wide, ImageSpec(size=size), ClusterSpec())
        for size in (None, 16, 8)
    )
    mask = np.arange(16 * 24, dtype=np.uint8).reshape(16, 24) // 4
    layout = Layout("", lambda: mask, np.zeros((99, 3), np.uint8))
    requests = [Request(one.prompt, 0, "cat", one.seed, layout) for one in ask(*TEXTS)]
    made = [pipe(requests, pipe.masks(requests), **pipe.prompts(requests)).images() for pipe in (whole, cut, small)]
    assert [one.pixels.shape[1:3] for one in made] == [(16, 24), (16, 16), (8, 8)]
    assert np.array_equal(made[1].pixels, made[0].pixels[:, :, 4:20])
    part = torch.from_numpy(made[1].pixels).permute(0, 3, 1, 2).float()
    resized = interpolate(part, (8, 8), mode="bicubic", antialias=True).clamp(0, 255).permute(0, 2, 3, 1).numpy()
    assert np.abs(resized - made[2].pixels).max() <= 2
    assert made[1].masks is not None
    assert made[2].masks is not None
    assert np.array_equal(made[1].masks[0], mask[:, 4:20])
    assert np.isin(made[2].masks[0], mask[:, 4:20]).all()
    assert made[2].masks.shape == (4, 8, 8)
