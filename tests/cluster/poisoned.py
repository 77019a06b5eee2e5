"""`python -m tests.cluster.poisoned SPEC RUN`: `generate` with a recipe that one unit's actor raises at and another's
dies of, as a bad prompt and a crashing kernel do."""

import os
import signal
import sys
from pathlib import Path

from engine.cluster.generate import generate
from engine.cluster.session import ray_session
from engine.generators import Request
from engine.plan import Slot
from engine.progress import Progress
from engine.recipe import Recipe
from engine.run import begin_run, plan_run
from engine.specfile import load_spec
from shards.errors import ShardmillError

RAISES, DIES = 2, 4


class Poisoned(Recipe):
    """What an actor asks for each image; in two units that does harm."""

    def request(self, slot: Slot, attempt: int) -> Request:
        if slot.unit == RAISES:
            raise ValueError(f"no such thing as prompt {slot.key}")
        if slot.unit == DIES:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().request(slot, attempt)


def main(spec: Path, folder: Path) -> int:
    recipe = plan_run(load_spec(spec, ["cluster.max_actors=1", "cluster.unit_attempts=2"]))
    run = begin_run(Poisoned(recipe.spec, recipe.plan), folder)
    try:
        with ray_session(recipe.spec.cluster), Progress(recipe.plan.classes, recipe.plan.quotas, []) as progress:
            generate(run, progress)
    except ShardmillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
