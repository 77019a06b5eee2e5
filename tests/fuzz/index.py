"""Any bytes beside a tar, as its index, its stats file, or the index of another tool: batches, or a ShardError."""

import shutil
from functools import cache
from pathlib import Path

from tests.fuzz.expected import scratch
from tests.fuzz.stream import drain
from tests.fuzz.tars import tars
from tests.shards.folders import write

_NAMES = ("00000.parquet", "00000_stats.json", "00000.idx")


@cache
def ours() -> Path:
    """Return the folder of a shard that our writer wrote."""
    return write(scratch("ours"), "s", 4, True, mask=True)


def seeds() -> list[bytes]:
    """Return seeds. The first byte selects the file; the others are its content."""
    seeds = [bytes([number]) + (ours() / name).read_bytes() for number, name in enumerate(_NAMES[:2])]
    return [*seeds, b"\2v1.2 1\npng 512 68 a.png cls 1536 1 a.cls\n"]


def check(data: bytes) -> None:
    """With that file in the place of the right one; a tool's index stands beside a tool's tar."""
    number = data[0] % len(_NAMES) if data else 0
    folder = scratch("index")
    if number < 2:
        shutil.copytree(ours(), folder, dirs_exist_ok=True)
    else:
        for path in folder.glob("0*"):
            path.unlink()
        (folder / "00000.tar").write_bytes(tars()[0])
    (folder / _NAMES[number]).write_bytes(data[1:])
    drain(folder / "00000.tar", check_hashes=number == 1)
