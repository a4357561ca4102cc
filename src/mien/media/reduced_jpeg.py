"""Large JPEG files, decoded only as far as somebody asks."""

from __future__ import annotations

import threading
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.media.image import decode, decode_header, decode_reduced
from mien.media.image_header import read_header
from mien.media.image_info import DEFAULT, Header, Limits
from mien.media.pixels import halve
from mien.types import Image

_MOST = 3  # libjpeg makes a half, a quarter or an eighth of each side


def decode_for_search(
    data: bytes, name: str, searched_side: Callable[[int], int] | None, limits: Limits = DEFAULT, page: int = 0
) -> Image | ReducedJpeg:
    """Decode an image file of which a small version is searched for faces.

    Args:
        data: content of the file.
        name: what to call the image in an error.
        searched_side: longer side of the image -> that of the searched image, in pixels; None for the whole one.
        limits: what is refused.
        page: of a TIFF, from 0.

    Returns:
        A `ReducedJpeg` for a JPEG with at least twice as many pixels a side as are searched, else uint8 BGR (H, W, 3).

    Raises:
        SourceError: as for `image.decode`; a damaged file is found out either way.
    """
    if searched_side is None or page:
        return decode(data, name, limits, page)
    header = read_header(data, name, limits)
    halvings = _halvings(header, searched_side(max(header.width, header.height))) if header.format == "jpeg" else 0
    return ReducedJpeg(data, name, header, halvings) if halvings else decode_header(data, name, header)


class ReducedJpeg:
    """A JPEG whose sides were halved while it was decoded, which takes a fraction of the time. It is a `types.Pixels`.

    Safe to use from several threads. Its arrays are shared: copy before drawing.
    """

    __slots__ = ("_bgr", "_data", "_halvings", "_header", "_lock", "_name", "shape")

    def __init__(self, data: bytes, name: str, header: Header, halvings: int) -> None:
        """Decode the image with its sides halved 0 to 3 times."""
        self._data, self._name, self._header, self._halvings = data, name, header, halvings
        self._bgr = decode_reduced(data, name, header, halvings)
        turned = header.orientation >= 5
        height, width = (header.width, header.height) if turned else (header.height, header.width)
        self.shape: tuple[int, int, int] = (height, width, 3)
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        return len(self._data) + self._bgr.nbytes

    @property
    def reduced(self) -> Image:
        """What is decoded so far, uint8 BGR: its sides are those of the image, halved 0 to 3 times and rounded up."""
        return self._bgr

    def bgr(self) -> Image:
        """Return the whole image, uint8 BGR (H, W, 3), decoded once."""
        return self.refine(0)[0]

    def small(self, width: int, height: int) -> Image:
        """Return the image scaled to `width` x `height` pixels, uint8 BGR."""
        halvings = 0
        while (
            halvings < _MOST and self.shape[1] >> (halvings + 1) >= width and self.shape[0] >> (halvings + 1) >= height
        ):
            halvings += 1
        image = self.refine(halvings)[0]
        if image.shape[:2] == (height, width):
            return image
        return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)

    def gray(self, box: tuple[int, int, int, int] | None = None, halvings: int = 0) -> NDArray[np.uint8]:
        """Return the part (x1, y1, x2, y2) of the image in gray, each side halved that often: uint8 (H, W)."""
        x1, y1, x2, y2 = box or (0, 0, self.shape[1], self.shape[0])
        image, done = self.refine(halvings)
        part = image[y1 >> done : -(-y2 >> done), x1 >> done : -(-x2 >> done)]
        gray = np.asarray(cv2.cvtColor(part, cv2.COLOR_BGR2GRAY), np.uint8)
        for _ in range(halvings - done):
            gray = halve(gray)
        return gray

    def thumbnail(self, width: int, height: int) -> NDArray[np.uint8]:
        """Return brightness, Cr and Cb, uint8 (3, height, width)."""
        colours = np.asarray(cv2.cvtColor(self.small(width, height), cv2.COLOR_BGR2YCrCb), np.uint8)
        return colours.transpose(2, 0, 1)

    def refine(self, halvings: int) -> tuple[Image, int]:
        """Decode again unless the sides are halved at most that often; return the image and how often they are."""
        with self._lock:
            if self._halvings > halvings:
                self._bgr, self._halvings = decode_reduced(self._data, self._name, self._header, halvings), halvings
            return self._bgr, self._halvings


def _halvings(header: Header, side: int) -> int:
    """Return how often the longer side can be halved and still have `side` pixels."""
    halvings = 0
    while halvings < _MOST and max(header.width, header.height) >> (halvings + 1) >= max(side, 1):
        halvings += 1
    if header.orientation != 1:
        # Sides are rounded up at the stored end, which may be the beginning of the upright image: then they must fit.
        while halvings and (header.width | header.height) % (1 << halvings):
            halvings -= 1
    return halvings
