"""Faults of units: they raise, kill their process, or hang."""

import json

from bench.faults.command import DIES, HANGS, RAISES
from bench.faults.driver import UnexpectedOutcome
from bench.faults.fault import fault
from bench.faults.scene import Scene

_FAILED = "1 of 12 units failed"


@fault("unit that raises", quarantined=(RAISES,), quick=True)
def raises(scene: Scene) -> None:
    """One unit raises in every attempt; the file that says so names the slot and its prompt."""
    _expect_quarantine(scene, "raises", RAISES, "ValueError: no such thing as prompt", 600)
    content = json.loads(scene.place.read(f"{RAISES:05d}.json", "quarantine"))
    if f"prompt {content['slot']}" not in content["attempts"][0] or not content["prompt"].startswith("a "):
        raise UnexpectedOutcome(f"the quarantine names slot {content['slot']} and prompt {content['prompt']!r}")


@fault("poison unit that kills its process", quarantined=(DIES,))
def dies(scene: Scene) -> None:
    """One unit kills the process that makes it in every attempt."""
    _expect_quarantine(scene, "dies", DIES, "ActorDiedError", 600)


@fault("unit that hangs", quarantined=(HANGS,))
def hangs(scene: Scene) -> None:
    """One unit does not end in any attempt."""
    _expect_quarantine(scene, "hangs", HANGS, "not finished after 30 s", 30)


def _expect_quarantine(scene: Scene, poison: str, number: int, error: str, timeout_s: int) -> None:
    settings = ("cluster.unit_attempts=2", f"cluster.unit_timeout_s={timeout_s}")
    scene.generate(*settings, poison=poison).expect_exit(
        1, f"{_FAILED}, the first is {number:05d}", "run the same command again"
    )
    quarantined = scene.quarantined()
    if list(quarantined) != [number] or [error in text for text in quarantined[number]] != [True, True]:
        raise UnexpectedOutcome(f"quarantined are {quarantined}")
