"""The chunks of a PNG file: its header, and a copy of it that holds only what the pixels need."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from mien.media.image_info import CUT, DAMAGED, Header, Limits, exif_orientation

_MOST_CHUNKS = 200_000


def header(data: bytes, limits: Limits) -> Header:
    """Read the header, and check that the chunks fit into the file and their data can fill the image.

    Raises:
        ValueError: Damaged, or cut short.
    """
    frames, orientation, stored, palette = 1, 1, 0, False
    for kind, at, length in chunks(data):
        if kind == b"IHDR" and at != 16:
            raise ValueError(DAMAGED)
        if kind == b"IDAT":
            stored += length
        elif kind == b"PLTE":
            palette = True
        elif kind == b"acTL" and length == 8:
            frames = max(int(struct.unpack_from(">I", data, at)[0]), 1)
        elif kind == b"eXIf":
            orientation = exif_orientation(data[at : at + length])
    width, height, bits, colour, _, _, _ = struct.unpack_from(">IIBBBBB", data, 16)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour)
    depths = {0: (1, 2, 4, 8, 16), 3: (1, 2, 4, 8)}.get(colour, (8, 16))
    if data[12:16] != b"IHDR" or channels is None or bits not in depths or (colour == 3 and not palette):
        raise ValueError(DAMAGED)
    if (
        width * channels * bits + 7
    ) // 8 * height > 1100 * stored + 1100:  # deflate makes it 1032 times smaller at most
        raise ValueError(f"{CUT} ({stored} bytes of data cannot fill {width} x {height} pixels)")
    # Of deep colour the high and the low bytes are decoded one after the other, into four bytes a pixel each.
    held = {1: 2 if bits == 16 else 1}.get(channels, 8 if bits == 16 else 4)
    shown = 3 if colour == 3 else channels
    return Header("png", width, height, shown, bits, frames, orientation, width * height * (held + 3) + 2 * len(data))


def plain(data: bytes, header: Header) -> tuple[bytes, tuple[int, ...]]:
    """Return the file with nothing but size, palette, transparency and pixels: no animation, no profile, no text.

    Gray and alpha of 16 bits become RGBA of 8: their four bytes a pixel are stored in the same way. The one transparent
    colour of a gray or 16-bit image is left out and returned beside it, in 0..255 or 0..65535; () when there is none.

    Raises:
        ValueError: A checksum is wrong.
    """
    view = memoryview(data)
    parts: list[bytes | memoryview] = [view[:8]]
    key: tuple[int, ...] = ()
    for kind, at, length in chunks(data):
        if kind not in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            continue
        if zlib.crc32(view[at - 4 : at + length]) != int.from_bytes(view[at + length : at + length + 4], "big"):
            raise ValueError("wrong checksum")
        if kind == b"tRNS" and (data[25] == 0 or header.bits == 16):
            if length == 2 * header.channels:
                scale = 255 // (2**header.bits - 1) if header.bits < 8 else 1
                largest = 2**header.bits - 1
                key = tuple(min(v, largest) * scale for v in struct.unpack_from(f">{header.channels}H", data, at))
        elif kind == b"IHDR" and header.bits == 16 and header.channels == 2:
            content = b"IHDR" + data[at : at + 8] + b"\x08\x06" + data[at + 10 : at + 13]
            parts += [data[at - 8 : at - 4], content, zlib.crc32(content).to_bytes(4, "big")]
        else:
            parts.append(view[at - 8 : at + length + 4])
    return b"".join(parts), key


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, start of the content, length) of the chunks up to IEND.

    Raises:
        ValueError: A chunk is longer than the rest of the file, or IEND is missing.
    """
    at, size = 8, len(data)
    for _ in range(_MOST_CHUNKS):
        if at + 12 > size:
            raise ValueError(CUT)
        length, kind = struct.unpack_from(">I4s", data, at)
        if length > size - at - 12:
            raise ValueError(f"{CUT} (it promises a block of {length} bytes and has {size - at - 12})")
        yield kind, at + 8, length
        if kind == b"IEND":
            return
        at += length + 12
    raise ValueError(DAMAGED)
