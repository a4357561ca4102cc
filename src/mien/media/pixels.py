"""A few rows of pixels of any kind -> uint8 BGR. They are few, so that the wide types in between stay small."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pil

from mien.types import Image


class Unsupported(ValueError):
    """An intact image of a kind that cannot be read; the message says which."""


def pillow_to_bgr(part: Pil.Image) -> Image:
    """Convert a Pillow image of any mode to uint8 BGR, (N, W, 3); transparency is laid over white."""
    if part.mode == "La":  # Pillow converts premultiplied gray to LA only
        part = part.convert("LA")
    if part.mode in ("P", "PA", "LA", "RGBa", "1", "YCbCr", "HSV") or "transparency" in part.info:
        clear = "transparency" in part.info or part.mode in ("PA", "LA", "RGBa")
        part = part.convert("L" if part.mode == "1" else "RGBA" if clear else "RGB")
    shape = (part.height, part.width)
    if part.mode in ("RGB", "RGBX"):
        return _colour(np.frombuffer(part.tobytes("raw", "RGBX"), np.uint8).reshape(*shape, 4), cv2.COLOR_RGBA2BGR)
    pixels = np.frombuffer(part.tobytes(), dtype_of(part.mode))
    if part.mode == "CMYK":
        return _cmyk(pixels.reshape(*shape, 4))
    return array_to_bgr(pixels.reshape(*shape, -1) if part.mode == "RGBA" else pixels.reshape(shape), rgb=True)


def with_bytes(image: Pil.Image) -> Pil.Image:
    """Return an image whose mode `pillow_to_bgr` takes: of I, F and LAB a converted one.

    Raises:
        Unsupported: Values that are negative, too large or no numbers.
    """
    if image.mode == "LAB":
        from PIL import ImageCms

        transform = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
        converted = ImageCms.applyTransform(image, transform)
        assert converted is not None
        return converted
    if image.mode not in ("I", "F"):
        return image
    values = np.asarray(image)
    most = values.max(initial=0)
    if not (values.min(initial=0) >= 0 and most <= (65535 if image.mode == "I" else 255)):  # NaN fails it too
        raise Unsupported(f"mode {image.mode} with values outside 0..{65535 if image.mode == 'I' else 255}; scale them")
    if image.mode == "F" and most <= 1:
        return image
    return Pil.fromarray(np.rint(values).astype(np.uint8 if most <= 255 else np.uint16))


def dtype_of(mode: str) -> np.dtype[Any]:
    """Return the type of the values that `tobytes` of a Pillow image of such a mode gives.

    Raises:
        Unsupported: A mode of which it is not known what its values mean.
    """
    kinds = {
        "L": "u1",
        "RGBA": "u1",
        "CMYK": "u1",
        "I;16": "<u2",
        "I;16L": "<u2",
        "I;16B": ">u2",
        "I;16N": "=u2",
        "F": "=f4",
    }
    if mode not in kinds:
        raise Unsupported(f"pixels of the kind {mode} cannot be read; save the image anew as JPEG or PNG")
    return np.dtype(kinds[mode])


def array_to_bgr(pixels: NDArray[Any], rgb: bool) -> Image:
    """Convert uint8, uint16 or floats of 0..1 to uint8 BGR, (N, W, 3).

    The array is gray (N, W) or (N, W, 1), gray and alpha (N, W, 2), or colour (N, W, 3 or 4): RGB(A) if `rgb`, else
    BGR(A).

    Raises:
        Unsupported: Floats outside of 0..1.
    """
    small = np.ascontiguousarray(_to_uint8(pixels))
    channels = 1 if small.ndim == 2 else small.shape[2]
    if channels == 1:
        return _colour(small.reshape(small.shape[:2]), cv2.COLOR_GRAY2BGR)
    if channels == 2:
        return _over_white(np.asarray(small[:, :, [0, 0, 0, 1]]))
    if channels == 3:
        return _colour(small, cv2.COLOR_RGB2BGR) if rgb else small
    return _over_white(_colour(small, cv2.COLOR_RGBA2BGRA) if rgb else small)


def _colour(pixels: NDArray[np.uint8], code: int) -> Image:
    return np.asarray(cv2.cvtColor(pixels, code), np.uint8)


def _to_uint8(band: NDArray[Any]) -> NDArray[np.uint8]:
    if band.dtype == np.uint8:
        return band
    if band.dtype.kind == "u":
        return np.asarray(band.astype(np.uint32) * 255 + 32895 >> 16, np.uint8)  # equals rint(band / 257)
    # Written so that NaN fails it too.
    if not bool(np.all((band >= 0) & (band <= 1))):
        raise Unsupported("floats must lie in 0..1; divide by 255 or give uint8")
    return np.asarray(np.rint(band.astype(np.float32) * 255), np.uint8)


def _over_white(pixels: NDArray[np.uint8]) -> Image:
    """BGRA -> BGR."""
    alpha = pixels[:, :, 3:]
    if alpha.min() == 255:
        return _colour(pixels, cv2.COLOR_BGRA2BGR)
    # p a + 255 (255 - a), divided by 255 and rounded: x // 255 is (x + 1 + (x >> 8)) >> 8 for every x below 65535.
    mixed = (255 - pixels[:, :, :3]).astype(np.uint16) * alpha
    np.subtract(255 * 255 + 127, mixed, out=mixed)
    mixed += (mixed >> 8) + np.uint16(1)
    return np.asarray(mixed >> 8, np.uint8)


def _cmyk(pixels: NDArray[np.uint8]) -> Image:
    """CMYK, 255 for full ink -> BGR, as OpenCV converts it."""
    light = 255 - pixels[:, :, 3:].astype(np.uint16)
    return np.ascontiguousarray((light - (pixels[:, :, 2::-1] * light >> 8)).astype(np.uint8))


def halve(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average 2x2 pixels of a uint8 image (H, W) or (H, W, C); an odd last row or column is dropped.

    A side of one pixel stays.
    """
    height, width = (max(side // 2, 1) for side in image.shape[:2])
    even = image[: 2 * height, : 2 * width]
    return np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
