"""One of the processes that share a training: its device, and how it speaks to the others."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.parallel import DistributedDataParallel

from engine.training.random_streams import derive

Value = TypeVar("Value")
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class TrainWorker:
    """Rank of world_size processes; with more than one, torch.distributed is initialized.

    device:    of torch. precision: fp32, bf16 or fp16, of forward passes.
    threads:   that decode images.
    """

    rank: int = 0
    world_size: int = 1
    device: str = "cpu"
    precision: str = "fp32"
    threads: int = 1

    def autocast(self) -> AbstractContextManager[Any]:
        """Forward passes in the worker's precision."""
        kind = _DTYPES[self.precision]
        return torch.autocast(torch.device(self.device).type, kind, enabled=kind is not torch.float32)

    def tensor(self, array: NDArray[Any]) -> Tensor:
        """An array on the device."""
        return torch.from_numpy(array).to(self.device, non_blocking=True)

    @contextmanager
    def seeded(self, *parts: int | str) -> Iterator[None]:
        """Within, what layers draw (dropout) follows from these numbers and the rank; torch's own state is put back."""
        seed, *rest = parts
        devices = [] if torch.device(self.device).type == "cpu" else [torch.device(self.device)]
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(derive(int(seed), *rest, self.rank))
            yield

    def shared(self, model: nn.Module) -> nn.Module:
        """The model whose gradients, and whose batch norm, are those of the whole batch."""
        if self.world_size == 1:
            return model
        cuda = torch.device(self.device).type == "cuda"
        if cuda:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        else:
            synchronize_batch_norm(model)
        ids = [torch.device(self.device)] if cuda else None
        return DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all ranks."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values / self.world_size

    def gather(self, value: Value) -> list[Value]:
        """The values of all ranks, in their order, on every rank."""
        if self.world_size == 1:
            return [value]
        found: list[Any] = [None] * self.world_size
        dist.all_gather_object(found, value)
        return found


class _SynchronizedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the equal parts that all ranks have of a batch; torch's own is for GPUs alone."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        ranks, found = dist.get_world_size(), input.float()
        mean = all_reduce(found.mean((0, 2, 3))) / ranks
        centred = found - mean.view(1, -1, 1, 1)
        variance = all_reduce(centred.square().mean((0, 2, 3))) / ranks
        self._remember(mean.detach(), variance.detach(), ranks * input.numel() // input.shape[1])
        scaled = centred * (variance + self.eps).rsqrt().view(1, -1, 1, 1)
        normed: Tensor = scaled * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return normed.to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None  # noqa: PT018
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / max(1, count - 1)), self.momentum)


def synchronize_batch_norm(model: nn.Module) -> None:
    """Make every batch norm one over all ranks; parameters and statistics stay where they are."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = _SynchronizedBatchNorm
