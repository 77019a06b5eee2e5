"""The device that an actor computes on: its number format, its kernels, and its memory."""

import ctypes
import gc
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.config.cluster_spec import ClusterSpec
from engine.config.model_settings import ModelSettings
from engine.errors import ModelError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Device:
    """A torch device and dtype. description: the kind of device and the dtype, for people and for the stats."""

    name: str
    dtype: "torch.dtype"
    description: str


def pick_device(model: ModelSettings, cluster: ClusterSpec) -> Device:
    """Return the actor's GPU, or the CPU with as many torch threads as the actor has cores.

    Sets those threads, keeps freed memory, and selects deterministic kernels. Raises ModelError if the spec asks for a
    GPU and torch finds none.
    """
    import torch

    if cluster.gpus_per_actor > 0:
        if not torch.cuda.is_available():
            raise ModelError(
                f"cluster.gpus_per_actor is {cluster.gpus_per_actor:g}, but torch finds no GPU on this node; "
                "set it to 0 to compute on the CPU"
            )
        use_deterministic_kernels()
        name, kind = "cuda", torch.cuda.get_device_name()
    else:
        torch.set_num_threads(cluster.cpus_per_actor)
        keep_freed_memory()
        name, kind = "cpu", f"CPU ({torch.backends.cpu.get_cpu_capability()}, {cluster.cpus_per_actor} threads)"
    dtype = auto_dtype(name) if model.dtype == "auto" else model.dtype
    torch.backends.cudnn.allow_tf32 = dtype != "fp32"  # TF32 rounds the inputs of fp32 convolutions to 10 bits
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    return Device(name, dtypes[dtype], f"{kind}, {dtype}")


def use_deterministic_kernels() -> None:
    """Let cuDNN use the same kernels in every run, and none whose sums have no fixed order."""
    import torch

    torch.backends.cudnn.benchmark = False  # benchmarks choose kernels by time, so another one tomorrow
    torch.backends.cudnn.deterministic = True


def auto_dtype(device: str) -> str:
    """Return bf16 if the device, `cuda` or `cpu`, has instructions for it; else fp16 on a GPU, and fp32 on a CPU."""
    import torch

    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    instructions = torch.cpu.get_capabilities()
    return "bf16" if instructions.get("avx512_bf16") or instructions.get("amx_bf16") else "fp32"


_OOM_PHRASES = ("out of memory", "can't allocate memory", "_ALLOC_FAILED")
"""Phrases in the errors of torch's allocators for GPU and CPU, of the driver, and of cuBLAS and cuDNN."""

# Parameters of glibc's `mallopt`.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def is_out_of_memory(error: Exception) -> bool:
    """Return whether a batch did not fit into a device's memory, so that a smaller one may."""
    import torch

    says_so = isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in _OOM_PHRASES)
    return says_so or isinstance(error, torch.OutOfMemoryError)


def device_is_lost(error: BaseException) -> bool:
    """Return whether this process can no longer use its GPU: CUDA repeats such an error in every later call."""
    text = str(error)
    return "CUDA error" in text and not any(phrase in text for phrase in _OOM_PHRASES)


def free_memory() -> None:
    """Return the memory that no tensor uses to the device and to the operating system."""
    import torch

    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def keep_freed_memory() -> None:
    """Let this process keep the host memory that it frees, as torch does with GPU memory. Only glibc supports this."""
    # By default it returns large blocks to the system, and to get them back costs a small model 5% of its time.
    with suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_MMAP_THRESHOLD, 2**30) or mallopt(_MMAP_THRESHOLD, 2**25)  # older versions accept only the latter
