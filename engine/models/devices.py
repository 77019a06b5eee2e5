"""The device and the number format that an actor computes with."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.config.cluster_spec import ClusterSpec
from engine.config.model_settings import ModelSettings
from engine.errors import ModelError
from engine.models.memory import keep_freed_memory

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
