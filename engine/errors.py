"""The engine's exceptions. Exit code 2 means that the input is wrong, 1 that something else failed."""

from shards.errors import ShardmillError


class SpecError(ShardmillError):
    """The spec, or an override on the command line, is wrong."""

    exit_code = 2


class RunMismatch(ShardmillError):
    """The run at this place has another spec or other real data."""

    exit_code = 2


class DataError(ShardmillError):
    """The real data is missing, has another form than the spec says, or holds an unreadable image."""


class ModelError(ShardmillError):
    """A model is missing or cannot be loaded."""


class AnswerError(ShardmillError):
    """The server of a language model gave no usable answer after all retries."""


class BankIncomplete(ShardmillError):
    """A language model wrote fewer usable prompts than requested. All of its answers are kept."""


class OutputError(ShardmillError):
    """The output folder cannot be written, or its disk cannot hold the run."""


class NoStagingRoom(OutputError):
    """A node's disk is too full for shards that wait for their upload. Another node may have room."""


class UnitsFailed(ShardmillError):
    """Some units failed for good. All others are finished."""


class WorkersLost(ShardmillError):
    """The workers of a training died too often. Its checkpoint is kept."""


class SlotFailed(ShardmillError):
    """Making the image of one slot failed. The prompt is "" if it is what cannot be made."""

    key = prompt = ""


class Stopped(ShardmillError):
    """A signal stopped the run. Finished units are kept."""

    exit_code = 130


class BudgetSpent(Stopped):
    """The run reached the budget of its spec. A larger budget continues it."""

    exit_code = 3


class Mismatch(ShardmillError):
    """A check found something other than what is recorded."""
