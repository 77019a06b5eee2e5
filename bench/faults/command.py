"""`python -m bench.faults.command SEED ARGUMENTS`: `python -m jobs ARGUMENTS` with shuffled units.

With `--poison raises|dies|hangs` before the seed, one unit raises, kills its process or hangs in each attempt.
"""

import os
import signal
import sys
import time
from random import Random

import engine.run.run
from engine.generators.generator import Request
from engine.run.run import Run, plan_run
from engine.run.run_context import RunContext
from engine.types import Slot
from jobs.__main__ import main as jobs

RAISES, DIES, HANGS = 2, 5, 9


class Raises(RunContext):
    """A run context in which one unit raises."""

    def request(self, slot: Slot, attempt: int) -> Request:
        if slot.unit == RAISES:
            raise ValueError(f"no such thing as prompt {slot.key}")
        return super().request(slot, attempt)


class Dies(RunContext):
    """A run context in which one unit kills its process."""

    def request(self, slot: Slot, attempt: int) -> Request:
        if slot.unit == DIES:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().request(slot, attempt)


class Hangs(RunContext):
    """A run context in which each request of one unit takes ten minutes."""

    def request(self, slot: Slot, attempt: int) -> Request:
        if slot.unit == HANGS:
            time.sleep(600)
        return super().request(slot, attempt)


POISONS = {"raises": Raises, "dies": Dies, "hangs": Hangs}


def _shuffle(seed: int) -> None:
    in_order = Run.pending

    def pending(run: Run) -> list[int]:
        units = in_order(run)
        Random(seed).shuffle(units)
        return units

    Run.pending = pending  # type: ignore[method-assign]


def _poison(kind: type[RunContext]) -> None:
    def poisoned(*arguments: object, **more: object) -> RunContext:
        context = plan_run(*arguments, **more)  # type: ignore[arg-type]
        return kind(context.spec, context.plan, context.assets)

    engine.run.run.plan_run = poisoned


def main(arguments: list[str]) -> int:
    """Run one command in this process; return its exit code."""
    if arguments[0] == "--poison":
        _poison(POISONS[arguments[1]])
        arguments = arguments[2:]
    _shuffle(int(arguments[0]))
    return jobs(arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
