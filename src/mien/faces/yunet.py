"""YuNet: the default detector."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mien.faces.base import DownscalingDetector
from mien.faces.boxes import to_face
from mien.faces.onnx import Network
from mien.types import Face, Image

_MIN_SIZE = 24
"""Pixels that a face of `min_face` has after downscaling.

At 24 pixels YuNet found all 7 faces of 3 photographs and the one in 9 frames of a video; at 20 it missed one. Tight
crops of FER2013 on a synthetic background are harder: of 150, 160 pixels wide and downscaled, it found 7 % at 24
pixels, 41 % at 32 and 69 % at 48 (92 % of 60 without downscaling). Set `min_face` below the size of faces that must not
be missed.
"""


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
        (rows,) = self._net(image, self._score, self._nms)  # the file decodes and suppresses: experiments/yunet.py
        for row in rows.astype(np.float64):
            yield to_face(row[:4] * np.tile(ratio, 2), float(row[4]), row[5:].reshape(5, 2) * ratio)
