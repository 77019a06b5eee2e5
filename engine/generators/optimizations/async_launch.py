"""Asynchronous launches: remove the points at which diffusers 0.42 makes the host wait for a GPU.

At the beginning of each batch it copies timesteps, noise and SDXL's sizes; some schedulers look a timestep up in steps.
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
    """Change a pipeline so that the host waits for the device less often. Its images stay the same."""
    starts_from_noise = "strength" not in signature(type(pipe).__call__).parameters
    _cache_timesteps(pipe.scheduler, starts_from_noise)
    if isinstance(pipe.scheduler, (DDIMScheduler, PNDMScheduler)):
        _pass_timesteps_as_numbers(pipe.scheduler)
    prepare_latents = getattr(pipe, "prepare_latents", None)
    if prepare_latents is not None and starts_from_noise:
        pipe.prepare_latents = _prepare_on_host(prepare_latents, device)
    time_ids = getattr(pipe, "_get_add_time_ids", None)
    if time_ids is not None:
        pipe._get_add_time_ids = cache(lambda *args, **kwargs: _upload_tensors(time_ids(*args, **kwargs), device))


def _cache_timesteps(scheduler: Any, starts_from_noise: bool) -> None:
    """Run `set_timesteps` once for each set of arguments, and restore the scheduler's state afterwards."""
    inner = scheduler.set_timesteps
    states: dict[str, dict[str, Any]] = {}

    @wraps(inner)
    def set_timesteps(*args: Any, **kwargs: Any) -> None:
        key = repr((args, kwargs))
        if key not in states:
            inner(*args, **kwargs)
            if starts_from_noise and hasattr(scheduler, "set_begin_index"):
                scheduler.set_begin_index(0)  # otherwise it searches for the first timestep on the device
            states[key] = _copy_state(vars(scheduler))
        vars(scheduler).update(_copy_state(states[key]))

    scheduler.set_timesteps = set_timesteps


def _copy_state(state: dict[str, Any]) -> dict[str, Any]:
    """Copy lists, which multistep schedulers fill. Tensors and numbers are replaced, and never written to."""
    return {name: list(value) if type(value) is list else value for name, value in state.items()}


def _pass_timesteps_as_numbers(scheduler: Any) -> None:
    """Give `step` a Python number, so that it computes and looks up with the timestep on the host."""
    inner: Callable[..., Any] = scheduler.step
    numbers: dict[int, list[int]] = {}

    @wraps(inner)
    def step(output: Tensor, timestep: Tensor, *args: Any, **kwargs: Any) -> Any:
        # A timestep is a view of `scheduler.timesteps`, so its storage offset is its position.
        storage = scheduler.timesteps.untyped_storage().data_ptr()
        if timestep.untyped_storage().data_ptr() != storage:
            return inner(output, timestep, *args, **kwargs)
        if storage not in numbers:
            numbers[storage] = scheduler.timesteps.tolist()
        return inner(output, numbers[storage][timestep.storage_offset()], *args, **kwargs)

    scheduler.step = step


def _prepare_on_host(prepare_latents: Callable[..., Any], device: str) -> Callable[..., Any]:
    """Let `prepare_latents` draw noise on the CPU and upload it asynchronously."""
    parameters = signature(prepare_latents)

    @wraps(prepare_latents)
    def prepared(*args: Any, **kwargs: Any) -> Any:
        call = parameters.bind(*args, **kwargs)
        call.arguments["device"] = torch.device("cpu")
        return _upload_tensors(prepare_latents(*call.args, **call.kwargs), device)

    return prepared


def _upload_tensors(value: Any, device: str) -> Any:
    return tree_map_only(Tensor, lambda tensor: upload(tensor, device), value)
