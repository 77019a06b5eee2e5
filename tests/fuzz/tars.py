"""Tars to begin with, and how a changed one is given checksums that hold."""

import io
import json
import tarfile

import numpy as np

from shards.codec import encode_mask, encode_rgb

_IMAGE = encode_rgb(np.zeros((4, 4, 3), np.uint8), "png")
_FILES = {
    "a.png": _IMAGE,
    "a.cls": b"1",
    "a.json": json.dumps({"synthetic": True, "class_name": "cat", "y": 1}).encode(),
    "a.txt": b"a cat",
    "a.mask.png": encode_mask(np.zeros((4, 4), np.uint8)),
    "b/ü" + "x" * 120 + ".jpg": encode_rgb(np.zeros((4, 4, 3), np.uint8), "jpg"),
    "b/ü" + "x" * 120 + ".cls": b"-1",
    "c.webp": encode_rgb(np.zeros((4, 4, 3), np.uint8), "webp"),
    "c.pyd": b"cos\nsystem\n",
}


def tars() -> list[bytes]:
    """Return the same samples in each format, with headers of every kind."""
    seeds = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        buffer = io.BytesIO()
        headers = {"comment": "all"} if form == tarfile.PAX_FORMAT else None
        with tarfile.open(fileobj=buffer, mode="w", format=form, pax_headers=headers) as tar:
            for name, data in _FILES.items():
                info = tarfile.TarInfo(name[:90] if form == tarfile.USTAR_FORMAT else name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        seeds.append(buffer.getvalue())
    return seeds


def sealed(data: bytes) -> bytes:
    """Correct the checksum in every block that looks like a header. Otherwise only the checksum would be tested."""
    changed = bytearray(data)
    for place in range(0, len(data) - 511, 512):
        if data[place + 257 : place + 262] == b"ustar":
            rest = sum(data[place : place + 148]) + 8 * 32 + sum(data[place + 156 : place + 512])
            changed[place + 148 : place + 156] = b"%06o\0 " % rest
    return bytes(changed)
