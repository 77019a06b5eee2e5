"""Device and number format of an actor."""

import pytest
import torch

from engine.devices import pick_device
from engine.errors import ModelError
from engine.generators.text_to_image import TextToImageSettings
from engine.spec.cluster import ClusterSpec

MODEL = TextToImageSettings(source="m")


def test_a_cpu_computes_with_the_actors_cores_in_what_it_has_instructions_for() -> None:
    before = torch.get_num_threads()
    try:
        found = pick_device(MODEL, ClusterSpec(cpus_per_actor=1))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    has = torch.cpu.get_capabilities()
    expected = torch.bfloat16 if has.get("avx512_bf16") or has.get("amx_bf16") else torch.float32
    assert (found.name, found.dtype) == ("cpu", expected)
    assert "1 threads" in found.text


@pytest.mark.parametrize(
    ("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_what_the_spec_names_is_taken(name: str, dtype: torch.dtype) -> None:
    before = torch.get_num_threads()
    try:
        found = pick_device(MODEL.model_copy(update={"dtype": name}), ClusterSpec())
    finally:
        torch.set_num_threads(before)
    assert found.dtype == dtype
    assert found.text.endswith(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"gpus_per_actor is 0\.5, but torch finds no GPU.*set it to 0"):
        pick_device(MODEL, ClusterSpec(gpus_per_actor=0.5))
