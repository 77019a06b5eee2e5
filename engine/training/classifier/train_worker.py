"""One of the processes that share a training: its device, and its communication with the others."""

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

from engine.training.random_streams import derive_seed

Value = TypeVar("Value")
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class TrainWorker:
    """One rank of world_size processes; with more than one, torch.distributed must be initialized.

    precision: fp32, bf16 or fp16, of forward passes. threads: for decoding images.
    """

    rank: int = 0
    world_size: int = 1
    device: str = "cpu"
    precision: str = "fp32"
    threads: int = 1

    def autocast(self) -> AbstractContextManager[Any]:
        """Run forward passes within the block in the worker's precision."""
        dtype = _DTYPES[self.precision]
        return torch.autocast(torch.device(self.device).type, dtype, enabled=dtype is not torch.float32)

    def tensor(self, array: NDArray[Any]) -> Tensor:
        """Return an array as a tensor on the device."""
        return torch.from_numpy(array).to(self.device, non_blocking=True)

    @contextmanager
    def seeded(self, seed: int, *purpose: int | str) -> Iterator[None]:
        """Seed what layers draw within the block (dropout) by the purpose and the rank; torch's state is restored."""
        devices = [] if torch.device(self.device).type == "cpu" else [torch.device(self.device)]
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(derive_seed(seed, *purpose, self.rank))
            yield

    def data_parallel(self, model: nn.Module) -> nn.Module:
        """Wrap the model so that its gradients and its batch norm are those of the global batch."""
        if self.world_size == 1:
            return model
        cuda = torch.device(self.device).type == "cuda"
        if cuda:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        else:
            synchronize_batch_norm(model)
        ids = [torch.device(self.device)] if cuda else None
        return DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)

    def mean_over_ranks(self, values: Tensor) -> Tensor:
        """Return the mean over all ranks. The values may be overwritten."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values / self.world_size

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all ranks, in their order, on every rank."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values


class _SynchronizedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the equal parts of a batch on all ranks. torch's own is for GPUs only."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        ranks, values = dist.get_world_size(), input.float()
        mean = all_reduce(values.mean((0, 2, 3))) / ranks
        centred = values - mean.view(1, -1, 1, 1)
        variance = all_reduce(centred.square().mean((0, 2, 3))) / ranks
        self._update_statistics(mean.detach(), variance.detach(), ranks * input.numel() // input.shape[1])
        scaled = centred * (variance + self.eps).rsqrt().view(1, -1, 1, 1)
        normed: Tensor = scaled * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return normed.to(input.dtype)

    @torch.no_grad()
    def _update_statistics(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None  # noqa: PT018
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / max(1, count - 1)), self.momentum)


def synchronize_batch_norm(model: nn.Module) -> None:
    """Make every batch norm one over all ranks."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            # A new module would have to be found a place in its parent, and optimizers hold this one's parameters.
            module.__class__ = _SynchronizedBatchNorm
