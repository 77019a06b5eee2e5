"""Any bytes as a tar: an index whose every place lies in it, or a ShardError."""

from shards.reading.members import Members
from shards.reading.tar_index import index_tar
from tests.fuzz.expected import our_errors
from tests.fuzz.tars import sealed, tars

_OTHER = Members(image=("png", "webp"), label="json.y", mask="seg.png")
_ROLES = (Members(), _OTHER, Members(image=("txt",), label="id"))


def seeds() -> list[bytes]:
    """Return whole tars."""
    return tars()


def check(data: bytes) -> None:
    """Scan the bytes unchanged and with valid checksums."""
    for tar in (data, sealed(data)):
        for members in _ROLES:
            with our_errors():
                for row in index_tar(tar, "x.tar", members).to_pylist():
                    for name in ("image", "mask", "json", "txt"):
                        offset, size = row[f"{name}_offset"], row[f"{name}_size"]
                        assert (offset, size) == (-1, 0) or 0 <= offset <= offset + size <= len(tar)
