"""What is known of an image before it is decoded, the limits set to it, and the sentences for files beyond repair."""

from __future__ import annotations

import struct
from dataclasses import dataclass

UNKNOWN = (
    "not an image that mien can read; use a JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF, HEIC, JPEG 2000, TGA or PNM file"
)
BROKEN = "the file is cut short or damaged; copy or download it again"
CUT = "the file is cut short; copy or download it again"
DAMAGED = "the image is damaged; copy it again or save it anew as JPEG or PNG"

_PILLOW_PIXELS = 89_478_485  # above it Pillow's readers of these two formats warn


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused before memory is taken for it.

    Attributes:
        file_bytes: Bytes of a file.
        pixels: Pixels that a header may declare (width times height).
        memory: Bytes that decoding may take at its peak, as estimated from the header.
        scans: Scans of a progressive JPEG; each one passes over all pixels.
    """

    file_bytes: int = 256_000_000
    pixels: int = 100_000_000
    memory: int = 900_000_000
    scans: int = 100


DEFAULT = Limits()


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of its image.

    Attributes:
        format: "jpeg", "png", "gif", "webp", "bmp", "dib", "tiff", "pnm", "avif", "heic", "jp2" or "tga".
        width: Pixels in a row, as stored: before the orientation is applied.
        height: Rows, as stored.
        channels: 1 gray, 2 gray and alpha, 3 colour or palette, 4 colour and alpha or CMYK.
        bits: Bits of a channel.
        frames: Frames of an animation, pages of a TIFF, images of an MPO.
        orientation: EXIF orientation, 1..8; 1 is upright.
        memory: Bytes that decoding takes at its peak, about.
    """

    format: str
    width: int
    height: int
    channels: int
    bits: int
    frames: int = 1
    orientation: int = 1
    memory: int = 0


def over_limit(header: Header, limits: Limits) -> str:
    """Return why an image is refused: no pixels, or more pixels or memory than the limits allow; "" when it is not."""
    width, height = header.width, header.height
    if width < 1 or height < 1:
        return DAMAGED
    if width * height > limits.pixels:
        return f"{width} x {height} pixels is more than the limit of {limits.pixels}; make the image smaller"
    if header.format in ("gif", "tiff") and width * height > _PILLOW_PIXELS:
        return f"{width} x {height} pixels is more than Pillow's limit of {_PILLOW_PIXELS}; save it as JPEG or PNG"
    if header.memory > limits.memory:
        return (
            f"{width} x {height} pixels of {header.channels} x {header.bits} bits take {header.memory / 1e9:.2f} GB to "
            f"decode, more than the limit of {limits.memory / 1e9:.2f} GB; make the image smaller"
        )
    return ""


def exif_orientation(exif: bytes) -> int:
    """Return the orientation, 1..8, that an EXIF block (TIFF structure) gives; 1 when it gives none."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    try:
        if order is None:
            return 1
        start = struct.unpack_from(order + "I", exif, 4)[0]
        for i in range(struct.unpack_from(order + "H", exif, start)[0]):
            tag, kind = struct.unpack_from(order + "HH", exif, start + 2 + 12 * i)
            if tag == 0x0112:
                value = struct.unpack_from(order + ("I" if kind == 4 else "H"), exif, start + 10 + 12 * i)[0]
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
