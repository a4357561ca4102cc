"""DownscalingDetector: what YuNet, Haar and MTCNN share."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mien.faces.boxes import sort_by_area
from mien.faces.resize import downscale, scale_for
from mien.types import Face, Image, Pixels


class DownscalingDetector:
    """Detects faces in a downscaled image. A subclass sets `name` and defines `_detect`.

    `max_side` is the longest side in pixels to which an image is downscaled: more finds smaller faces and is slower.
    `min_face` replaces it: the side in pixels of the smallest wanted face, which then has `min_size` pixels. `threads`
    is the number of threads of one call; None for all cores that the process may use.
    """

    name = ""
    step = 1
    """`find` makes the longer side of the downscaled image a multiple of this many pixels."""

    sure_score = 0.0
    """Faces with at least this score are upright, see `orientation.detect`."""

    def __init__(self, max_side: int, min_size: int, min_face: float | None) -> None:
        self._max_side, self._min_size = max_side, min_size
        self._scale = None if min_face is None else scale_for(min_face, min_size)

    def __call__(self, image: Image) -> list[Face]:
        """Return the faces in a uint8 BGR image (H, W, 3), largest first."""
        return self._search(image)

    def find(self, pixels: Image | Pixels, min_face: float | None = None) -> list[Face]:
        """Return the faces of at least `min_face` pixels, or all: faster than a call when `min_face` is large."""
        return self._search(pixels, None if min_face is None else scale_for(min_face, self._min_size))

    def searched_side(self, longest: int, min_face: float | None = None) -> int:
        """Return the longer side, in pixels, to which `find` downscales an image whose longer side is `longest`."""
        side = self._max_side if self._scale is None else round(longest * self._scale)
        if min_face is not None:
            side = min(side, round(longest * scale_for(min_face, self._min_size)))
        return min(side, longest)

    def _search(self, image: Image | Pixels, max_scale: float | None = None) -> list[Face]:
        small, ratio = downscale(image, self._max_side, self._scale, max_scale, self.step)
        return sort_by_area(self._detect(small, np.array(ratio)))

    def _detect(self, image: Image, ratio: NDArray[np.float64]) -> Iterable[Face]:
        """Return the faces of a downscaled image in pixels of the original: (x, y) times `ratio`."""
        raise NotImplementedError
