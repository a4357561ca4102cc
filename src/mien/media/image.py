"""Image files become uint8 BGR arrays.

An image file is one image, and these rules say which:

- An animation (GIF, APNG, WebP, AVIF) is its first frame; of an APNG that is the image other programs show.
  `mien video` reads all frames.
- An MPO file (stereo and depth cameras) is its first image, a HEIC file its primary one.
- A TIFF file is as many images as it has pages: `mien predict`, `mien batch` and the server's predictions answer each
  (`count_pages`). Where a file is one image, as for `mien.load()(path)` and `mien explain`, it is the first page.
  Thumbnails and masks in it are no pages.

EXIF orientation is always applied, transparency is laid over white, 16 bits are rounded to 8, and embedded colour
profiles are ignored. Pillow decodes (HEIC: pillow-heif, PNM: `pnm`): unlike OpenCV it writes nothing to the terminal
about damaged files, and for JPEG and PNG its pixels equal OpenCV's.
"""

from __future__ import annotations

import ctypes
import importlib
import io
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pil

from mien.errors import SourceError
from mien.media import png, pnm, tiff
from mien.media.image_header import read_header, without_exif
from mien.media.image_info import DAMAGED, DEFAULT, Header, Limits, over_limit
from mien.media.pixels import Unsupported, array_to_bgr, dtype_of, pillow_to_bgr, with_bytes
from mien.types import Image

_Rows = Callable[[int, int], Image]
"""Gives rows top..bottom of an image as stored, uint8 BGR (N, W, 3)."""

_BAND = 1 << 16  # pixels that are converted at once: they stay in the cache, and wide types stay small
_TALL = 1 << 18  # the same for turned images, whose bands become columns
_JPEG = {1: ("L", "L"), 3: ("RGB", "RGB"), 4: ("CMYK", "CMYK;I")}  # Adobe stores CMYK inverted, and so does everyone
_PLUGINS = {
    "jpeg": "JpegImagePlugin.JpegImageFile",
    "png": "PngImagePlugin.PngImageFile",
    "gif": "GifImagePlugin.GifImageFile",
    "webp": "WebPImagePlugin.WebPImageFile",
    "bmp": "BmpImagePlugin.BmpImageFile",
    "dib": "BmpImagePlugin.DibImageFile",
    "tiff": "TiffImagePlugin.TiffImageFile",
    "avif": "AvifImagePlugin.AvifImageFile",
    "jp2": "Jpeg2KImagePlugin.Jpeg2KImageFile",
    "tga": "TgaImagePlugin.TgaImageFile",
}
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_OTHER_HALF = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}


def decode(data: bytes, name: str, limits: Limits = DEFAULT, page: int = 0) -> Image:
    """Decode an image file: its content -> uint8 BGR, shape (H, W, 3), upright.

    The header is checked against the limits before any memory is taken; `name` is what to call the image in an error.
    The module says which frame of a file with several is its image. `page`, from 0, is for TIFF files, whose number of
    pages `read_header` tells.

    Raises:
        SourceError: Not an image, cut short, damaged, too large, or not enough memory.
    """
    header = read_header(data, name, limits)
    if page == 0:
        return decode_header(data, name, header)
    pages = tiff.pages(data) if header.format == "tiff" else []
    if not 0 <= page < len(pages):
        raise SourceError(f"{name}: has no page {page + 1}; it has changed, or give another page")
    own = tiff.header(data, pages[page])
    if reason := over_limit(own, limits):
        raise SourceError(f"{name}: {reason}")
    return _guarded(lambda: _page(data, pages[page], own), name, own)


def decode_header(data: bytes, name: str, header: Header) -> Image:
    """Decode as `decode` does an image file whose header was read and is within the limits."""
    return _guarded(lambda: _decoded(data, header), name, header)


def decode_reduced(data: bytes, name: str, header: Header, halvings: int) -> Image:
    """Decode a JPEG as `decode_header` does, sides halved 0 to 3 times and rounded up, which is faster."""
    if not halvings:
        return decode_header(data, name, header)

    def reduce() -> Image:
        image = _opened(data, header)
        image.draft(None, (header.width >> halvings, header.height >> halvings))
        loaded = _load(image)
        width, height = (-(-side >> halvings) for side in (header.width, header.height))
        if loaded.size != (width, height):
            raise ValueError("the decoder made another size")
        return _assembled(replace(header, width=width, height=height), _pillow_rows(loaded))

    return _guarded(reduce, name, header)


def is_tiff(data: bytes) -> bool:
    """Return whether the content of a file begins as a TIFF does."""
    return data[:4] in _TIFF


def count_pages(data: bytes, limits: Limits = DEFAULT) -> int:
    """Return the number of images in an image file: the pages of a TIFF, else 1, also if it cannot be read."""
    if not is_tiff(data):
        return 1
    try:
        return read_header(data, "", limits).frames
    except SourceError:  # decoding the first page says why
        return 1


