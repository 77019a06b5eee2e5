"""The engine's branch of the exception tree in `shards.errors`. Exit code 2: mend the input; 1: mend the world."""

from shards.errors import ShardmillError


class SpecError(ShardmillError):
    """The spec, or an override on the command line, is wrong."""

    exit_code = 2


class RunMismatch(ShardmillError):
    """The run folder was begun with another spec, or over other real data."""

    exit_code = 2


class DataError(ShardmillError):
    """The real data is missing, of another form than said, or holds an image that cannot be read."""


class ModelError(ShardmillError):
    """A model is missing or cannot be loaded."""


class AnswerError(ShardmillError):
    """The server of a language model gave no usable answer, however often it was asked."""


class BankIncomplete(ShardmillError):
    """A language model wrote fewer usable prompts than were asked for; everything that it said is kept."""


class OutputError(ShardmillError):
    """The output folder cannot be written, or its disk cannot hold the run."""


class NoStagingRoom(OutputError):
    """A node's own disk cannot hold the shards that are on their way to an object store; another node's may."""


class UnitsFailed(ShardmillError):
    """Some units could not be made; everything else was."""


class WorkersLost(ShardmillError):
    """The processes of a training died again and again; its checkpoint is kept."""


class SlotFailed(ShardmillError):
    """Something in the making of one slot failed.

    key, prompt: of the slot; the prompt is "" where that is what cannot be made.
    """

    key = prompt = ""


class Stopped(ShardmillError):
    """A signal stopped the run; nothing that was finished is lost."""

    exit_code = 130


class BudgetSpent(Stopped):
    """The budget of the spec stopped the run; with a larger one it goes on."""

    exit_code = 3


class Mismatch(ShardmillError):
    """Something that was made again, or checked again, is not what was recorded."""
