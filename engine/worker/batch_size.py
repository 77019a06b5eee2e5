"""The batch size of a run whose spec says `model.batch_size: auto`: a short measurement on the device, when it begins.

Larger batches use a device better until it is busy all the time; beyond that they cost memory, and padding at the end
of a unit. So sizes are doubled as long as that pays. The clock decides nothing else: the run keeps the number.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median

from engine.generators.generator import Generator
from engine.run.plan import Plan
from engine.run.run_context import RunContext
from engine.worker.runner import first_batch
from shards.storage.store import Store

NAME = "batch_size.json"
_LARGEST = 256
_GAIN = 1.05
"""By what factor a larger size must at least be faster, to be worth the memory."""
_PATIENCE = 2
"""Sizes in a row that are no faster: one alone may have met with a busy moment of the machine."""
_TIMED_S = 1.0
_BUDGET_S = 120.0

Clock = Callable[[], float]


@dataclass(frozen=True)
class BatchSizes:
    """What was measured. device: as in the stats. rates: images per second by size; None where it did not fit."""

    device: str
    rates: Mapping[int, float | None]

    @property
    def chosen(self) -> int:
        """The size that the run takes."""
        return choose(self.rates)

    def write(self, store: Store) -> None:
        """Keep it beside the run, for people."""
        rates = {size: None if rate is None else round(rate, 3) for size, rate in self.rates.items()}
        content = {"batch_size": self.chosen, "device": self.device, "images_per_second": rates}
        store.replace(NAME, f"{json.dumps(content, indent=1)}\n".encode())


def choose(rates: Mapping[int, float | None]) -> int:
    """The smallest size within 5% of the fastest, of those that fit; at least one must."""
    fitting = {size: rate for size, rate in rates.items() if rate is not None}
    fastest = max(fitting.values())
    return min(size for size, rate in fitting.items() if rate * _GAIN >= fastest)


def largest(plan: Plan) -> int:
    """The largest size that is tried: a unit at once, at most 256 images."""
    return min(_LARGEST, len(plan.unit(0)))


def measure(
    rate: Callable[[int], float | None], largest: int, clock: Clock = time.monotonic
) -> Iterator[tuple[int, float | None]]:
    """Sizes 1, 2, 4, ... up to the largest, with what `rate` says of each: until one does not fit, two in a row are
    less than 5% faster than the fastest before, or two minutes are over."""
    began, fastest, vain = clock(), 0.0, 0
    for size in (2**n for n in range(largest.bit_length())):
        found = rate(size)
        yield size, found
        if found is None:
            return
        vain = 0 if found >= _GAIN * fastest else vain + 1
        fastest = max(fastest, found)
        if vain == _PATIENCE or clock() - began > _BUDGET_S:
            return


def unit_rate(context: RunContext, generator: Generator, clock: Clock = time.perf_counter) -> float:
    """Images per second of a whole unit, the padding of its last batch counted as lost.

    By the median of the batches that pass within a second, all of the plan's first slots. As in a run, the next one is
    asked for before the pixels of one are awaited.
    """
    requests, seconds = first_batch(context, generator), list[float]()
    generator.generate(requests).images()  # warms up
    ahead = generator.generate(requests)
    while sum(seconds) < _TIMED_S:
        start = clock()
        made, ahead = ahead, generator.generate(requests)
        made.images()
        seconds.append(clock() - start)
    ahead.images()
    unit = len(context.plan.unit(0))
    batches = -(-unit // generator.batch_size)
    return unit / (batches * median(seconds))