def page_name(name: str, number: int) -> str:
    """Return what to call a page of a TIFF file, `number` from 0: the first is called as the file is."""
    return f"{name}, page {number + 1}" if number else name


def to_bgr(array: NDArray[Any], name: str, rgb: bool = False) -> Image:
    """Bring a user's array into the form in which everything works: uint8 BGR, shape (H, W, 3).

    The array is gray (H, W) or (H, W, 1), BGR (H, W, 3) or BGRA (H, W, 4), with `rgb` RGB or RGBA; uint8, uint16 or
    floats of 0..1. Transparency is laid over white. A contiguous uint8 BGR array comes back as it is, not copied.

    Raises:
        SourceError: Another shape, type or range.
    """
    colour = "RGB" if rgb else "BGR"
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or array.size == 0:
        advice = f"give (H, W), (H, W, 1), (H, W, 3) {colour} or (H, W, 4) {colour}A"
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            advice += "; move the channels to the end, as with numpy.moveaxis(image, 0, -1)"
        elif array.ndim == 4:
            advice += "; give a batch as list(batch)"
        raise SourceError(f"{name}: an array of shape {array.shape} is not an image; {advice}")
    if array.dtype not in (np.uint8, np.uint16) and array.dtype.kind != "f":
        raise SourceError(f"{name}: an array of {array.dtype} is not an image; give uint8, uint16 or floats of 0..1")
    if array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3 and not rgb:
        return np.ascontiguousarray(array)
    header = Header("array", array.shape[1], array.shape[0], 3, 8)
    try:
        return _assembled(header, lambda top, end: array_to_bgr(array[top:end], rgb))
    except ValueError as error:
        raise SourceError(f"{name}: {error}") from error


def from_pillow(image: Pil.Image, name: str) -> Image:
    """Convert a PIL image of any mode to uint8 BGR (H, W, 3), upright; the image itself is not changed.

    Of an animation it is the current frame. Modes I and F: values up to 1 (F only), 255 or 65535 (I only) are white.

    Raises:
        SourceError: Damaged, too large, closed, or values outside these ranges.
    """
    width, height = image.size
    header = Header(f"PIL {image.mode}", width, height, len(image.getbands()), 8)
    if reason := over_limit(header, DEFAULT):
        raise SourceError(f"{name}: {reason}")

    def convert() -> Image:
        loaded = with_bytes(_load(image))
        orientation = 1
        with suppress(Exception):  # damaged EXIF says nothing
            orientation = int(image.getexif().get(0x0112, 1))
        upright = replace(header, width=loaded.width, height=loaded.height, orientation=orientation)
        return _assembled(upright, _pillow_rows(loaded))

    return _guarded(convert, name, header)


def _guarded(work: Callable[[], Image], name: str, header: Header) -> Image:
    try:
        return work()
    except SourceError:
        raise
    except MemoryError as error:
        size = f"{header.width} x {header.height}"
        raise SourceError(f"{name}: not enough memory to decode {size} pixels; make the image smaller") from error
    except Unsupported as error:
        raise SourceError(f"{name}: {error}") from error
    except Exception as error:  # Pillow and its libraries raise some ten classes on damaged files
        raise SourceError(f"{name}: {DAMAGED}") from error


def _decoded(data: bytes, header: Header) -> Image:
    if header.format == "pnm":
        parsed = pnm.parse(data)
        return _assembled(header, _shown(pnm.rows(data, parsed)))
    if header.format == "jpeg":
        mode, raw = _JPEG[header.channels]
        image = Pil.new(mode, (header.width, header.height), None)  # not filled first
        image.frombytes(data, "jpeg", raw, "")
        return _assembled(header, _pillow_rows(image))
    if header.format == "png":
        return _assembled(header, _png(data, header))
    if header.format == "tiff":
        return _page(data, tiff.pages(data)[0], header)
    if header.format == "heic":
        return _assembled(header, _heic(data, header))
    return _assembled(header, _pillow_rows(_load(_opened(data, header))))


def _page(data: bytes, page: tiff.Page, header: Header) -> Image:
    return _assembled(header, _tiff(data, page, header))


