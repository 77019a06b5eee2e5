"""Reads width and height of an encoded image from its header, without decoding it.

Formats: PNG, "11.2.1 IHDR"; JPEG, ITU-T T.81 annex B; WebP, RFC 9649.
"""

from shards.codec import CorruptImage, detect_format
from shards.reading.tar_scan import TarData

_NOT_FRAMES = {0xC4, 0xC8, 0xCC}  # all other markers from C0 to CF begin frames
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}


def image_size(data: TarData, offset: int, size: int) -> tuple[str, int, int]:
    """Return format, width and height in pixels of the image of `size` bytes at an offset. EXIF rotation is ignored.

    Raises CorruptImage if it is no png, jpg or webp, or is shorter than its header says.
    """
    head = bytes(data[offset : offset + min(size, 32)])
    format = detect_format(head)
    sides = None
    if format == "png" and head[12:16] == b"IHDR":
        sides = int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
        if data[offset + size - 8 : offset + size - 4] != b"IEND":
            raise CorruptImage("a PNG without its end")
    elif format == "jpg":
        sides = _jpeg_size(data, offset, offset + size)
    elif format == "webp":
        sides = _webp_size(head)
        if (missing := int.from_bytes(head[4:8], "little") + 8 - size) > 0:
            raise CorruptImage(f"a WebP that ends {missing} bytes early")
    if format is None or sides is None or 0 in sides:
        raise CorruptImage(f"{size} bytes that are no png, jpg or webp image")
    return format, *sides


def _jpeg_size(data: TarData, place: int, end: int) -> tuple[int, int] | None:
    place += 2
    while place + 9 < end:
        marker = data[place + 1]
        if data[place] != 0xFF:
            return None
        if marker == 0xFF:  # a fill byte
            place += 1
        elif 0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES:
            return int.from_bytes(data[place + 7 : place + 9]), int.from_bytes(data[place + 5 : place + 7])
        else:
            place += 2 if marker in _WITHOUT_LENGTH else 2 + int.from_bytes(data[place + 2 : place + 4])
    return None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    if len(head) < 30:
        return None
    kind = head[12:16]
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return None
