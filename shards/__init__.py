"""The shard format: the engine writes shards, and trainers stream and mix them. It needs neither torch nor ray.

from shards import MixedStream, ShardStream
"""

from shards.errors import CommitConflict, NotReal, ShardError, ShardmillError
from shards.mixing.mixed_stream import MixedStream
from shards.mixing.mixture import Source
from shards.mixing.schedule import Constant, Cosine, Linear, Steps
from shards.reading.batch import Batch, Item
from shards.reading.members import Members
from shards.reading.shard_stream import ShardStream
from shards.sample import Sample
from shards.storage.shard_cache import ShardCache
from shards.writing.shard_writer import ShardWriter

__all__ = [
    "Batch",
    "CommitConflict",
    "Constant",
    "Cosine",
    "Item",
    "Linear",
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
    "Steps",
]
