"""Compilation for fixed shapes: the number of graphs, their cache, and unchanged images."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch._inductor.runtime.cache_dir_utils import default_cache_dir

from engine.generators.optimizations.compiling import compile_networks
from tests.engine.generators.tiny_generators import batch, load, make
from tests.recipes.models import make_z_image_network


class Net(torch.nn.Module):
    """A network whose output has the shape and dtype of its input, in a tuple like those of denoisers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (torch.nn.functional.silu(self.conv(x)),)


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Use torch.compile with its cache in `tmp_path`, and restore all settings afterwards."""
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", default_cache_dir())  # torch's default
    monkeypatch.setenv("SHARDMILL_CACHE", str(tmp_path))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    torch.manual_seed(0)
    limits = {name: getattr(torch._dynamo.config, name) for name in ("recompile_limit", "fail_on_recompile_limit_hit")}
    # No pool of processes for a few small kernels.
    with torch._dynamo.config.patch(limits), torch._inductor.config.patch(compile_threads=1):
        yield


def graphs() -> int:
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


@pytest.fixture
def eager(compiler: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make torch.compile capture graphs but run them without a compiler."""
    compile = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda forward, dynamic, **_: compile(forward, dynamic=dynamic, backend="eager")
    )


@pytest.mark.usefixtures("compiler")
def test_compiled_code_goes_to_the_shared_cache(tmp_path: Path) -> None:
    unet, images = Net(), torch.randn(2, 4, 8, 8)
    with torch.inference_mode():
        expected = unet(images)[0]
        compile_networks(SimpleNamespace(unet=unet, vae=None), "default")
        assert torch.allclose(unet(images)[0], expected, atol=1e-6)
    assert list((tmp_path / "inductor").rglob("*.so"))


@pytest.mark.usefixtures("eager")
def test_each_shape_has_its_own_graph() -> None:
    unet = Net()
    compile_networks(SimpleNamespace(unet=unet, vae=None), "default")
    with torch.inference_mode():
        for count, width in enumerate((8, 12, 16), 1):
            unet(torch.randn(2, 4, 8, width))
            assert graphs() == count, "no graph has dynamic shapes"


@pytest.mark.usefixtures("eager")
def test_captions_of_a_bucket_share_graphs() -> None:
    network = make_z_image_network()
    image, step = torch.randn(16, 1, 8, 8), torch.tensor([0.5, 0.5])
    captions = [[torch.randn(length, 16) for length in lengths] for lengths in ((5, 6), (7, 31), (40, 33))]
    with torch.inference_mode():
        expected = [network([image, image], step, caption)[0] for caption in captions]
        compile_networks(SimpleNamespace(transformer=network), "default")
        counts = []
        for caption, reference in zip(captions, expected, strict=True):
            result = network([image, image], step, caption)[0]
            assert all(
                torch.allclose(first, second, atol=1e-5) for first, second in zip(result, reference, strict=True)
            )
            counts.append(graphs())
    assert counts[0] == counts[1] < counts[2], "captions of up to 32 tokens share graphs, and a longer one adds graphs"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU, and a CPU takes a minute to compile it")
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compiled_images_are_those_of_the_model(sd: Path, mode: str) -> None:
    changes = {"steps": 5, "guidance": 3.0, "scheduler": "DPMSolverMultistepScheduler"}
    generator, plain = load(sd, "cuda", **changes, optimizations={"compile": mode}), load(sd, "cuda", **changes)
    pending = [generator.generate(requests) for requests in (batch(), batch(seed=9), batch())]
    results = [batch.images().pixels for batch in pending]
    assert np.array_equal(results[0], results[2])
    assert np.abs(results[1].astype(int) - make(plain, batch(seed=9)).pixels).max() <= 3
