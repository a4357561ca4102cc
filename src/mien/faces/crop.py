"""Image and faces -> the gray 48x48 crops that the network sees."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.faces.resize import halve
from mien.types import Face, Image, Pixels

SIZE = 48
"""Side of a crop in pixels."""


def to_network_input(image: Image) -> NDArray[np.uint8]:
    """A whole picture as one crop: uint8 BGR (H, W, 3) or gray (H, W) -> uint8 gray (48, 48), stretched to a square."""
    gray = _gray(image)
    if gray.shape == (SIZE, SIZE):
        return gray
    # INTER_AREA averages when it shrinks, but would give blocks when it enlarges.
    how = cv2.INTER_AREA if min(gray.shape) >= SIZE else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(gray, (SIZE, SIZE), interpolation=how), np.uint8)


def crop(image: Image | Pixels, face: Face, margin: float = 0.0, align: bool = True) -> NDArray[np.uint8]:
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
    gray, centre = window, centre - origin
    # One tap a pixel would alias on a large face, so it is halved, then warped at that resolution and averaged down.
    while side >= 4 * SIZE and min(gray.shape) >= 2:
        gray, centre, side = halve(gray), centre / 2, side / 2
    pixels = SIZE * min(max(int(np.ceil(side / SIZE)), 1), 4)
    matrix = np.empty((2, 3))
    matrix[:, 0] = right * side / pixels
    matrix[:, 1] = np.array([-right[1], right[0]]) * side / pixels
    # Pixel centres lie at +0.5, on both sides of the map.
    matrix[:, 2] = centre - 0.5 - matrix[:, :2].sum(axis=1) * (pixels - 1) / 2
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    square = cv2.warpAffine(gray, matrix, (pixels, pixels), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return to_network_input(np.asarray(square, np.uint8))


def crops(image: Image | Pixels, faces: Sequence[Face], margin: float = 0.0, align: bool = True) -> NDArray[np.uint8]:
    """`crop` for each face: uint8 (N, 48, 48), in the order of `faces`."""
    out = np.zeros((len(faces), SIZE, SIZE), np.uint8)
    for i, face in enumerate(faces):
        out[i] = crop(image, face, margin, align)
    return out


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


def _window(image: Image | Pixels, centre: NDArray[np.float64], reach: float) -> tuple[Image, NDArray[np.float64]]:
    """Return the part of the image within `reach` pixels of a point, at least one, in gray, and its corner (x, y)."""
    limit = np.array([image.shape[1], image.shape[0]])
    low = np.clip(np.floor(centre - reach - 2), 0, limit - 1).astype(int)
    high = np.clip(np.ceil(centre + reach + 2), low + 1, limit).astype(int)
    if isinstance(image, np.ndarray):
        gray = _gray(image[low[1] : high[1], low[0] : high[0]])
    else:
        gray = image.gray((int(low[0]), int(low[1]), int(high[0]), int(high[1])))
    return gray, low.astype(np.float64)
