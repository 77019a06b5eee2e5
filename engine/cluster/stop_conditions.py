"""Why a run assigns no further units, and the error that it ends with."""

from dataclasses import dataclass

from engine.errors import BudgetSpent, OutputError, Stopped
from shards.errors import ShardmillError


@dataclass
class StopConditions:
    """The reasons to end a run early. Units in flight are finished.

    budget:       which budget is spent; "" if none is.
    output_error: why no unit can be stored.
    interrupted:  Ctrl-C was pressed once.
    """

    budget: str = ""
    output_error: OutputError | None = None
    interrupted: bool = False

    @property
    def reason(self) -> str:
        """Why no further unit is assigned; "" if the run goes on."""
        if self.budget or self.output_error:
            return self.budget or str(self.output_error)
        return "press Ctrl-C again to stop at once" if self.interrupted else ""

    def error(self, units_left: int) -> ShardmillError | None:
        """Return the error of a run that ended with so many unfinished units; None if it ended by itself."""
        if self.output_error is not None:
            return self.output_error
        if units_left and self.budget:
            return BudgetSpent(f"stopped with {units_left} units left: {self.budget}")
        if units_left:
            return Stopped(f"stopped with {units_left} units left; run the same command again to resume")
        return None
