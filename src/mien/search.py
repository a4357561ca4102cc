"""What the detectors share: their weights, pictures shrunk for the search, rows of boxes and faces."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mien import runtime
from mien.image import halved
from mien.types import ConfigError, Face, Floats, Image, ModelError

ASSETS = Path(__file__).parent / "assets"


def network(name: str, threads: int | None) -> Callable[[Floats], list[Floats]]:
    """A detector's network by its file's name: from a batch of pictures to its outputs, for so many threads a call.

    Raises:
        ModelError: the weights are missing or damaged.
    """
    path = ASSETS / name
    if not path.is_file():
        raise ModelError(f"{path}: the detector's weights are missing; install mien again")
    session = runtime.session(path, "install mien again", threads)
    given = session.get_inputs()[0].name
    return lambda blob: list(session.run(None, {given: blob}))


def scale_for(min_face: float | None, size: int) -> float | None:
    """The factor that leaves `size` pixels of a face of `min_face`."""
    if min_face is not None and not (math.isfinite(min_face) and min_face > 0):
        raise ConfigError(f"the smallest face is {min_face} pixels; give a finite number above 0")
    return None if min_face is None else size / min_face


def shrink(
    image: Image, max_side: int, scale: float | None, most: float | None = None, step: int = 1
) -> tuple[Image, tuple[float, float]]:
    """The picture by that scale, or else with its longest side at most `max_side`, and the (x, y) factors back to it.

    It is never enlarged, and with `most` shrunk at least by that factor, until the longer side is a multiple of `step`.
    It is halved as long as it goes, which takes a fraction of the time, then averaged; with `most` interpolated, which
    takes less.
    """
    height, width = image.shape[:2]
    scale = max_side / max(height, width) if scale is None else scale
    if most is not None:
        longest = max(height, width)
        scale = min(scale, most)
        scale = max(int(longest * min(scale, 1.0)) // step, 1) * step / longest
    if scale >= 1:
        return np.ascontiguousarray(image), (1.0, 1.0)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    small, times = image, 0
    while small.shape[0] >= 2 * size[1] and small.shape[1] >= 2 * size[0]:
        small, times = np.asarray(halved(small), np.uint8), times + 1
    ratio = ((small.shape[1] << times) / size[0], (small.shape[0] << times) / size[1])
    kind = cv2.INTER_AREA if most is None else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(small, size, interpolation=kind), np.uint8), ratio


def largest_first(faces: Iterable[Face]) -> list[Face]:
    """By the area of their boxes."""
    return sorted(faces, key=lambda face: (face.box[0] - face.box[2]) * (face.box[3] - face.box[1]))


def face_at(box: NDArray[np.float64], score: float, points: NDArray[np.float64]) -> Face:
    """A face from its corners (x1, y1, x2, y2) and landmarks (5, 2), in pixels of the picture."""
    x1, y1, x2, y2 = (float(value) for value in box)
    return Face((x1, y1, x2, y2), min(max(score, 0.0), 1.0), tuple((float(x), float(y)) for x, y in points))


def pick(boxes: NDArray[np.float64], threshold: float, smaller: bool = False) -> NDArray[np.float64]:
    """Non-maximum suppression on rows (x1, y1, x2, y2, score, ...).

    The overlap is the intersection over the union, or over the smaller box when `smaller`.
    """
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.argsort(-boxes[:, 4], kind="stable")
    picked: list[int] = []
    while order.size:
        best, rest = order[0], order[1:]
        picked.append(int(best))
        sides = np.minimum(boxes[best, 2:4], boxes[rest, 2:4]) - np.maximum(boxes[best, :2], boxes[rest, :2])
        common = np.prod(np.maximum(sides, 0), axis=1)
        whole = np.minimum(area[best], area[rest]) if smaller else area[best] + area[rest] - common
        order = rest[common <= threshold * whole]
    return np.asarray(boxes[np.array(picked, int)], np.float64)
