"""What an image file says of itself before it is decoded, and the limits that are checked against it.

The readers here walk the few structures that give size, depth, orientation and number of frames, and touch no pixel.
They are stricter than the decoders: where two decoders could read a header differently, it is refused.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mien.errors import SourceError
from mien.media import jpeg, paths, png, pnm, tiff
from mien.media.image_info import BROKEN, CUT, DAMAGED, DEFAULT, UNKNOWN, Header, Limits, exif_orientation, over_limit

_MOST_CHUNKS = 200_000
_HEIC = frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 msf1 mif2".split())
_HELD = 16  # bytes a pixel that libavif and libheif take, with Pillow's image and ours
_EXIF_ITEM = re.compile(rb"(infe(?:\x02.{7}|\x03.{9}))Exif", re.DOTALL)
_ISPE = re.compile(rb"ispe\0\0\0\0(.{4})(.{4})", re.DOTALL)


def read_header(source: bytes | Path, name: str = "", limits: Limits = DEFAULT) -> Header:
    """Read size, depth, frames and orientation of an image without decoding it, and check them against the limits.

    `source` is the content of a file or its path; `name` is what to call it in an error. AVIF and HEIC are asked of
    their libraries, which parse the file and decode nothing; all else is read here, mostly in 5 to 100 microseconds.

    Raises:
        SourceError: Unknown format, cut short, contradictory, or over a limit.
    """
    if isinstance(source, Path):
        name = name or paths.display(source)
        source = paths.read_file(source, limits.file_bytes)
    if len(source) > limits.file_bytes:
        raise SourceError(f"{name}: {len(source)} bytes is more than the limit of {limits.file_bytes}")
    reader = _reader(source, name)
    if reader is None:
        raise SourceError(f"{name}: {_unknown(source)}")
    try:
        header = reader(source, limits)
    except (struct.error, IndexError, OverflowError) as error:
        raise SourceError(f"{name}: {BROKEN}") from error
    except ValueError as error:
        raise SourceError(f"{name}: {error}") from error
    if reason := over_limit(header, limits):
        raise SourceError(f"{name}: {reason}")
    return header


def without_exif(data: bytes, kind: str) -> bytes:
    """Return an image file in which Pillow finds no EXIF block: it would parse it, and warn when it is damaged.

    `kind` is the format in the file's header. An AVIF image is turned by a property of its own; the orientation in its
    EXIF block does not count. That of a JPEG is in the header.
    """
    if kind == "jpeg":
        return jpeg.without_exif(data)
    return _EXIF_ITEM.sub(rb"\1none", data) if kind == "avif" else data


def _reader(data: bytes, name: str) -> Callable[[bytes, Limits], Header] | None:
    """The function that reads the header of such a file, or None for an unknown format."""
    if data.startswith(b"\xff\xd8"):
        return jpeg.header
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return png.header
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return _gif
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp
    if data[:2] == b"BM":
        return _bmp
    if data[:4] in tiff.SIGNATURES:
        return _tiff
    if pnm.starts(data):
        return _pnm
    if data[:12] == b"\0\0\0\x0cjP  \r\n\x87\n" or data[:4] == b"\xff\x4f\xff\x51":
        return _jp2
    if data[4:8] == b"ftyp":
        brands = {data[8:12], *(data[at : at + 4] for at in range(16, min(_u32(data, 0), 256), 4))}
        if brands & {b"avif", b"avis"}:
            return _avif
        return _heic if brands & _HEIC else None
    if len(data) > 40 and _u32(data, 0, "<") in (12, 40, 52, 56, 64, 108, 124) and data[12:14] == b"\1\0":
        return _dib
    if data[-18:] == b"TRUEVISION-XFILE.\0" or name.lower().endswith((".tga", ".icb", ".vda", ".vst")):
        return _tga
    return None


def _unknown(data: bytes) -> str:
    if not data:
        return "the file is empty; copy or download it again"
    if data[:256].lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        return "a web page, not an image; download the image itself"
    if data[4:8] == b"ftyp" or data[:4] == b"\x1aE\xdf\xa3":
        return "a video, not an image; use mien video"
    return UNKNOWN


def _u32(data: bytes, at: int, order: str = ">") -> int:
    return int(struct.unpack_from(order + "I", data, at)[0])


def _gif(data: bytes, limits: Limits) -> Header:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at, frames, size = 13 + _gif_colours(flags), 0, len(data)
    while at < size and data[at] != 0x3B:
        if data[at] == 0x2C:
            left, top, wide, high, flags = struct.unpack_from("<HHHHB", data, at + 1)
            if frames == 0:  # a first frame that reaches over the screen makes it larger
                width, height = max(width, left + wide), max(height, top + high)
            frames, at = frames + 1, at + 11 + _gif_colours(flags)
        elif data[at] == 0x21:
            at += 2
        else:
            break  # garbage behind the last frame does no harm
        while at < size and (length := data[at]):
            at += length + 1
        at += 1
    if frames == 0 or (frames == 1 and at > size):
        raise ValueError(CUT)
    return Header("gif", width, height, 3, 8, frames, 1, width * height * 8)


def _gif_colours(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _webp(data: bytes, limits: Limits) -> Header:
    end = 8 + _u32(data, 4, "<")
    kind = data[12:16]
    frames, orientation, alpha = 0, 1, False
    if kind == b"VP8X":
        flags, low_w, high_w, low_h, high_h = struct.unpack_from("<B3xHBHB", data, 20)
        width, height, alpha = (low_w | high_w << 16) + 1, (low_h | high_h << 16) + 1, bool(flags & 0x10)
    elif kind == b"VP8L":
        bits = _u32(data, 21, "<")
        width, height, alpha = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    if len(data) < end:
        raise ValueError(CUT)
    at = 12
    for _ in range(_MOST_CHUNKS):
        if at + 8 > end:
            break
        kind, length = struct.unpack_from("<4sI", data, at)
        frames += kind == b"ANMF"
        if kind == b"EXIF":
            orientation = exif_orientation(data[at + 8 : at + 8 + length])
        at += 8 + length + (length & 1)
    memory = width * height * 18 + 2 * len(data)
    return Header("webp", width, height, 4 if alpha else 3, 8, max(frames, 1), orientation, memory)


def _bmp(data: bytes, limits: Limits, start: int = 14) -> Header:
    old = _u32(data, start, "<") == 12
    width, height = struct.unpack_from("<HH" if old else "<ii", data, start + 4)
    depth = struct.unpack_from("<H", data, start + (10 if old else 14))[0]
    channels = 4 if depth == 32 else 3
    return Header(
        "bmp" if start else "dib", abs(width), abs(height), channels, 8, memory=abs(width * height) * 8 + len(data)
    )


def _dib(data: bytes, limits: Limits) -> Header:
    return _bmp(data, limits, 0)


def _tiff(data: bytes, limits: Limits) -> Header:
    pages = tiff.pages(data)
    return tiff.header(data, pages[0], len(pages))


def _pnm(data: bytes, limits: Limits) -> Header:
    found = pnm.parse(data)
    return Header(
        "pnm", found.width, found.height, found.channels, found.bits, memory=found.width * found.height * found.held
    )


def _jp2(data: bytes, limits: Limits) -> Header:
    at = 0
    for _ in range(1000):
        if data[at : at + 4] == b"\xff\x4f\xff\x51":
            break
        length, kind = struct.unpack_from(">I4s", data, at)
        head = 16 if length == 1 else 8
        if kind == b"jp2c":
            at += head
        elif length == 0:
            break
        else:
            at += max(struct.unpack_from(">Q", data, at + 8)[0] if length == 1 else length, head)
    if data[at : at + 4] != b"\xff\x4f\xff\x51":
        raise ValueError(CUT)
    x1, y1, x0, y0, tile_x, tile_y, tile_x0, tile_y0, channels = struct.unpack_from(">8IH", data, at + 8)
    depth = max(data[at + 42 + 3 * i] & 0x7F for i in range(min(channels, 4))) + 1
    width, height = x1 - x0, y1 - y0
    if not 1 <= channels <= 4 or depth > 16 or not (tile_x and tile_y) or width < 1 or height < 1:
        raise ValueError(DAMAGED)
    if (-(-(x1 - tile_x0) // tile_x)) * (-(-(y1 - tile_y0) // tile_y)) > 65_535:
        raise ValueError(DAMAGED)
    # OpenJPEG keeps four bytes a channel.
    return Header("jp2", width, height, channels, depth, memory=width * height * (5 * channels + 8))


def _tga(data: bytes, limits: Limits) -> Header:
    mapped, kind, width, height, depth = struct.unpack_from("<xBB9xHHB", data)
    if mapped > 1 or kind not in (1, 2, 3, 9, 10, 11) or depth not in (8, 15, 16, 24, 32):
        raise ValueError(UNKNOWN)
    channels = 1 if kind in (3, 11) else 4 if depth == 32 else 3
    return Header("tga", width, height, channels, 8, memory=width * height * 8 + len(data))


def _avif(data: bytes, limits: Limits) -> Header:
    from PIL import AvifImagePlugin

    _refuse_early("avif", data, limits)
    try:
        with AvifImagePlugin.AvifImageFile(io.BytesIO(without_exif(data, "avif"))) as image:
            size, channels, frames = image.size, len(image.getbands()), int(getattr(image, "n_frames", 1))
            orientation = exif_orientation(image.info.get("exif") or b"")
    except MemoryError:
        raise
    except Exception as error:  # libavif's errors come as several classes
        raise ValueError(DAMAGED) from error
    memory = size[0] * size[1] * _HELD + 2 * len(data)
    return Header("avif", size[0], size[1], channels, 8, frames, orientation, memory)


def _heic(data: bytes, limits: Limits) -> Header:
    _refuse_early("heic", data, limits)
    try:
        import pillow_heif
    except ImportError as error:
        raise ValueError("a HEIC image; to read it: pip install 'mien[heif]'") from error
    try:
        file: Any = pillow_heif.open_heif(data)
        size, channels, frames = file.size, len(file.mode), len(file)
    except MemoryError:
        raise
    except Exception as error:  # libheif's errors come as several classes
        raise ValueError(DAMAGED) from error
    # Its library turns and mirrors the image as the file says, so that it comes out upright.
    return Header("heic", size[0], size[1], channels, 8, frames, memory=size[0] * size[1] * _HELD + 2 * len(data))


def _refuse_early(kind: str, data: bytes, limits: Limits) -> None:
    """Check the largest image that an AVIF or HEIC file declares before its library parses the file."""
    sizes = [(_u32(found[1], 0), _u32(found[2], 0)) for found in _ISPE.finditer(data)]
    if not sizes:
        raise ValueError(CUT)
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    if reason := over_limit(Header(kind, width, height, 3, 8, memory=width * height * _HELD), limits):
        raise ValueError(reason)
