"""The queue of unfinished units, and the quarantine of units that failed for good."""

import json
import traceback
from collections import deque
from collections.abc import Iterable

from engine.cluster.ray_errors import brief, cause_of
from engine.errors import SlotFailed, UnitsFailed
from engine.run.run import Run


class WorkQueue:
    """A queue of the numbers of unfinished units. A quarantined unit has a file in RUN/quarantine."""

    def __init__(self, run: Run) -> None:
        self._plan = run.context.plan
        self._waiting = deque(run.pending())
        self._tracebacks: dict[int, list[str]] = {}
        self._quarantined: dict[int, str] = {}
        self._isolated: set[int] = set()
        self._store = run.store / "quarantine"
        self._files = set(self._store.entries())

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def next_is_exclusive(self) -> bool:
        """Return whether the next unit must be the only one of its actor."""
        return self._waiting[0] in self._isolated

    def pop(self) -> int:
        """Remove and return the next unit."""
        return self._waiting.popleft()

    def put_back(self, *numbers: int) -> None:
        """Put units at the front of the queue, in this order. No attempt is used up."""
        self._waiting.extendleft(reversed(numbers))

    def isolate(self, numbers: Iterable[int]) -> None:
        """Run these units alone from now on: their process died, and one of them may have killed it."""
        self._isolated.update(numbers)

    def retry(self, number: int, error: Exception) -> None:
        """Record a failed attempt of a unit and put the unit at the end of the queue."""
        self._record(number, error)
        # Not at the front: the same actor, or its replacement on the same broken device, would take it at once.
        self._waiting.append(number)

    def quarantine(self, number: int, error: Exception) -> None:
        """Record the last attempt of a unit and write its quarantine file. The unit does not return to the queue."""
        self._record(number, error)
        self._quarantined[number] = brief(error)
        cause = cause_of(error)
        slot = {"slot": cause.key, "prompt": cause.prompt} if isinstance(cause, SlotFailed) else {}
        content = {"unit": number, **slot, "attempts": self._tracebacks[number]}
        name = self._file_name(number)
        self._store.replace(name, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
        self._files.add(name)

    def attempts_used(self, number: int) -> int:
        """Return how many attempts of a unit have failed."""
        return len(self._tracebacks.get(number, ()))

    def mark_done(self, number: int) -> None:
        """Forget the failures of a finished unit, and remove its quarantine file of an earlier command."""
        self._tracebacks.pop(number, None)
        self._isolated.discard(number)
        name = self._file_name(number)
        if name in self._files:
            self._files.remove(name)
            self._store.remove(name)

    def raise_if_failed(self) -> None:
        """Raise UnitsFailed if a unit was quarantined."""
        if self._quarantined:
            number, error = next(iter(self._quarantined.items()))
            failed, total = len(self._quarantined), self._plan.n_units
            raise UnitsFailed(
                f"{failed} of {total} units failed, the first is {self._plan.shard_name(number)}: {error}; "
                f"see {self._store}; run the same command again to retry them"
            )

    def sweep(self) -> None:
        """Remove temporary files that killed processes left in the quarantine folder."""
        self._store.sweep()

    def _record(self, number: int, error: Exception) -> None:
        self._tracebacks.setdefault(number, []).append("".join(traceback.format_exception(error)))

    def _file_name(self, number: int) -> str:
        return f"{self._plan.shard_name(number)}.json"
