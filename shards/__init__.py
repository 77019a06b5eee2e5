"""The shard format: written by the engine, streamed and mixed by trainers. Needs neither torch nor ray.

from shards import MixedStream, ShardStream
"""

from shards.batch import Batch, Item
from shards.cache import ShardCache
from shards.errors import CommitConflict, NotReal, ShardError, ShardmillError
from shards.mix import MixedStream
from shards.reader import ShardStream
from shards.sample import Sample
from shards.scan import Members
from shards.tree import Source
from shards.writer import ShardWriter

__all__ = [
    "Batch",
    "CommitConflict",
    "Item",
    "Members",
    "MixedStream",
    "NotReal",
    "Sample",
    "ShardCache",
    "ShardError",
    "ShardStream",
    "ShardWriter",
    "ShardmillError",
    "Source",
]
