"""Device, number format and memory of an actor."""

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


def test_cpu_uses_the_actors_cores_and_instructions() -> None:
    before = torch.get_num_threads()
    try:
        device = pick_device(MODEL, ClusterSpec(cpus_per_actor=1))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    instructions = torch.cpu.get_capabilities()
    bf16 = instructions.get("avx512_bf16") or instructions.get("amx_bf16")
    assert (device.name, device.dtype) == ("cpu", torch.bfloat16 if bf16 else torch.float32)
    assert "1 threads" in device.description


@pytest.mark.parametrize(
    ("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_spec_chooses_the_dtype(name: str, dtype: torch.dtype) -> None:
    before = torch.get_num_threads()
    try:
        device = pick_device(MODEL.model_copy(update={"dtype": name}), ClusterSpec())
    finally:
        torch.set_num_threads(before)
    assert device.dtype == dtype
    assert device.description.endswith(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_missing_gpu_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"gpus_per_actor is 0\.5, but torch finds no GPU.*set it to 0"):
        pick_device(MODEL, ClusterSpec(gpus_per_actor=0.5))


# In a process of its own, since the settings of glibc stay.
PROGRAM = """
import resource, torch
from engine.models.devices import free_memory, keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(20 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults())
keep_freed_memory()
faults()
print(faults())
free_memory()
print(faults())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc has mallopt")
def test_freed_memory_is_kept_until_free_memory() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, kept, returned = map(int, done.stdout.split())
    pages = (20 << 20) * 4 // resource.getpagesize()
    assert before > pages, "each tensor gets new memory"
    assert kept < pages / 100
    assert returned > pages / 4, "unused memory went back to the system"
