"""Bytes or arrays -> uint8 BGR images."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.errors import SourceError
from mien.media.image_header import declared_size, is_truncated
from mien.types import Image


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
    size = declared_size(data)
    if size is None:
        raise SourceError(f"{name}: not a picture that mien can read; use a JPEG, PNG, GIF, WebP, BMP or TIFF file")
    width, height = size
    if width * height > max_pixels:
        raise SourceError(
            f"{name}: {width} x {height} pixels is more than the limit of {max_pixels}; make the picture smaller"
        )
    if is_truncated(data):
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
