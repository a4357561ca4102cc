"""What the header of an image file says: its size, and whether the file is cut short."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

_PNM = re.compile(rb"P[1-6]\s+(?:#[^\r\n]*[\r\n]\s*)*(\d+)\s+(?:#[^\r\n]*[\r\n]\s*)*(\d+)\s")
_JPEG_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def declared_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) as the header says, or None for an unknown format."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height = struct.unpack_from(">II", data, 16)
        elif data.startswith(b"\xff\xd8"):
            return _jpeg_size(data)
        elif data[:6] in (b"GIF87a", b"GIF89a"):
            width, height = struct.unpack_from("<HH", data, 6)
        elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_size(data)
        elif data.startswith(b"BM"):
            old = struct.unpack_from("<I", data, 14)[0] == 12
            width, height = struct.unpack_from("<HH" if old else "<ii", data, 18)
        elif data[:4] in (b"II*\0", b"MM\0*"):
            return _tiff_size(data)
        elif pnm := _PNM.match(data[:4096]):
            width, height = int(pnm[1]), int(pnm[2])
        else:
            return None
    except struct.error:
        return None
    return abs(width), abs(height)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """(marker, offset) of the header's segments, the start of the scan last; ends where the header breaks off."""
    at, marker = 2, 0
    while marker != 0xDA and at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = struct.unpack_from(">xBH", data, at)
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker <= 0x01 or 0xD0 <= marker <= 0xD9:  # has no length, and no place here: decoders go on elsewhere
            return
        yield marker, at
        at += 2 + length


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    for marker, at in _jpeg_segments(data):
        if marker in _JPEG_SIZE_MARKERS:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        low_w, high_w, low_h, high_h = struct.unpack_from("<HBHB", data, 24)
        return (low_w | high_w << 16) + 1, (low_h | high_h << 16) + 1
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _tiff_size(data: bytes) -> tuple[int, int] | None:
    order = "<" if data[:2] == b"II" else ">"
    start = struct.unpack_from(order + "I", data, 4)[0]
    sizes: dict[int, int] = {}
    for i in range(struct.unpack_from(order + "H", data, start)[0]):
        tag, kind, count = struct.unpack_from(order + "HHI", data, start + 2 + 12 * i)
        if tag in (256, 257):
            if tag in sizes or kind not in (3, 4) or count != 1:  # decoders may take another value than this one
                return None
            sizes[tag] = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, start + 10 + 12 * i)[0]
    return (sizes[256], sizes[257]) if len(sizes) == 2 else None


def is_truncated(data: bytes) -> bool:
    """Whether the end is missing: decoders fill it with gray and say nothing, or write a warning to the terminal."""
    if data.startswith(b"\xff\xd8"):
        # A thumbnail in the header has an end marker too, and phones append a video: look behind the scan's start.
        scan = next((at for marker, at in _jpeg_segments(data) if marker == 0xDA), len(data))
        return data.find(b"\xff\xd9", scan) < 0
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data
    if data.startswith(b"RIFF"):
        return bool(len(data) < 8 + struct.unpack_from("<I", data, 4)[0])
    return False
