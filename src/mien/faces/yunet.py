"""YuNet: the default detector."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.faces.base import DownscalingDetector
from mien.faces.boxes import drop_doubtful, non_max_suppression, to_face
from mien.faces.onnx import Network
from mien.types import Face, Floats, Image

_MIN_SIZE = 24
"""Pixels that a face of `min_face` has after downscaling.

At 24 pixels YuNet found all 7 faces of 3 photographs and the one in 9 frames of a video; at 20 it missed one. Tight
crops of FER2013 on a synthetic background are harder: of 150, 160 pixels wide and downscaled, it found 7 % at 24
pixels, 41 % at 32 and 69 % at 48 (92 % of 60 without downscaling). Set `min_face` below the size of faces that must not
be missed.
"""


_DOUBTFUL = (0.8, 0.25)
"""A box with less than this score is dropped if more than this share of it lies in a better one, or the reverse."""


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
        self._score, self._nms = score, nms
        self._net = Network("face_detection_yunet_2023mar.onnx", threads)

    def _detect(self, image: Image, ratio: NDArray[np.float64]) -> Iterable[Face]:
        bottom, right = (-side % self.step for side in image.shape[:2])
        padded = np.asarray(cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT), np.uint8)
        planes = np.ascontiguousarray(padded.transpose(2, 0, 1)[None], np.float32)
        rows = non_max_suppression(_decode(self._net(planes), padded.shape[1], self._score), self._nms)
        for row in drop_doubtful(rows, *_DOUBTFUL):
            yield to_face(row[:4] * np.tile(ratio, 2), float(row[4]), row[5:].reshape(5, 2) * ratio)


def _decode(outputs: Sequence[Floats], width: int, threshold: float) -> NDArray[np.float64]:
    """Decode YuNet's outputs to rows of box, score and five landmarks, (N, 15), in pixels of its input.

    The outputs are class score, object score, box and landmarks, each for the strides 8, 16 and 32, a row a cell. Sides
    are logarithms; sides and offsets are in strides. YuNet's "right eye" is the person's: on the left of the image.
    """
    class_score, object_score, box, marks = (
        np.concatenate([output[0] for output in outputs[k : k + 3]]) for k in (0, 3, 6, 9)
    )
    score = class_score[:, 0] * object_score[:, 0]  # both 0..1
    keep = np.flatnonzero(score >= threshold**2)
    grid = _grid(outputs[0].shape[1], width)[keep]
    cell, stride, box = grid[:, :2], grid[:, 2:], box[keep].astype(np.float64)
    centre, half = (cell + box[:, :2]) * stride, np.exp(box[:, 2:]) * stride / 2
    points = (np.tile(cell, 5) + marks[keep]) * stride
    return np.hstack([centre - half, centre + half, np.sqrt(score[keep, None]), points])


@lru_cache(8)
def _grid(cells: int, width: int) -> NDArray[np.float64]:
    """Return column, row and stride of each cell, (N, 3), of an image with that width and `cells` cells at stride 8."""
    columns = width // 8
    rows = cells // columns
    levels = []
    for k in (1, 2, 4):
        places = np.indices((rows // k, columns // k))[::-1].reshape(2, -1)
        levels.append(np.stack([*places, np.full(cells // k**2, 8 * k)], 1))
    return np.concatenate(levels).astype(np.float64)
