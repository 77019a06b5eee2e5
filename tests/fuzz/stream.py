"""Any bytes as the tar of another writer, read as a stream: batches, or a ShardError."""

from pathlib import Path

from shards import ShardStream
from shards.storage.shard_cache import ShardCache
from tests.fuzz.expected import our_errors, own_cache, scratch
from tests.fuzz.tars import sealed, tars


def seeds() -> list[bytes]:
    """Return whole tars."""
    return tars()


def check(data: bytes) -> None:
    """Read the bytes unchanged and with valid checksums."""
    place = scratch("stream") / "0.tar"
    for tar in {data, sealed(data)}:
        place.write_bytes(tar)
        drain(place)


def drain(place: Path, *, check_hashes: bool = False) -> None:
    """Read everything that a stream can give."""
    for mask in (False, True):
        with our_errors(), own_cache():
            stream = ShardStream(
                place, synthetic=False, shuffle=False, size=4, threads=1, on_error="skip", mask=mask,
                fields=("prompt", "txt"), check_hashes=check_hashes, cache=ShardCache(scratch("cache")),
            )  # fmt: skip
            for batch in stream.batches(8):
                assert batch.image.shape == (len(batch), 4, 4, 3)
