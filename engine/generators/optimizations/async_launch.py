"""Letting the host run ahead of a GPU, where a pipeline of diffusers would wait until all that it launched is done.

torch waits so whenever it copies from ordinary memory, and where Python asks for a number that is on the device. In
diffusers 0.42 that is at the beginning of each batch for timesteps, noise and SDXL's sizes, and in each step of the
schedulers that look a timestep up. What still waits: the noise that ancestral schedulers add, Z-Image, which looks at
each timestep itself, families that encode their texts in each call, and safety checkers.
"""

from collections.abc import Callable
from functools import cache, wraps
from inspect import signature
from typing import Any

import torch
from diffusers import DDIMScheduler, PNDMScheduler
from torch import Tensor
from torch.utils._pytree import tree_map_only

from engine.generators.optimizations.transfer import upload


def launch_async(pipe: Any, device: str) -> None:
    """Take from a pipeline what makes the host wait for the device. Its images stay as they are."""
    from_noise = "strength" not in signature(type(pipe).__call__).parameters
    _keep_timesteps(pipe.scheduler, from_noise)
    if isinstance(pipe.scheduler, (DDIMScheduler, PNDMScheduler)):
        _tell_timesteps(pipe.scheduler)
    prepare = getattr(pipe, "prepare_latents", None)
    if prepare is not None and from_noise:
        pipe.prepare_latents = _on_host(prepare, device)
    sizes = getattr(pipe, "_get_add_time_ids", None)
    if sizes is not None:
        pipe._get_add_time_ids = cache(lambda *given, **named: _uploaded(sizes(*given, **named), device))


def _keep_timesteps(scheduler: Any, from_noise: bool) -> None:
    """A scheduler's state after `set_timesteps` follows from what it is told, so it is computed and copied once."""
    inner = scheduler.set_timesteps
    known: dict[str, dict[str, Any]] = {}

    @wraps(inner)
    def set_timesteps(*given: Any, **named: Any) -> None:
        key = repr((given, named))
        if key not in known:
            inner(*given, **named)
            if from_noise and hasattr(scheduler, "set_begin_index"):
                scheduler.set_begin_index(0)  # else it looks for the first timestep among all, on the device
            known[key] = _copied(vars(scheduler))
        vars(scheduler).update(_copied(known[key]))

    scheduler.set_timesteps = set_timesteps


def _copied(state: dict[str, Any]) -> dict[str, Any]:
    """Multistep schedulers fill lists; tensors and numbers are replaced, and never written to."""
    return {name: list(value) if type(value) is list else value for name, value in state.items()}


def _tell_timesteps(scheduler: Any) -> None:
    """Give `step` a Python number: it computes with the timestep, and looks up what it finds on the host."""
    inner: Callable[..., Any] = scheduler.step
    numbers: dict[int, list[int]] = {}

    @wraps(inner)
    def step(output: Tensor, timestep: Tensor, *given: Any, **named: Any) -> Any:
        whole = scheduler.timesteps.untyped_storage().data_ptr()
        if timestep.untyped_storage().data_ptr() != whole:
            return inner(output, timestep, *given, **named)
        if whole not in numbers:
            numbers[whole] = scheduler.timesteps.tolist()
        return inner(output, numbers[whole][timestep.storage_offset()], *given, **named)

    scheduler.step = step


def _on_host(prepare: Callable[..., Any], device: str) -> Callable[..., Any]:
    form = signature(prepare)

    @wraps(prepare)
    def prepared(*given: Any, **named: Any) -> Any:
        call = form.bind(*given, **named)
        call.arguments["device"] = torch.device("cpu")
        return _uploaded(prepare(*call.args, **call.kwargs), device)

    return prepared


def _uploaded(found: Any, device: str) -> Any:
    return tree_map_only(Tensor, lambda tensor: upload(tensor, device), found)
