"""Images made smaller for detection."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.errors import ConfigError
from mien.types import Image, Pixels


def halve(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture of half the size, uint8 (H, W) or (H, W, C): means of four pixels; of an odd side the last one goes."""
    even = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]
    return np.asarray(cv2.resize(even, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


def scale_for(min_face: float | None, size: int) -> float | None:
    """The factor that leaves `size` pixels of a face of `min_face`."""
    if min_face is not None and not (math.isfinite(min_face) and min_face > 0):
        raise ConfigError(f"the smallest face is {min_face} pixels; give a finite number above 0")
    return None if min_face is None else size / min_face


def downscale(
    image: Image | Pixels, max_side: int, scale: float | None, most: float | None = None, step: int = 1
) -> tuple[Image, tuple[float, float]]:
    """The picture by that scale, or else with its longest side at most `max_side`, and the (x, y) factors back to it.

    It is never enlarged, and with `most` shrunk at least by that factor, until the longer side is a multiple of `step`.
    It is halved as long as it goes, which takes a fraction of the time, then averaged; with `most` interpolated, which
    takes less.
    """
    height, width = image.shape[:2]
    scale = max_side / max(height, width) if scale is None else scale
    if most is not None:
        longest = max(height, width)
        scale = min(scale, most)
        scale = max(int(longest * min(scale, 1.0)) // step, 1) * step / longest
    if scale >= 1:
        return np.ascontiguousarray(image) if isinstance(image, np.ndarray) else image.bgr(), (1.0, 1.0)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    if not isinstance(image, np.ndarray):
        return image.small(*size), (width / size[0], height / size[1])
    small, times = image, 0
    while small.shape[0] >= 2 * size[1] and small.shape[1] >= 2 * size[0]:
        small, times = np.asarray(halve(small), np.uint8), times + 1
    ratio = ((small.shape[1] << times) / size[0], (small.shape[0] << times) / size[1])
    kind = cv2.INTER_AREA if most is None else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(small, size, interpolation=kind), np.uint8), ratio
