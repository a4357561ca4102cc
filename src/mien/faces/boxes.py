"""Boxes and faces: non-maximum suppression, order, conversion."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mien.types import Face


def sort_by_area(faces: Iterable[Face]) -> list[Face]:
    """Return the faces sorted by the area of their boxes, largest first."""
    return sorted(faces, key=lambda face: (face.box[0] - face.box[2]) * (face.box[3] - face.box[1]))


def to_face(box: NDArray[np.float64], score: float, points: NDArray[np.float64]) -> Face:
    """Return a face from its box (x1, y1, x2, y2) and landmarks (5, 2), both in pixels of the image."""
    x1, y1, x2, y2 = (float(value) for value in box)
    return Face((x1, y1, x2, y2), min(max(score, 0.0), 1.0), tuple((float(x), float(y)) for x, y in points))


def scale_face(face: Face, factors: tuple[float, float]) -> Face:
    """Return a detected face of a smaller image in pixels of the larger one: (x, y) times `factors`."""
    x, y = factors
    x1, y1, x2, y2 = face.box
    return Face((x1 * x, y1 * y, x2 * x, y2 * y), face.score, tuple((a * x, b * y) for a, b in face.landmarks))


def non_max_suppression(boxes: NDArray[np.float64], threshold: float, smaller: bool = False) -> NDArray[np.float64]:
    """Suppress rows (x1, y1, x2, y2, score, ...) that overlap a better row by more than `threshold`.

    Overlap is the intersection over the union, or over the smaller box when `smaller`.
    """
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.argsort(-boxes[:, 4], kind="stable")
    kept: list[int] = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        sides = np.minimum(boxes[best, 2:4], boxes[rest, 2:4]) - np.maximum(boxes[best, :2], boxes[rest, :2])
        common = np.prod(np.maximum(sides, 0), axis=1)
        total = np.minimum(area[best], area[rest]) if smaller else area[best] + area[rest] - common
        order = rest[common <= threshold * total]
    return np.asarray(boxes[np.array(kept, int)], np.float64)
