"""Mtcnn: the three-stage detector with landmarks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.faces.base import DownscalingDetector
from mien.faces.boxes import non_max_suppression, to_face
from mien.faces.onnx import Network
from mien.types import Face, Floats, Image

Boxes = NDArray[np.float64]  # (N, 5): x1, y1, x2, y2, score


class Mtcnn(DownscalingDetector):
    """The three-stage cascade with landmarks: slow, good on small faces.

    Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks", 2016.
    """

    name = "mtcnn"
    sure_score = 0.9995  # of 26 faces in turned photographs none had more

    def __init__(
        self,
        max_side: int = 1024,
        min_size: int = 20,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.8),
        min_face: float | None = None,
        threads: int | None = None,
    ) -> None:
        """Load the three networks; `thresholds` are the scores, 0..1, that a box needs to pass each stage."""
        super().__init__(max_side, min_size, min_face)
        self._thresholds = thresholds
        self._pnet, self._rnet, self._onet = (Network(f"mtcnn_{n}net.onnx", threads) for n in "pro")

    def _detect(self, image: Image, ratio: NDArray[np.float64]) -> Iterable[Face]:
        rgb = np.ascontiguousarray(image[:, :, ::-1])
        for row in self._landmarks(rgb, self._refine(rgb, self._propose(rgb))):
            yield to_face(row[:4] * np.tile(ratio, 2), float(row[4]), row[5:].reshape(5, 2) * ratio)

    def _propose(self, rgb: Image) -> Boxes:
        """Stage 1: image pyramid -> square boxes."""
        scale, rows = 12 / self._min_size, [np.zeros((0, 9))]
        # P-Net sees 12 pixels; each step of 0.709 halves the area.
        while min(rgb.shape[:2]) * scale >= 12:
            size = (int(np.ceil(rgb.shape[1] * scale)), int(np.ceil(rgb.shape[0] * scale)))
            level = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
            shift, heat = self._pnet(_blob(level[None]))
            rows.append(non_max_suppression(_heat_boxes(heat[0, :, :, 1], shift[0], scale, self._thresholds[0]), 0.5))
            scale *= 0.709
        boxes = non_max_suppression(np.concatenate(rows), 0.7)
        return _square(_regress(boxes[:, :5], boxes[:, 5:]))

    def _refine(self, rgb: Image, boxes: Boxes) -> Boxes:
        """Stage 2: drop most false positives; boxes stay square."""
        if not len(boxes):
            return boxes
        shift, score = self._rnet(_blob(_patches(rgb, boxes, 24)))
        boxes, keep = _filter_by_score(boxes, score[:, 1], self._thresholds[1])
        rows = non_max_suppression(np.hstack([boxes, shift[keep]]), 0.7)
        return _square(_regress(rows[:, :5], rows[:, 5:]))

    def _landmarks(self, rgb: Image, boxes: Boxes) -> NDArray[np.float64]:
        """Stage 3: final boxes and their landmarks, (M, 15)."""
        if not len(boxes):
            return np.zeros((0, 15))
        shift, marks, score = self._onet(_blob(_patches(rgb, boxes, 48)))
        boxes, keep = _filter_by_score(boxes, score[:, 1], self._thresholds[2])
        # The network returns five x, then five y, as shares of the square.
        shares = marks[keep].reshape(-1, 2, 5).transpose(0, 2, 1)
        points = boxes[:, None, :2] + shares * (boxes[:, 2:4] - boxes[:, :2])[:, None]
        rows = np.hstack([_regress(boxes, shift[keep]), points.reshape(-1, 10)])
        return non_max_suppression(rows, 0.7, smaller=True)


class Verifier:
    """The last two stages of MTCNN as a judge of single faces found by any detector."""

    def __init__(self, threads: int | None = None) -> None:
        self._rnet, self._onet = (Network(f"mtcnn_{n}net.onnx", threads) for n in "ro")

    def __call__(self, patches: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return how much patches, uint8 BGR (N, 48, 48, 3), look like an upright face: (N,), sums of two log-odds."""
        large = np.ascontiguousarray(patches[..., ::-1])
        small = np.stack([cv2.resize(patch, (24, 24), interpolation=cv2.INTER_AREA) for patch in large])
        scores = np.stack([self._onet(_blob(large))[2][:, 1], self._rnet(_blob(small))[1][:, 1]]).astype(np.float64)
        return np.asarray((np.log(scores + 1e-6) - np.log(1 - scores + 1e-6)).sum(axis=0), np.float64)


def _blob(images: NDArray[np.uint8]) -> Floats:
    """Return uint8 RGB (N, H, W, 3) as float32 (N, W, H, 3) in -1..1: the weights come from Matlab, columns first."""
    return np.ascontiguousarray((images.transpose(0, 2, 1, 3).astype(np.float32) - 127.5) / 128)


def _heat_boxes(heat: Floats, shift: Floats, scale: float, threshold: float) -> NDArray[np.float64]:
    """Return P-Net's map (W, H) and shifts (W, H, 4) as boxes, score and shifts, (N, 9), in pixels of the image."""
    cells = np.argwhere(heat >= threshold)
    score = heat[cells[:, 0], cells[:, 1], None]
    # The network steps by 2 pixels and each cell sees 12.
    return np.hstack([2 * cells / scale, (2 * cells + 12) / scale, score, shift[cells[:, 0], cells[:, 1]]])


def _filter_by_score(boxes: Boxes, score: Floats, threshold: float) -> tuple[Boxes, NDArray[np.bool_]]:
    """Return the boxes whose new score exceeds the threshold, with that score, and their mask."""
    keep = np.asarray(score > threshold)
    return np.hstack([boxes[keep, :4], score[keep, None]]), keep


def _regress(boxes: Boxes, shift: NDArray[Any]) -> Boxes:
    """Shift each corner by a share of the box's sides."""
    sides = np.tile(boxes[:, 2:4] - boxes[:, :2], 2)
    return np.hstack([boxes[:, :4] + shift * sides, boxes[:, 4:5]])


def _square(boxes: Boxes) -> Boxes:
    centre = (boxes[:, :2] + boxes[:, 2:4]) / 2
    half = (boxes[:, 2:4] - boxes[:, :2]).max(axis=1, keepdims=True, initial=0) / 2
    return np.hstack([np.rint(centre - half), np.rint(centre + half), boxes[:, 4:5]])


def _patches(rgb: Image, boxes: Boxes, size: int) -> NDArray[np.uint8]:
    """Cut out square boxes, uint8 (N, size, size, 3); black outside the image, as in training."""
    patches = np.zeros((len(boxes), size, size, 3), np.uint8)
    height, width = rgb.shape[:2]
    for i, (x1, y1, x2, y2) in enumerate(boxes[:, :4].astype(int)):
        patch = np.zeros((max(y2 - y1, 1), max(x2 - x1, 1), 3), np.uint8)
        left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
        if right > left and bottom > top:
            patch[top - y1 : bottom - y1, left - x1 : right - x1] = rgb[top:bottom, left:right]
        patches[i] = cv2.resize(patch, (size, size), interpolation=cv2.INTER_AREA)
    return patches
