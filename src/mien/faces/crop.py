"""Image and faces -> the gray 48x48 crops that the network reads."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.media.pixels import halve
from mien.types import Face, Image, Pixels

SIZE = 48
"""Side of a crop in pixels."""


def to_network_input(image: Image) -> NDArray[np.uint8]:
    """Stretch a whole image to one crop: uint8 BGR (H, W, 3) or gray (H, W) -> uint8 gray (48, 48)."""
    gray = _gray(image)
    if gray.shape == (SIZE, SIZE):
        return gray
    # INTER_AREA averages when it shrinks an image but makes blocks when it enlarges one.
    interpolation = cv2.INTER_AREA if min(gray.shape) >= SIZE else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(gray, (SIZE, SIZE), interpolation=interpolation), np.uint8)


def crop(image: Image | Pixels, face: Face, margin: float = 0.0, align: bool = True) -> NDArray[np.uint8]:
    """Crop one face as a square, uint8 gray (48, 48); pixels outside the image repeat its edge.

    Args:
        image: uint8 BGR (H, W, 3) or gray (H, W).
        face: its box sets the centre and the side (the longer one), its eyes the angle.
        margin: share of the side to add: 0.2 makes the square 1.2 times as large.
        align: rotate the square so that the eyes are level, if the face has landmarks.
    """
    x1, y1, x2, y2 = face.box
    centre = np.array([(x1 + x2) / 2, (y1 + y2) / 2])
    side = _side(face, margin)
    axis = _eye_axis(face, side) if align else np.array([1.0, 0.0])
    # Only the neighbourhood of the face is read: it is faster, and warpAffine refuses sides over 32767 pixels.
    fewer = 0 if isinstance(image, np.ndarray) else halvings(face, margin)
    gray, origin = _window(image, centre, side * float(np.abs(axis).sum()) / 2, fewer)
    centre, side = (centre - origin) / 2**fewer, side / 2**fewer
    # Quarter turns first, so that a turned image gives the crop of the upright one to the last digit.
    for _ in range(_quarter_turns(*axis)):
        centre = np.array([centre[1], gray.shape[1] - centre[0]])
        gray, axis = np.rot90(gray), np.array([axis[1], -axis[0]])
    gray = np.ascontiguousarray(gray)
    # One sample a pixel would alias on a large face: halve it, warp at that resolution, then average down.
    while side >= 4 * SIZE and min(gray.shape) >= 2:
        gray, centre, side = halve(gray), centre / 2, side / 2
    pixels = SIZE * min(max(int(np.ceil(side / SIZE)), 1), 4)
    matrix = np.empty((2, 3))
    matrix[:, 0] = axis * side / pixels
    matrix[:, 1] = np.array([-axis[1], axis[0]]) * side / pixels
    # Pixel centres lie at +0.5 on both sides of the map.
    matrix[:, 2] = centre - 0.5 - matrix[:, :2].sum(axis=1) * (pixels - 1) / 2
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    square = cv2.warpAffine(gray, matrix, (pixels, pixels), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return to_network_input(np.asarray(square, np.uint8))


def halvings(face: Face, margin: float = 0.0) -> int:
    """Return how often the sides of an image can be halved with two pixels left for each pixel of the crop."""
    return max(math.floor(math.log2(_side(face, margin) / (2 * SIZE))), 0)


def crops(image: Image | Pixels, faces: Sequence[Face], margin: float = 0.0, align: bool = True) -> NDArray[np.uint8]:
    """Crop every face with `crop`, uint8 (N, 48, 48), in the order of `faces`."""
    squares = np.zeros((len(faces), SIZE, SIZE), np.uint8)
    for i, face in enumerate(faces):
        squares[i] = crop(image, face, margin, align)
    return squares


def _side(face: Face, margin: float) -> float:
    x1, y1, x2, y2 = face.box
    return max(x2 - x1, y2 - y1, 1.0) * (1 + margin)


def _gray(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)


def _eye_axis(face: Face, side: float) -> NDArray[np.float64]:
    """Return the unit vector from the left to the right eye of the face, to a quarter turn without reliable eyes."""
    if len(face.landmarks) >= 2:
        axis = np.subtract(face.landmarks[1], face.landmarks[0]).astype(np.float64)
        length = float(np.hypot(*axis))
        if length > 0.1 * side:  # in profile the eyes coincide and their angle is noise
            return np.asarray(axis / length, np.float64)
    if len(face.landmarks) == 5:
        points = np.array(face.landmarks, np.float64)
        down = points[3:].sum(axis=0) - points[:2].sum(axis=0)
        axes = np.array([(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)])
        return np.asarray(axes[_quarter_turns(down[1], -down[0])], np.float64)
    return np.array([1.0, 0.0])


def _quarter_turns(x: float, y: float) -> int:
    """Return how many counterclockwise quarter turns make (x, y), y downwards, point to the right: 0..3."""
    return round(math.atan2(y, x) / (math.pi / 2)) % 4


def _window(
    image: Image | Pixels, centre: NDArray[np.float64], radius: float, halvings: int
) -> tuple[Image, NDArray[np.float64]]:
    """Return the gray part of an image within `radius` pixels of a point, at least one pixel, and its corner (x, y).

    Pixels that are converted on demand are halved that often on the way, which saves most of the conversion.
    """
    limit = np.array([image.shape[1], image.shape[0]])
    low = np.clip(np.floor(centre - radius - 2), 0, limit - 1).astype(int)
    high = np.clip(np.ceil(centre + radius + 2), low + 1, limit).astype(int)
    if isinstance(image, np.ndarray):
        gray = _gray(image[low[1] : high[1], low[0] : high[0]])
    else:
        low -= low % 2 ** max(halvings, 1)  # where chroma and halved pixels begin
        gray = image.gray((int(low[0]), int(low[1]), int(high[0]), int(high[1])), halvings)
    return gray, low.astype(np.float64)
