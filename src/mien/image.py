"""Pure array functions: bytes or arrays -> uint8 BGR pictures; picture and faces -> the gray crops of the network."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.types import Face, Image, SourceError

SIZE = 48
"""Side of a crop in pixels."""

_PNM = re.compile(rb"P[1-6]\s+(?:#[^\r\n]*[\r\n]\s*)*(\d+)\s+(?:#[^\r\n]*[\r\n]\s*)*(\d+)\s")
_JPEG_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def decode(data: bytes, name: str, max_pixels: int = 100_000_000) -> Image:
    """Decode the bytes of a JPEG, PNG, GIF, WebP, BMP, TIFF or PNM file.

    EXIF rotation is applied, transparency is laid over white, 16 bits become 8; of an animation the first frame counts.

    Args:
        data: the content of the file.
        name: what to call the picture in an error.
        max_pixels: a picture that declares more than this is refused before any memory is taken for it.

    Returns:
        uint8 BGR, shape (H, W, 3).

    Raises:
        SourceError: not a picture, cut short or too large.
    """
    size = _declared_size(data)
    if size is None:
        raise SourceError(f"{name}: not a picture that mien can read; use a JPEG, PNG, GIF, WebP, BMP or TIFF file")
    width, height = size
    if width * height > max_pixels:
        raise SourceError(
            f"{name}: {width} x {height} pixels is more than the limit of {max_pixels}; make the picture smaller"
        )
    if _cut_short(data):
        raise SourceError(f"{name}: the file is cut short; copy or download it again")
    image = _imdecode(data)
    if image is None:
        raise SourceError(f"{name}: the picture is damaged; copy it again or save it anew as JPEG or PNG")
    return to_bgr(image, name)


def to_bgr(array: NDArray[Any], name: str) -> Image:
    """Bring a user's array into the form in which everything here works.

    Args:
        array: (H, W) or (H, W, 1) gray, (H, W, 3) BGR or (H, W, 4) BGRA; uint8, uint16 or floats of 0..1.
        name: what to call the picture in an error.

    Returns:
        uint8 BGR, shape (H, W, 3); transparency is laid over white. A uint8 BGR array comes back as it is, not copied.

    Raises:
        SourceError: another shape, type or range.
    """
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or array.size == 0:
        raise SourceError(
            f"{name}: an array of shape {array.shape} is not a picture; give (H, W), (H, W, 1), (H, W, 3) BGR or "
            "(H, W, 4) BGRA"
        )
    pixels = np.ascontiguousarray(_to_uint8(array, name))
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels == 1:
        return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    return pixels if channels == 3 else _over_white(pixels)


def gray48(image: Image) -> NDArray[np.uint8]:
    """A whole picture as one crop: uint8 BGR (H, W, 3) or gray (H, W) -> uint8 gray (48, 48), stretched to a square."""
    gray = _gray(image)
    if gray.shape == (SIZE, SIZE):
        return gray
    # INTER_AREA averages when it shrinks, but would give blocks when it enlarges.
    how = cv2.INTER_AREA if min(gray.shape) >= SIZE else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(gray, (SIZE, SIZE), interpolation=how), np.uint8)


def halved(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture of half the size, uint8 (H, W) or (H, W, C): means of four pixels; of an odd side the last one goes."""
    even = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]
    return np.asarray(cv2.resize(even, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


def crop(image: Image, face: Face, margin: float = 0.0, align: bool = True) -> NDArray[np.uint8]:
    """Cut one face out of a picture as a square; what lies over the border repeats the picture's edge.

    Args:
        image: uint8 BGR (H, W, 3) or gray (H, W).
        face: its box gives the centre and the side (the longer one), its eyes the angle.
        margin: share of the side to add: 0.2 makes the square 1.2 times as large.
        align: turn the square so that the eyes are level, when the face has landmarks.

    Returns:
        uint8 gray, shape (48, 48).
    """
    x1, y1, x2, y2 = face.box
    centre = np.array([(x1 + x2) / 2, (y1 + y2) / 2])
    side = max(x2 - x1, y2 - y1, 1.0) * (1 + margin)
    right = _eye_axis(face, side) if align else np.array([1.0, 0.0])
    # Only the neighbourhood of the face is read: cheaper, and warpAffine refuses sides over 32767 pixels.
    window, origin = _window(image, centre, side * float(np.abs(right).sum()) / 2)
    gray, centre = _gray(window), centre - origin
    # One tap a pixel would alias on a large face, so it is halved, then warped at that resolution and averaged down.
    while side >= 4 * SIZE and min(gray.shape) >= 2:
        gray, centre, side = halved(gray), centre / 2, side / 2
    pixels = SIZE * min(max(int(np.ceil(side / SIZE)), 1), 4)
    matrix = np.empty((2, 3))
    matrix[:, 0] = right * side / pixels
    matrix[:, 1] = np.array([-right[1], right[0]]) * side / pixels
    # Pixel centres lie at +0.5, on both sides of the map.
    matrix[:, 2] = centre - 0.5 - matrix[:, :2].sum(axis=1) * (pixels - 1) / 2
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    square = cv2.warpAffine(gray, matrix, (pixels, pixels), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return gray48(np.asarray(square, np.uint8))


def crops(image: Image, faces: Sequence[Face], margin: float = 0.0, align: bool = True) -> NDArray[np.uint8]:
    """`crop` for each face: uint8 (N, 48, 48), in the order of `faces`."""
    out = np.zeros((len(faces), SIZE, SIZE), np.uint8)
    for i, face in enumerate(faces):
        out[i] = crop(image, face, margin, align)
    return out


def _imdecode(data: bytes) -> NDArray[Any] | None:
    raw = np.frombuffer(data, np.uint8)
    try:
        if not data.startswith(b"\xff\xd8"):
            image = cv2.imdecode(raw, cv2.IMREAD_UNCHANGED)
            plain = image is not None and image.dtype == np.uint8 and (image.ndim == 2 or image.shape[2] == 3)
            if not (plain and (b"eXIf" in data or b"EXIF" in data)):
                return image
        # Only IMREAD_COLOR applies the EXIF rotation, and it turns CMYK and gray into BGR; it would drop alpha.
        return cv2.imdecode(raw, cv2.IMREAD_COLOR)
    except cv2.error:
        return None


def _to_uint8(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return np.asarray((array.astype(np.uint32) + 128) // 257, np.uint8)
    if array.dtype.kind != "f":
        raise SourceError(f"{name}: an array of {array.dtype} is not a picture; give uint8, uint16 or floats of 0..1")
    # Written so that NaN fails it too.
    if not bool(np.all((array >= 0) & (array <= 1))):
        raise SourceError(f"{name}: floats must lie in 0..1; divide by 255 or give uint8")
    return np.asarray(np.rint(array.astype(np.float32) * 255), np.uint8)


def _over_white(pixels: NDArray[np.uint8]) -> Image:
    alpha = pixels[:, :, 3:].astype(np.uint16)
    return np.asarray((pixels[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255, np.uint8)


def _gray(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)


def _eye_axis(face: Face, side: float) -> NDArray[np.float64]:
    """Unit vector from the eye on the left to the eye on the right; (1, 0) when there are none to trust."""
    if len(face.landmarks) >= 2:
        axis = np.subtract(face.landmarks[1], face.landmarks[0]).astype(np.float64)
        length = float(np.hypot(*axis))
        # In profile the eyes fall together and their angle is noise.
        if length > 0.1 * side:
            return np.asarray(axis / length, np.float64)
    return np.array([1.0, 0.0])


def _window(image: Image, centre: NDArray[np.float64], reach: float) -> tuple[Image, NDArray[np.float64]]:
    """The part of the picture within `reach` pixels of a point, at least one, and its corner (x, y)."""
    limit = np.array([image.shape[1], image.shape[0]])
    low = np.clip(np.floor(centre - reach - 2), 0, limit - 1).astype(int)
    high = np.clip(np.ceil(centre + reach + 2), low + 1, limit).astype(int)
    return image[low[1] : high[1], low[0] : high[0]], low.astype(np.float64)


def _declared_size(data: bytes) -> tuple[int, int] | None:
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


def _cut_short(data: bytes) -> bool:
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
