"""Every error that Shardmill raises on purpose.

    ShardmillError            exit code 1; the message names the place, the value and the remedy
    |-- ShardError            a shard on disk is not what it claims to be
    |   `-- CommitConflict    a finished file exists already, with other bytes
    |-- NotReal               a synthetic sample in a stream that was opened as real only
    `-- (engine.errors)       SpecError, DataError, ModelError, RunMismatch, UnitsFailed, ...

Any other error is a bug.
"""


class ShardmillError(Exception):
    """Base of all expected errors. Its text is for the user: one or two lines, with the remedy."""

    exit_code = 1


class ShardError(ShardmillError):
    """A shard, its index or its stats file is missing, short, corrupt or of the wrong form."""


class CommitConflict(ShardError):
    """A file cannot be published, because its name holds other bytes already."""


class NotReal(ShardmillError):
    """A synthetic sample was found where only real ones are allowed."""
