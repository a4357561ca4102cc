"""Faces of images that lie on their side, stand on their head or are very close."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.faces.mtcnn import Verifier
from mien.types import Detector, Face, Image, ScaledDetector

_CLOSE = (0.075, 0.1, 0.15)
"""Shares of the longer side: when no face is found, faces of at least these sizes are looked for in smaller images."""

_MARGIN = 2.0
"""By how much a turned image must look more like a face: of the sums of two log-odds.

Of 300 faces of FER2013's PublicTest, 96 % looked most like a face when upright; of 62 detections in turned photographs
and video frames, all did, by 2 to 20.
"""

_ENOUGH = 5.0
"""The same sum of a face that is upright beyond doubt: seven of eight of those upright faces have more."""

_CERTAIN = 13.0
"""With this sum no other direction is looked at: of 1,247 photographs, crops and made crowds that had it, turned four
ways, none was clearer in another direction. Nearly two of three upright images with unsure faces have it
(benchmarks/accuracy/orientation.py).
"""

_LARGEST = 3  # faces that decide on the orientation
_TURN = {1: cv2.ROTATE_90_COUNTERCLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_CLOCKWISE}


def detect(detector: Detector, image: Image, quick_search: bool = False) -> list[Face]:
    """Return the faces in a uint8 BGR image (H, W, 3), largest first, whichever way up the image is.

    The faces that the detector finds are the answer if they look upright. Only if they do not, or if there are none,
    the image is turned by 90, 180 and 270 degrees. A detector tells by `sure_score` that faces with that score need no
    second look; without this attribute no face does. The landmarks of a turned face run from its own left to its own
    right, so that `faces.crop` makes it upright. Faces without landmarks are found in upright images only.

    With `quick_search` the upright image is searched by the detector's method `quick`, if it has one.
    """
    faces = _search(detector, image, quick_search)
    first, threshold = 0, 0.0
    if faces:
        if max(face.score for face in faces) >= getattr(detector, "sure_score", 0.0):
            return faces
        evidence = _evidence(image, faces, (0,))
        if evidence[0] >= _CERTAIN:
            return faces
        evidence = np.append(evidence, _evidence(image, faces, (1, 2, 3)))
        first, threshold = int(evidence.argmax()), max(evidence[0] + _MARGIN, 0.0)
        if evidence[0] >= _ENOUGH and evidence[first] < threshold:
            return faces
    for turns in sorted((1, 2, 3), key=lambda turns: turns != first):
        turned = np.asarray(cv2.rotate(image, _TURN[turns]), np.uint8)
        found = [face for face in _search(detector, turned) if face.landmarks]
        if not found:
            continue
        evidence = _evidence(turned, found)
        if evidence.argmax() == 0 and evidence[0] > threshold:
            threshold, faces = evidence[0], [_turn_back(face, turns, image) for face in found]
            if evidence[0] >= _ENOUGH and turns == first:
                break
    return faces


def _search(detector: Detector, image: Image, quick: bool = False) -> list[Face]:
    """Return the faces found, in a smaller image when there is none."""
    faces = getattr(detector, "quick", detector)(image) if quick else detector(image)
    if not faces and isinstance(detector, ScaledDetector):
        side = max(image.shape[:2])
        searched_side = getattr(detector, "searched_side", None)
        for share in _CLOSE:
            if searched_side and searched_side(side, share * side) >= searched_side(side):
                continue  # a small image was searched like this before
            if faces := detector.find(image, share * side):
                break
    return faces


def _evidence(image: Image, faces: Sequence[Face], turns: Sequence[int] = (0, 1, 2, 3)) -> NDArray[np.float64]:
    """Return how much the largest faces look like faces after each number of counterclockwise quarter turns."""
    patches = [_patch(image, face) for face in faces[:_LARGEST]]
    turned = np.stack([np.rot90(patch, count) for count in turns for patch in patches])
    return np.asarray(_verifier()(turned).reshape(len(turns), -1).mean(axis=1), np.float64)


@cache
def _verifier() -> Verifier:
    return Verifier(threads=1)


def _patch(image: Image, face: Face) -> Image:
    """Cut out the square around a box, uint8 BGR (48, 48, 3); pixels outside the image repeat its edge."""
    x1, y1, x2, y2 = face.box
    side = max(round(max(x2 - x1, y2 - y1)), 1)
    columns = np.arange(side) + round((x1 + x2 - side) / 2)
    rows = np.arange(side) + round((y1 + y2 - side) / 2)
    square = image[np.clip(rows, 0, image.shape[0] - 1)][:, np.clip(columns, 0, image.shape[1] - 1)]
    return np.asarray(cv2.resize(square, (48, 48), interpolation=cv2.INTER_AREA), np.uint8)


def _turn_back(face: Face, turns: int, image: Image) -> Face:
    """Move a face found in an image turned counterclockwise by quarter turns to its place in the image itself."""
    height, width = image.shape[:2]

    def back(x: float, y: float) -> tuple[float, float]:
        return ((width - y, x), (width - x, height - y), (y, height - x))[turns - 1]

    (ax, ay), (bx, by) = back(*face.box[:2]), back(*face.box[2:])
    box = (min(ax, bx), min(ay, by), max(ax, bx), max(ay, by))
    return Face(box, face.score, tuple(back(x, y) for x, y in face.landmarks))
