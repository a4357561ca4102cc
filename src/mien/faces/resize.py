"""Downscaling of images for detection and cropping."""

from __future__ import annotations

import math

import cv2
import numpy as np

from mien.errors import ConfigError
from mien.media.pixels import halve
from mien.types import Image, Pixels


def scale_for(min_face: float, size: int) -> float:
    """Return the scale at which a face of `min_face` pixels has `size` pixels."""
    if not (math.isfinite(min_face) and min_face > 0):
        raise ConfigError(f"the smallest face is {min_face} pixels; give a finite number above 0")
    return size / min_face


def downscale(
    image: Image | Pixels, max_side: int, scale: float | None, max_scale: float | None = None, step: int = 1
) -> tuple[Image, tuple[float, float]]:
    """Downscale an image by `scale`, or to a longest side of `max_side`; return it and the (x, y) factors back.

    The image is never enlarged. With `max_scale` the scale is at most that, rounded so that the longer side is a
    multiple of `step`. Halving comes first, which takes a fraction of the time of one resize; the last step averages,
    or interpolates with `max_scale`, which is faster.
    """
    height, width = image.shape[:2]
    longest = max(height, width)
    scale = max_side / longest if scale is None else scale
    if max_scale is not None:
        scale = min(scale, max_scale)
        scale = max(int(longest * min(scale, 1.0)) // step, 1) * step / longest
    if scale >= 1:
        return np.ascontiguousarray(image) if isinstance(image, np.ndarray) else image.bgr(), (1.0, 1.0)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    if not isinstance(image, np.ndarray):
        return image.small(*size), (width / size[0], height / size[1])
    small, halvings = image, 0
    while small.shape[0] >= 2 * size[1] and small.shape[1] >= 2 * size[0]:
        small, halvings = halve(small), halvings + 1
    ratio = ((small.shape[1] << halvings) / size[0], (small.shape[0] << halvings) / size[1])
    interpolation = cv2.INTER_AREA if max_scale is None else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(small, size, interpolation=interpolation), np.uint8), ratio
