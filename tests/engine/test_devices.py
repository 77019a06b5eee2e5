"""Device and number format of an actor."""

import ctypes
import resource
import subprocess
import sys

import pytest
import torch

from engine.config.cluster_spec import ClusterSpec
from engine.errors import ModelError
from engine.generators.kinds.text_to_image import TextToImageSettings
from engine.models.devices import pick_device

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


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc has mallopt")
def test_on_a_cpu_memory_that_was_freed_is_kept_until_it_is_given_back() -> None:
    """In a process of its own, since what is set stays."""
    program = """
import resource, torch
from engine.models.devices import pick_device
from engine.generators.kinds.text_to_image import TextToImageSettings
from engine.models.memory import free_memory
from engine.config.cluster_spec import ClusterSpec

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(20 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults())
pick_device(TextToImageSettings(source="m"), ClusterSpec())
faults()
print(faults())
free_memory()
print(faults())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, kept, given_back = map(int, done.stdout.split())
    pages = (20 << 20) * 4 // resource.getpagesize()
    assert before > pages, "each is given memory anew"
    assert kept < pages / 100
    assert given_back > pages / 4, "what nobody uses went back to the system"
