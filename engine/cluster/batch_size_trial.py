"""Measuring the batch size of a run on an actor as the run will have."""

from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from engine.cluster.actor import start_actor
from engine.cluster.ray_errors import brief
from engine.errors import ModelError
from engine.monitoring.budget import Meter
from engine.monitoring.log import Log
from engine.run.run_context import RunContext
from engine.worker.batch_size import BatchSizes, largest, measure
from shards.storage.store import Store


def measure_batch_sizes(recipe: RunContext, store: Store, log: Log, meter: Meter | None = None) -> BatchSizes:
    """Measure the sizes that pay on one actor, which is alone on its device; nothing is written. Raises ModelError.

    meter: counts how long the actor has its device.
    """
    actor = start_actor(recipe.with_batch_size(1), store)
    try:
        ray.get(actor.node.remote())  # answers once it has its device, which an autoscaler may have to start
        if meter is not None:
            meter.tick(1)
        device, rates = ray.get(actor.load.remote()), dict[int, float | None]()
        log.say("batch_size_measuring", f"batch size: measured on {device}", device=device)
        for size, rate in measure(lambda size: _rate(actor, size), largest(recipe.plan)):
            text = "no room in the device's memory" if rate is None else f"{rate:.1f} img/s"
            log.say("batch_size_measured", f"batch size {size}: {text}", batch_size=size, images_per_second=rate)
            rates[size] = rate
    except RayTaskError as error:
        raise error.cause from None
    except RayError as error:
        raise ModelError(f"model.batch_size: auto could not be measured ({brief(error)}); give a number") from None
    finally:
        ray.kill(actor)
        if meter is not None:
            meter.tick(0)
    found = BatchSizes(device, rates)
    log.say("batch_size_chosen", f"batch size: {found.chosen} for the whole run", batch_size=found.chosen)
    return found


def _rate(actor: Any, size: int) -> float | None:
    """None also where the host's memory was too small and the process was ended for it."""
    try:
        rate: float | None = ray.get(actor.rate.remote(size))
    except RayTaskError:
        raise
    except RayError:
        if size == 1:
            raise
        return None
    if rate is None and size == 1:
        raise ModelError("model.batch_size: not even one image at a time fits into the device's memory")
    return rate
