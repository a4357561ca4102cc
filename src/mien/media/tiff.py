"""The pages of a TIFF file, and a copy of the file that holds one page and only the tags its pixels need.

Decoders print warnings about tags that they do not know, read some tags differently from one another, and follow chains
of pages that never end. So the tags are read here, checked, and the decoder is given a file without anything else.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from mien.media.image_info import CUT, DAMAGED, Header

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
# Size, depth, compression, colour, layout of strips and tiles, palette, alpha, sample format, JPEG and YCbCr details.
_NEEDED = frozenset(
    (
        *(256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 338, 339, 347),
        *(512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532),
    )
)
_SINGLE = frozenset((256, 257, 259, 262, 266, 277, 278, 284, 317, 322, 323, 512, 513, 514, 515))
_MOST_PAGES = 1000
_MOST_TAGS = 1000
_MOST_CHANNELS = 4


@dataclass(frozen=True, slots=True)
class Page:
    """One page.

    Attributes:
        width: Pixels in a row, as stored.
        height: Rows, as stored.
        channels: Channels of a pixel; 3 for a palette.
        bits: Bits of a channel.
        orientation: 1..8, as in EXIF.
        block: Pixels of a strip or tile, the piece that is decompressed at once.
        tags: The tags that its pixels need, in the file's own form.
    """

    width: int
    height: int
    channels: int
    bits: int
    orientation: int
    block: int
    tags: tuple[bytes, ...]


def pages(data: bytes) -> list[Page]:
    """Read the pages of a TIFF file, at least one; thumbnails and masks are left out.

    Raises:
        ValueError: No page can be read; the message says why.
        struct.error: The file ends within a page's tags.
    """
    order, large = _layout(data)
    at = struct.unpack_from(order + ("Q" if large else "I"), data, 8 if large else 4)[0]
    found: list[Page] = []
    seen: set[int] = set()
    reduced = 0
    while at and at not in seen and len(seen) < _MOST_PAGES:
        seen.add(at)
        try:
            page, kind, at = _page(data, at, order, large)
        except (struct.error, OverflowError):
            if not found:
                raise
            break
        if kind & 0b101:
            reduced += 1
        else:
            found.append(page)
    if not found and reduced:
        raise ValueError("holds a preview only, as camera raw files do; export the image as JPEG")
    if not found:
        raise ValueError(CUT)
    return found


def header(data: bytes, page: Page, count: int = 1) -> Header:
    """Return the header of one page of a TIFF file."""
    wide = page.channels * max(page.bits, 8) // 8
    # A strip or tile as stored, its pixels as Pillow keeps them (deep colour twice), and the image that is returned.
    held = wide if page.channels == 1 else 8 if page.bits == 16 else 4
    memory = page.width * page.height * (held + 3) + page.block * wide + 3 * len(data)
    return Header("tiff", page.width, page.height, page.channels, page.bits, count, page.orientation, memory)


def single(data: bytes, page: Page) -> bytes:
    """Return the file with one page, whose tags are those that its pixels need."""
    order, large = _layout(data)
    start = len(data) + len(data) % 2
    count = struct.pack(order + ("Q" if large else "H"), len(page.tags))
    end = bytes(8 if large else 4)
    head = data[:8] + struct.pack(order + "Q", start) if large else data[:4] + struct.pack(order + "I", start)
    return b"".join((head, memoryview(data)[len(head) :], bytes(start - len(data)), count, *page.tags, end))


def _layout(data: bytes) -> tuple[str, bool]:
    """Byte order, and whether it is a BigTIFF."""
    return ("<" if data[:2] == b"II" else ">"), b"+" in data[2:4]


def _page(data: bytes, start: int, order: str, large: bool) -> tuple[Page, int, int]:
    """The page whose tags begin at `start`, its kind (bit 0 thumbnail, bit 2 mask) and where the next page's begin."""
    count = struct.unpack_from(order + ("Q" if large else "H"), data, start)[0]
    if count > _MOST_TAGS:
        raise ValueError(DAMAGED)
    width_of_tag, at = (20, start + 8) if large else (12, start + 2)
    values: dict[int, tuple[int, ...]] = {}
    tags: list[bytes] = []
    for _ in range(count):
        tag = struct.unpack_from(order + "H", data, at)[0]
        if tag in _NEEDED or tag in (254, 274):
            if tag in values:  # decoders may take the other one
                raise struct.error
            values[tag] = _values(data, at, order, large)
            if tag in _SINGLE and len(values[tag]) != 1:
                raise struct.error
            if tag in _NEEDED:
                tags.append(data[at : at + width_of_tag])
        at += width_of_tag
    following = struct.unpack_from(order + ("Q" if large else "I"), data, at)[0]

    def one(tag: int, default: int | None = None) -> int:
        value = values.get(tag, () if default is None else (default,))
        if not value:
            raise struct.error
        return value[0]

    width, height = one(256), one(257)
    channels, bits = one(277, 1), max(values.get(258, (1,)), default=1)
    if channels > _MOST_CHANNELS or bits > 64:
        raise ValueError(f"a TIFF with {channels} channels of {bits} bits cannot be read; save it anew as PNG")
    if 322 in values or 323 in values:
        block = one(322) * one(323)
    else:
        block = width * min(one(278, height), height)
    if one(262, 1) == 3:
        channels = 3
    orientation = one(274, 1)
    orientation = orientation if 1 <= orientation <= 8 else 1
    tags.sort(key=lambda tag: int(struct.unpack_from(order + "H", tag)[0]))
    return Page(width, height, channels, bits, orientation, block, tuple(tags)), one(254, 0), following


def _values(data: bytes, at: int, order: str, large: bool) -> tuple[int, ...]:
    """The integers of a tag, at most the first eight; () for other kinds. All of them must lie in the file.

    Raises:
        struct.error: They do not.
    """
    kind, count = struct.unpack_from(order + ("HQ" if large else "HI"), data, at + 2)
    size = _SIZES.get(kind)
    if size is None:
        raise struct.error
    place, room = (at + 12, 8) if large else (at + 8, 4)
    if count * size > room:
        place = struct.unpack_from(order + ("Q" if large else "I"), data, place)[0]
        if place + count * size > len(data):
            raise struct.error
    if kind not in _INTEGERS:
        return ()
    return struct.unpack_from(f"{order}{min(count, 8)}{_INTEGERS[kind]}", data, place)
