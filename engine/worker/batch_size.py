"""Choosing the batch size for `model.batch_size: auto`, by a short measurement on the device."""

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
"""Smallest speed-up for which a larger size is worth its memory."""
_PATIENCE = 2
"""Slower sizes in a row that end the measurement; a single one may be due to other load on the machine."""
_TIMED_S = 1.0
_BUDGET_S = 120.0

Clock = Callable[[], float]


@dataclass(frozen=True)
class BatchSizes:
    """The measured sizes."""

    device: str  # as in the stats
    rates: Mapping[int, float | None]  # images per second by size; None where a batch does not fit into memory

    @property
    def chosen(self) -> int:
        """The size that the run uses."""
        return choose(self.rates)

    def write(self, store: Store) -> None:
        """Write the measurement to the run, for people."""
        rates = {size: None if rate is None else round(rate, 3) for size, rate in self.rates.items()}
        content = {"batch_size": self.chosen, "device": self.device, "images_per_second": rates}
        store.replace(NAME, f"{json.dumps(content, indent=1)}\n".encode())


def choose(rates: Mapping[int, float | None]) -> int:
    """Return the smallest size within 5% of the fastest. At least one must fit."""
    fitting = {size: rate for size, rate in rates.items() if rate is not None}
    fastest = max(fitting.values())
    return min(size for size, rate in fitting.items() if rate * _GAIN >= fastest)


def largest(plan: Plan) -> int:
    """Return the largest size to try: a whole unit, but at most 256 images."""
    return min(_LARGEST, len(plan.unit(0)))


def measure(
    rate: Callable[[int], float | None], largest: int, clock: Clock = time.monotonic
) -> Iterator[tuple[int, float | None]]:
    """Yield the sizes 1, 2, 4, ... up to the largest with their rates.

    Ends when a size does not fit, when two in a row are less than 5% faster than the fastest before, or after two
    minutes.
    """
    started, fastest, slower = clock(), 0.0, 0
    for size in (2**n for n in range(largest.bit_length())):
        images_per_second = rate(size)
        yield size, images_per_second
        if images_per_second is None:
            return
        slower = 0 if images_per_second >= _GAIN * fastest else slower + 1
        fastest = max(fastest, images_per_second)
        if slower == _PATIENCE or clock() - started > _BUDGET_S:
            return


def unit_rate(context: RunContext, generator: Generator, clock: Clock = time.perf_counter) -> float:
    """Return images per second of a whole unit; padding in its last batch counts as lost time.

    The rate is the median over the batches of about a second, all of the plan's first slots.
    """
    requests, seconds = first_batch(context, generator), list[float]()
    generator.generate(requests).images()  # warms up
    pending = generator.generate(requests)
    while sum(seconds) < _TIMED_S:
        start = clock()
        # As in a run, the next batch starts before the pixels of this one are awaited.
        current, pending = pending, generator.generate(requests)
        current.images()
        seconds.append(clock() - start)
    pending.images()
    unit = len(context.plan.unit(0))
    batches = -(-unit // generator.batch_size)
    return unit / (batches * median(seconds))
