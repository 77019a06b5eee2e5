"""Measuring the batch size of a run on one actor of the run's kind."""

from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from engine.cluster.actor import start_actor
from engine.cluster.ray_errors import brief
from engine.errors import ModelError
from engine.monitoring.budget import CostMeter
from engine.monitoring.log import Log
from engine.run.run_context import RunContext
from engine.worker.batch_size import BatchSizes, largest, measure
from shards.storage.store import Store


def measure_batch_sizes(context: RunContext, store: Store, log: Log, meter: CostMeter | None = None) -> BatchSizes:
    """Measure the rate of each batch size on one actor; `meter` counts its time. Raises ModelError."""
    actor = start_actor(context.with_batch_size(1), store)
    try:
        ray.get(actor.node.remote())  # returns once the actor has its device; an autoscaler may have to start a node
        if meter is not None:
            meter.tick(1)
        device, rates = ray.get(actor.load.remote()), dict[int, float | None]()
        log.message("batch_size_measuring", f"batch size: measured on {device}", device=device)
        for size, rate in measure(lambda size: _images_per_second(actor, size), largest(context.plan)):
            text = "does not fit into the device's memory" if rate is None else f"{rate:.1f} img/s"
            log.message("batch_size_measured", f"batch size {size}: {text}", batch_size=size, images_per_second=rate)
            rates[size] = rate
    except RayTaskError as error:
        raise error.cause from None
    except RayError as error:
        raise ModelError(f"model.batch_size: auto could not be measured ({brief(error)}); give a number") from None
    finally:
        ray.kill(actor)
        if meter is not None:
            meter.tick(0)
    sizes = BatchSizes(device, rates)
    log.message("batch_size_chosen", f"batch size: {sizes.chosen} for the whole run", batch_size=sizes.chosen)
    return sizes


def _images_per_second(actor: Any, size: int) -> float | None:
    """Return the rate; None if the device's memory is too small, or if the host's was and the process was killed."""
    try:
        rate: float | None = ray.get(actor.images_per_second.remote(size))
    except RayError as error:
        if size == 1 or isinstance(error, RayTaskError):
            raise
        return None
    if rate is None and size == 1:
        raise ModelError("model.batch_size: not even one image at a time fits into the device's memory")
    return rate
