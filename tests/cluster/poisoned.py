"""`python -m tests.cluster.poisoned SPEC RUN`: `generate` with a recipe that one unit's actor raises at, another's dies
of, and a third's hangs in, as a bad prompt, a crashing kernel and a stuck device do."""

import os
import signal
import sys
import time
from pathlib import Path

from engine.cluster.generate import generate
from engine.cluster.session import ray_session
from engine.generators.base import Request
from engine.operations.progress import Progress
from engine.plan import Slot
from engine.recipe import Recipe
from engine.run import begin_run, plan_run
from engine.specfile import load_spec
from shards.errors import ShardmillError

RAISES, DIES, HANGS = 2, 4, 6


class Poisoned(Recipe):
    """What an actor asks for each image; in three units that does harm."""

    def request(self, slot: Slot, attempt: int) -> Request:
        if slot.unit == RAISES:
            raise ValueError(f"no such thing as prompt {slot.key}")
        if slot.unit == DIES:
            os.kill(os.getpid(), signal.SIGKILL)
        if slot.unit == HANGS:
            time.sleep(600)
        return super().request(slot, attempt)


def main(spec: Path, folder: Path) -> int:
    few = ["cluster.max_actors=1", "cluster.unit_attempts=2", "cluster.unit_timeout_s=12"]
    recipe = plan_run(load_spec(spec, few))
    run = begin_run(Poisoned(recipe.spec, recipe.plan, recipe.inputs), folder)
    try:
        with ray_session(recipe.spec.cluster), Progress(recipe.plan.classes, recipe.plan.quotas, []) as progress:
            generate(run, progress)
    except ShardmillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
