"""The units of a run that are not finished."""

import json
import traceback
from collections import deque
from collections.abc import Iterable

from engine.cluster.ray_errors import brief, cause_of
from engine.errors import SlotFailed, UnitsFailed
from engine.run.run import Run


class WorkQueue:
    """Which units wait, how many attempts the failed ones have used up, and which were given up.

    It holds the numbers of the waiting units and little else. A unit that is given up has a file in RUN/quarantine.
    """

    def __init__(self, run: Run) -> None:
        self._plan = run.recipe.plan
        self._allowed = run.recipe.spec.cluster.unit_attempts
        self._waiting = deque(run.pending())
        self._attempts: dict[int, list[str]] = {}
        self._given_up: dict[int, str] = {}
        self._suspects: set[int] = set()
        self._quarantine = run.store / "quarantine"
        self._files = set(self._quarantine.entries())

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def next_alone(self) -> bool:
        """Whether the next one shares a process with no other, for one that it was in has died."""
        return self._waiting[0] in self._suspects

    def take(self) -> int:
        """The next one."""
        return self._waiting.popleft()

    def give_back(self, *numbers: int) -> None:
        """They go first, in this order, and none of their attempts is used up."""
        self._waiting.extendleft(reversed(numbers))

    def suspect(self, numbers: Iterable[int]) -> None:
        """These were in a process that died, and one of them may have ended it."""
        self._suspects.update(numbers)

    def charge(self, number: int, error: Exception) -> bool:
        """One attempt of a unit is used up; whether that was its last. The next one comes after all other units: not at
        once on the same actor, or on its replacement with the same broken device."""
        attempts = self._attempts.setdefault(number, [])
        attempts.append("".join(traceback.format_exception(error)))
        if len(attempts) < self._allowed:
            self._waiting.append(number)
            return False
        self._given_up[number] = brief(error)
        content = {"unit": number, **_place(cause_of(error)), "attempts": attempts}
        self._quarantine.replace(
            self._file(number), (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()
        )
        self._files.add(self._file(number))
        return True

    def used(self, number: int) -> int:
        """How many attempts of a unit are used up."""
        return self._allowed if number in self._given_up else len(self._attempts.get(number, ()))

    def done(self, number: int) -> None:
        """A unit is finished: whatever was held against it is forgotten."""
        self._attempts.pop(number, None)
        self._suspects.discard(number)
        if self._file(number) in self._files:
            self._files.discard(self._file(number))
            self._quarantine.remove(self._file(number))

    def check(self) -> None:
        """Raises UnitsFailed where units were given up."""
        if self._given_up:
            number, why = next(iter(self._given_up.items()))
            failed, total = len(self._given_up), self._plan.n_units
            raise UnitsFailed(
                f"{failed} of {total} units failed, the first is {self._plan.shard_name(number)}: {why}; "
                f"see {self._quarantine}, and run the same command again to try them anew"
            )

    def sweep(self) -> None:
        """Remove what dead writers left beside the files of the quarantine."""
        self._quarantine.sweep()

    def _file(self, number: int) -> str:
        return f"{self._plan.shard_name(number)}.json"


def _place(cause: BaseException) -> dict[str, str]:
    """The slot that an error comes from, and its prompt, where that can be told."""
    return {"slot": cause.key, "prompt": cause.prompt} if isinstance(cause, SlotFailed) else {}
