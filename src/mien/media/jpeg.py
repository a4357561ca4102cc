"""The header of a JPEG file, and the file without its EXIF block."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from mien.media.image_info import CUT, Header, Limits, exif_orientation

_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MOST_SCANNED = 2_000_000_000  # pixels times scans; at about 1 ns each


def header(data: bytes, limits: Limits) -> Header:
    """Read the header up to the first scan, and count the scans of a progressive file.

    Raises:
        ValueError: Cut short, too many scans, or of a kind that cannot be read.
    """
    frame: tuple[int, int, int, int, int, list[int]] | None = None
    orientation, frames, scan, exif = 1, 1, 0, False
    for marker, at in _segments(data):
        if marker in _SIZE_MARKERS and frame is None:
            bits, height, width, count = struct.unpack_from(">BHHB", data, at + 4)
            frame = marker, bits, height, width, count, [data[at + 11 + 3 * i] for i in range(count)]
        elif marker == 0xE1 and not exif and data[at + 4 : at + 10] == b"Exif\0\0":
            exif, orientation = True, exif_orientation(data[at + 10 : at + 2 + _u16(data, at + 2)])
        elif marker == 0xE2 and data[at + 4 : at + 8] == b"MPF\0":
            frames = _mpo_images(data[at + 8 : at + 2 + _u16(data, at + 2)])
        elif marker == 0xDA:
            scan = at
    if frame is None:
        raise ValueError(CUT)
    marker, bits, height, width, count, factors = frame
    if not scan or data.rfind(b"\xff\xd9", scan) < 0:  # a thumbnail in the header has an end marker too
        raise ValueError(CUT)
    if bits != 8 or count not in (1, 3, 4):
        raise ValueError(f"a JPEG with {count} channels of {bits} bits cannot be read; save it anew with 8 bits")
    if width * height > 1024 * len(data):  # an 8 x 8 block of a channel takes a bit at least
        raise ValueError(f"{CUT} ({len(data)} bytes cannot hold {width} x {height} pixels)")
    work = 0.0
    # A baseline image in one scan is decoded row by row; of all others the coefficients are kept until the last scan.
    if marker not in (0xC0, 0xC1) or data[scan + 4] != count:
        scans = _scans(data, scan, limits.scans)
        if scans > limits.scans or scans * width * height > _MOST_SCANNED:
            raise ValueError(f"too many scans of {width} x {height} pixels; save it as a plain JPEG")
        blocks = [(factor >> 4) * (factor & 15) for factor in factors]
        work = 2 * sum(blocks) / max(max(blocks), 1)
    per_pixel = (1 if count == 1 else 4) + max(work, 3)
    return Header("jpeg", width, height, count, bits, frames, orientation, int(width * height * per_pixel))


def without_exif(data: bytes) -> bytes:
    """Return the file with another name for its EXIF blocks."""
    blocks = [at + 4 for marker, at in _segments(data) if marker == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0"]
    if not blocks:
        return data
    changed = bytearray(data)
    for at in blocks:
        changed[at : at + 4] = b"none"
    return bytes(changed)


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield (marker, offset) of the segments up to the first scan; end early where the header breaks off."""
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


def _scans(data: bytes, at: int, most: int) -> int:
    """Count the scans from the first one on; no more than `most` + 1."""
    if (count := data.count(b"\xff\xda", at)) <= most:
        return count
    # What phones append behind the image may hold the marker by chance: count up to the end of the image.
    count = 0
    while count <= most and 0 <= at < len(data) - 3:
        marker = data[at + 1]
        if marker == 0xD9:
            break
        count += marker == 0xDA
        skips = marker > 0x01 and not 0xD0 <= marker <= 0xD7 and marker != 0xFF
        at = data.find(b"\xff", at + (2 + _u16(data, at + 2) if skips else 2 - (marker == 0xFF)))
    return count


def _mpo_images(index: bytes) -> int:
    """Number of images that the index of an MPO file gives."""
    order = "<" if index[:2] == b"II" else ">"
    try:
        start = struct.unpack_from(order + "I", index, 4)[0]
        for i in range(struct.unpack_from(order + "H", index, start)[0]):
            tag, _, _, value = struct.unpack_from(order + "HHII", index, start + 2 + 12 * i)
            if tag == 0xB001:
                return max(int(value), 1)
    except struct.error:
        pass
    return 1


def _u16(data: bytes, at: int) -> int:
    return int(struct.unpack_from(">H", data, at)[0])
