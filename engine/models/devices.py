"""Which device and which number format an actor computes with."""

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
    """A torch device and dtype; `text` names the kind for people and for the stats."""

    name: str
    dtype: "torch.dtype"
    text: str


def pick_device(model: ModelSettings, cluster: ClusterSpec) -> Device:
    """The GPU that the actor was given, else the CPU with as many torch threads as the actor has cores.

    Sets those threads, keeps memory that is freed, and asks for the same kernels on every run. Raises ModelError where
    a GPU was asked for and none can be used.
    """
    import torch

    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
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
    chosen = auto_dtype(name) if model.dtype == "auto" else model.dtype
    torch.backends.cudnn.allow_tf32 = chosen != "fp32"  # torch's convolutions round fp32 to 10 bits where they may
    return Device(name, kinds[chosen], f"{kind}, {chosen}")


def use_deterministic_kernels() -> None:
    """Let cuDNN take the same kernels on every run, and none whose sums have no order."""
    import torch

    torch.backends.cudnn.benchmark = False  # it would time them, and so pick another one tomorrow
    torch.backends.cudnn.deterministic = True


def auto_dtype(device: str) -> str:
    """bf16 where the device, `cuda` or `cpu`, has the instructions; else fp16 on a GPU, and fp32 on a CPU."""
    import torch

    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    known = torch.cpu.get_capabilities()
    return "bf16" if known.get("avx512_bf16") or known.get("amx_bf16") else "fp32"
