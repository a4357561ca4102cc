"""YuNet: the default detector."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from mien.faces.base import DownscalingDetector
from mien.faces.boxes import sort_by_area, to_face
from mien.faces.onnx import Network
from mien.faces.resize import downscale
from mien.media.pixels import halve
from mien.types import Face, Image

_MIN_SIZE = 24
"""Pixels that a face of `min_face` has after downscaling.

At 24 pixels YuNet found all 7 faces of 3 photographs and the one in 9 frames of a video; at 20 it missed one. Tight
crops of FER2013 on a synthetic background are harder: of 150, 160 pixels wide and downscaled, it found 7 % at 24
pixels, 41 % at 32 and 69 % at 48 (92 % of 60 without downscaling). Set `min_face` below the size of faces that must not
be missed.
"""


_QUICK_MIN_SIDE = 128
"""Smaller images, in pixels of their longer side, are searched whole: it takes no longer than a call of the network."""

_QUICK_SHARE = 0.3
_QUICK_SCORES = (0.05, 0.8)
"""A quick search is the answer if one face alone has the first score, and it has the second score and a side of at
least `_QUICK_SHARE` of the image's shorter side: `benchmarks/accuracy/quick_search.py`."""


class YuNet(DownscalingDetector):
    """OpenCV's YuNet: fast and small, with landmarks. Wu et al., "YuNet: a tiny millisecond-level detector", 2023.

    ONNX Runtime runs it in half of the time of OpenCV's `FaceDetectorYN`.
    """

    name = "yunet"
    sure_score = 0.91  # of 43 faces in turned photographs and video frames none had more than 0.90
    step = 32  # YuNet halves the image five times

    def __init__(
        self,
        max_side: int = 640,
        score: float = 0.7,
        nms: float = 0.3,
        min_face: float | None = None,
        threads: int | None = None,
    ) -> None:
        """Load the network; drop faces below `score`, 0..1, and boxes that overlap a better one by over `nms`, 0..1."""
        super().__init__(max_side, _MIN_SIZE, min_face)
        self._score, self._nms = np.array(score, np.float32), np.array(nms, np.float32)
        self._net = Network("yunet.onnx", threads)

    def _detect(self, image: Image, ratio: NDArray[np.float64]) -> Iterable[Face]:
        yield from self._rows(image, ratio, self._score)

    def quick(self, image: Image) -> list[Face]:
        """Return the faces in a uint8 BGR image (H, W, 3), largest first, searched at half size if that seems enough.

        It is enough where half size shows one large face and nothing else, not even an unlikely face. Small faces
        beside a large one may be missed. An image for which it is not enough takes up to two fifths longer than by a
        call. With `min_face` every search is whole.
        """
        small, ratio = downscale(image, self._max_side, self._scale, None, self.step)
        if self._scale is None and max(small.shape[:2]) >= _QUICK_MIN_SIDE:
            faces = list(self._rows(halve(small), 2 * np.array(ratio), np.array(_QUICK_SCORES[0], np.float32)))
            if len(faces) == 1 and faces[0].score >= max(_QUICK_SCORES[1], float(self._score)):
                x1, y1, x2, y2 = faces[0].box
                if max(x2 - x1, y2 - y1) >= _QUICK_SHARE * min(image.shape[:2]):
                    return faces
        return sort_by_area(self._detect(small, np.array(ratio)))

    def _rows(self, image: Image, ratio: NDArray[np.float64], score: NDArray[np.float32]) -> Iterator[Face]:
        (rows,) = self._net(image, score, self._nms)  # the file decodes and suppresses: experiments/yunet.py
        for row in rows.astype(np.float64):
            yield to_face(row[:4] * np.tile(ratio, 2), float(row[4]), row[5:].reshape(5, 2) * ratio)