def _assembled(header: Header, rows: _Rows) -> Image:
    """The whole image, upright, from bands of rows: no second copy of it is ever in memory."""
    width, height, orientation = header.width, header.height, header.orientation
    sideways = orientation >= 5
    out = np.empty((width, height, 3) if sideways else (height, width, 3), np.uint8)
    step = max(1, (_TALL if sideways else _BAND) // width)
    for top in range(0, height, step):
        end = min(top + step, height)
        first, last = (height - end, height - top) if orientation in (3, 4, 6, 7) else (top, end)
        place = out[:, first:last] if sideways else out[first:last]
        place[...] = _turned(rows(top, end), orientation)
    return out


def _turned(band: Image, orientation: int) -> Image:
    match orientation:
        case 2:
            return np.asarray(cv2.flip(band, 1), np.uint8)
        case 3:
            return np.asarray(cv2.flip(band, -1), np.uint8)
        case 4:
            return np.asarray(cv2.flip(band, 0), np.uint8)
        case 5:
            return np.asarray(cv2.transpose(band), np.uint8)
        case 6:
            return np.asarray(cv2.rotate(band, cv2.ROTATE_90_CLOCKWISE), np.uint8)
        case 7:
            return np.asarray(cv2.flip(cv2.transpose(band), -1), np.uint8)
        case 8:
            return np.asarray(cv2.rotate(band, cv2.ROTATE_90_COUNTERCLOCKWISE), np.uint8)
    return band


def _opened(data: bytes, header: Header) -> Any:
    """A file opened by the Pillow plugin of its format; no other one looks at it, and nothing is decoded yet."""
    module, plugin = _PLUGINS[header.format].split(".")
    content = io.BytesIO(without_exif(data, header.format))
    image = getattr(importlib.import_module(f"PIL.{module}"), plugin)(content)
    if image.size != (header.width, header.height):
        raise ValueError("the header contradicts itself")
    return image


def _load(image: Any) -> Pil.Image:
    image.load()
    loaded: Pil.Image = image
    return loaded


def _pillow_rows(image: Pil.Image) -> _Rows:
    width, height = image.size

    def rows(top: int, end: int) -> Image:
        return pillow_to_bgr(image if (top, end) == (0, height) else image.crop((0, top, width, end)))

    return rows


def _png(data: bytes, header: Header) -> _Rows:
    plain, key = png.plain(data, header)
    if header.bits == 16 and header.channels == 2:
        # Gray and alpha of 16 bits are stored as the four bytes of RGBA are.
        pairs = _load(_opened(plain, header))
        return _shown(lambda top, end: _bytes(pairs, top, end).view(">u2"))
    if header.bits == 16 and header.channels > 1:
        return _shown(_deep(plain, header), key)
    image = _load(_opened(plain, header))
    if not key:
        return _pillow_rows(image)
    gray = image.convert("L") if image.mode == "1" else image
    return _shown(lambda top, end: _bytes(gray, top, end).view(dtype_of(gray.mode)), key)


def _shown(values: Callable[[int, int], NDArray[Any]], key: tuple[int, ...] = ()) -> _Rows:
    """Rows of values in RGB order; pixels of the colour `key` are transparent, which means white."""

    def rows(top: int, end: int) -> Image:
        pixels = values(top, end)
        out = array_to_bgr(pixels, rgb=True)
        if key:
            out[(pixels == np.asarray(key, pixels.dtype)).all(axis=2)] = 255
        return out

    return rows


def _deep(data: bytes, header: Header) -> Callable[[int, int], NDArray[Any]]:
    """RGB or RGBA of 16 bits. Pillow keeps 8 of them, so the high and the low bytes are decoded one after the other."""
    high, low = _opened(data, header), _opened(data, header)
    kinds = [(tile.args if isinstance(tile.args, str) else tile.args[0]).rpartition(";16") for tile in low.tile]
    high.load()
    if not all(half in _OTHER_HALF for _, _, half in kinds):
        return lambda top, end: _bytes(high, top, end)
    swapped = [f"{base};16{_OTHER_HALF[half]}" for base, _, half in kinds]
    low.tile = [
        tile._replace(args=raw if isinstance(tile.args, str) else (raw, *tile.args[1:]))
        for tile, raw in zip(low.tile, swapped, strict=True)
    ]
    low.load()
    return lambda top, end: _bytes(high, top, end).astype(np.uint16) << np.uint16(8) | _bytes(low, top, end)


def _bytes(image: Pil.Image, top: int, end: int) -> NDArray[np.uint8]:
    part = image.crop((0, top, image.width, end))
    return np.frombuffer(part.tobytes(), np.uint8).reshape(end - top, image.width, -1)


@cache
def _quiet_libtiff() -> None:
    """Silence the libtiff that comes with Pillow, which writes to the terminal about damaged files."""
    place = Path(Pil.__file__).parent
    for library in (*place.parent.glob("pillow.libs/libtiff*"), *place.glob(".dylibs/libtiff*")):
        with suppress(OSError, AttributeError):
            handlers = ctypes.CDLL(str(library))
            handlers.TIFFSetErrorHandler(None)
            handlers.TIFFSetWarningHandler(None)


def _tiff(data: bytes, page: tiff.Page, header: Header) -> _Rows:
    _quiet_libtiff()
    plain = tiff.single(data, page)
    if page.bits == 16 and page.channels in (3, 4):
        return _shown(_deep(plain, header))
    return _pillow_rows(_load(_opened(plain, header)))


def _heic(data: bytes, header: Header) -> _Rows:
    import pillow_heif

    file: Any = pillow_heif.open_heif(data)
    shape = np.asarray(file).shape  # decodes, and may learn the size only now
    if shape[:2] != (header.height, header.width) or file.mode not in ("L", "LA", "RGB", "RGBA"):
        raise ValueError("the header contradicts itself")
    # The array owns no memory: it is asked of the file each time, which must live as long.
    return _shown(lambda top, end: np.asarray(file)[top:end])
