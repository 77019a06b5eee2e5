"""The shard format: written by the engine, streamed and mixed by trainers. Needs neither torch nor ray.

from shards import MixedStream, ShardStream
"""

from shards.errors import CommitConflict, NotReal, ShardError, ShardmillError
from shards.mix import MixedStream
from shards.reader import Batch, ShardStream
from shards.sample import Sample
from shards.writer import ShardWriter

__all__ = [
    "Batch",
    "CommitConflict",
    "MixedStream",
    "NotReal",
    "Sample",
    "ShardError",
    "ShardStream",
    "ShardWriter",
    "ShardmillError",
]
