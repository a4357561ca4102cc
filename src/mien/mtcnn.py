"""Mtcnn: the three-stage detector with its landmarks; `mien.detect` registers it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.search import face_at, largest_first, network, pick, scale_for, shrink
from mien.types import Face, Floats, Image


class Mtcnn:
    """The three-stage cascade with landmarks: slow, good on small faces.

    Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks", 2016.
    """

    def __init__(
        self,
        max_side: int = 1024,
        min_size: int = 20,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.8),
        min_face: float | None = None,
        threads: int | None = None,
    ) -> None:
        """Load the three networks.

        Args:
            max_side: larger pictures are shrunk to this many pixels.
            min_size: side of the smallest face, in pixels after shrinking.
            thresholds: confidence, 0..1, that a box needs to pass each stage.
            min_face: side in pixels of the smallest face that is wanted, in place of `max_side`: the picture is shrunk
                until such a face has `min_size` pixels, which takes less time where only large faces count.
            threads: for one search; None for all cores that the process may use.

        Raises:
            ConfigError: a smallest face that is not possible.
            ModelError: the weights are missing or damaged.
        """
        self.name = "mtcnn"
        self._max_side, self._min_size, self._thresholds = max_side, min_size, thresholds
        self._scale = scale_for(min_face, min_size)
        self._pnet, self._rnet, self._onet = (network(f"mtcnn_{n}.onnx", threads) for n in ("pnet", "rnet", "onet"))

    def __call__(self, image: Image) -> list[Face]:
        """Faces in a uint8 BGR image (H, W, 3), the largest first."""
        return self._search(image)

    def find(self, image: Image, min_face: float) -> list[Face]:
        """The same for faces of at least `min_face` pixels: in less time where they are large, never in more."""
        return self._search(image, scale_for(min_face, self._min_size))

    def _search(self, image: Image, most: float | None = None) -> list[Face]:
        small, (sx, sy) = shrink(image, self._max_side, self._scale, most)
        rgb = np.ascontiguousarray(small[:, :, ::-1])
        boxes = self._refine(rgb, self._propose(rgb))
        boxes, points = self._finish(rgb, boxes)
        factors = np.array([sx, sy])
        return largest_first(
            face_at(box[:4] * np.tile(factors, 2), float(box[4]), marks * factors)
            for box, marks in zip(boxes, points, strict=True)
        )

    def _propose(self, rgb: Image) -> NDArray[np.float64]:
        """Stage 1: a pyramid of the picture -> square boxes with scores, (N, 5)."""
        scale, found = 12 / self._min_size, [np.zeros((0, 9))]
        # P-Net sees 12 pixels; each step of 0.709 halves the area.
        while min(rgb.shape[:2]) * scale >= 12:
            size = (int(np.ceil(rgb.shape[1] * scale)), int(np.ceil(rgb.shape[0] * scale)))
            level = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
            shift, heat = self._pnet(_blob(level[None]))
            found.append(pick(_heat_boxes(heat[0, :, :, 1], shift[0], scale, self._thresholds[0]), 0.5))
            scale *= 0.709
        boxes = pick(np.concatenate(found), 0.7)
        return _square(_shifted(boxes[:, :5], boxes[:, 5:]))

    def _refine(self, rgb: Image, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Stage 2: most false boxes go; (N, 5) -> (M, 5), square."""
        if not len(boxes):
            return boxes
        shift, score = self._rnet(_blob(_patches(rgb, boxes, 24)))
        boxes, keep = _scored(boxes, score[:, 1], self._thresholds[1])
        both = pick(np.hstack([boxes, shift[keep]]), 0.7)
        return _square(_shifted(both[:, :5], both[:, 5:]))

    def _finish(self, rgb: Image, boxes: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Stage 3: the final boxes (M, 5) and their landmarks (M, 5, 2)."""
        if not len(boxes):
            return boxes, np.zeros((0, 5, 2))
        shift, marks, score = self._onet(_blob(_patches(rgb, boxes, 48)))
        boxes, keep = _scored(boxes, score[:, 1], self._thresholds[2])
        # The network gives five x, then five y, as shares of the square.
        shares = marks[keep].reshape(-1, 2, 5).transpose(0, 2, 1)
        points = boxes[:, None, :2] + shares * (boxes[:, 2:4] - boxes[:, :2])[:, None]
        both = pick(np.hstack([_shifted(boxes, shift[keep]), points.reshape(-1, 10)]), 0.7, smaller=True)
        return both[:, :5], both[:, 5:].reshape(-1, 5, 2)


def _blob(pictures: NDArray[np.uint8]) -> Floats:
    """uint8 RGB (N, H, W, 3) -> float32 (N, W, H, 3) in -1..1; the weights come from Matlab: columns first."""
    return np.ascontiguousarray((pictures.transpose(0, 2, 1, 3).astype(np.float32) - 127.5) / 128)


def _heat_boxes(heat: Floats, shift: Floats, scale: float, threshold: float) -> NDArray[np.float64]:
    """P-Net's map (W, H) and shifts (W, H, 4) -> boxes, score and shifts, (N, 9), in pixels of the picture."""
    cells = np.argwhere(heat >= threshold)
    score = heat[cells[:, 0], cells[:, 1], None]
    # The net steps by 2 pixels and each cell sees 12.
    return np.hstack([2 * cells / scale, (2 * cells + 12) / scale, score, shift[cells[:, 0], cells[:, 1]]])


def _scored(
    boxes: NDArray[np.float64], score: Floats, threshold: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The boxes whose score is above the threshold, with that score, and which ones they are."""
    keep = np.asarray(score > threshold)
    return np.hstack([boxes[keep, :4], score[keep, None]]), keep


def _shifted(boxes: NDArray[np.float64], shift: NDArray[Any]) -> NDArray[np.float64]:
    """Move each corner by a share of the box's sides: bounding box regression."""
    sides = np.tile(boxes[:, 2:4] - boxes[:, :2], 2)
    return np.hstack([boxes[:, :4] + shift * sides, boxes[:, 4:5]])


def _square(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    centre = (boxes[:, :2] + boxes[:, 2:4]) / 2
    half = (boxes[:, 2:4] - boxes[:, :2]).max(axis=1, keepdims=True, initial=0) / 2
    return np.hstack([np.rint(centre - half), np.rint(centre + half), boxes[:, 4:5]])


def _patches(rgb: Image, boxes: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """Square boxes -> uint8 (N, size, size, 3); black outside the picture, as in training."""
    out = np.zeros((len(boxes), size, size, 3), np.uint8)
    height, width = rgb.shape[:2]
    for i, (x1, y1, x2, y2) in enumerate(boxes[:, :4].astype(int)):
        patch = np.zeros((max(y2 - y1, 1), max(x2 - x1, 1), 3), np.uint8)
        left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
        if right > left and bottom > top:
            patch[top - y1 : bottom - y1, left - x1 : right - x1] = rgb[top:bottom, left:right]
        out[i] = cv2.resize(patch, (size, size), interpolation=cv2.INTER_AREA)
    return out
