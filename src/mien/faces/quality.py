"""How well a face can be seen: size, sharpness, light, pose; and which of them are too poor for a sure answer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.types import Face, Quality

# Chosen by `benchmarks.accuracy.quality` on PublicTest, see there for the rule; those of pose and of the share inside
# the image are only cautious.
MIN_SIZE = 25.0
"""Pixels: a smaller face is too small."""

MIN_SHARPNESS = 0.39
"""A crop with less fine detail is blurred."""

BRIGHTNESS = (29.0, 211.0)
"""Gray levels: a crop whose mean lies outside is too dark or too bright."""

MAX_YAW, MAX_PITCH = 60.0, 45.0
"""Degrees: beyond, a face is turned away."""

MIN_INSIDE = 0.6
"""Share of the box: with less inside the image, a face is cut off."""

# Places of the landmarks on a head that looks into the camera, in units of the distance of the eyes: right, down, and
# towards the camera. The first two are medians of YuNet on photographs; the depths are those of an average head.
_HEAD = np.array([(-0.5, 0.0, 0.0), (0.5, 0.0, 0.0), (0.0, 0.58, 0.45), (-0.41, 1.0, 0.05), (0.41, 1.0, 0.05)])
_FIT = np.linalg.pinv(_HEAD - _HEAD.mean(axis=0))


def measure(faces: Sequence[Face], crops: NDArray[np.uint8], shape: Sequence[int]) -> list[Quality]:
    """Return the quality of each face of an image of shape (H, W, ...), from its crop, uint8 gray (N, 48, 48)."""
    if not len(crops):
        return []
    sharpness, brightness = sharpness_and_brightness(crops)
    return [
        Quality(size(face), float(sharp), float(bright), *pose(face.landmarks), inside(face, shape))
        for face, sharp, bright in zip(faces, sharpness, brightness, strict=True)
    ]


def sharpness_and_brightness(crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return sharpness and brightness of crops, uint8 gray (N, 48, 48), each float32 (N,)."""
    sharpness, brightness = np.zeros((2, len(crops)), np.float32)
    for k, pixels in enumerate(crops):
        detail = cv2.Laplacian(pixels, cv2.CV_16S)[1:-1, 1:-1]
        mean, contrast = cv2.meanStdDev(pixels)
        sharpness[k] = cv2.norm(detail) / math.sqrt(detail.size) / max(contrast.item(), 1.0)
        brightness[k] = mean.item()
    return sharpness, brightness


def size(face: Face) -> float:
    """Return the longer side of the box in pixels."""
    x1, y1, x2, y2 = face.box
    return max(x2 - x1, y2 - y1)


def inside(face: Face, shape: Sequence[int]) -> float:
    """Return the share of the box inside an image of shape (H, W, ...), 0..1."""
    x1, y1, x2, y2 = face.box
    width, height = min(x2, shape[1]) - max(x1, 0.0), min(y2, shape[0]) - max(y1, 0.0)
    area = (x2 - x1) * (y2 - y1)
    return max(width, 0.0) * max(height, 0.0) / area if area > 0 else 0.0


def pose(landmarks: Sequence[tuple[float, float]]) -> tuple[float | None, float | None, float | None]:
    """Return yaw, pitch and roll in degrees from five landmarks, or None for each without them.

    An average head is fitted under weak perspective: within about ten degrees up to a yaw of 45.
    """
    if len(landmarks) != 5:
        return None, None, None
    points = np.array(landmarks)
    # rows: how x and y of the image follow from right, down and forward of the head
    (a, b, c), (d, e, f) = ((_FIT @ (points - points.mean(axis=0))).T).tolist()
    roll = math.atan2(d - b, a + e)
    cosine, sine = math.cos(roll), math.sin(roll)
    scale = max(math.hypot(a, b, c), math.hypot(d, e, f)) or 1.0
    forward_x, forward_y = (cosine * c + sine * f) / scale, (cosine * f - sine * c) / scale
    yaw, pitch = (math.degrees(math.asin(min(max(value, -1.0), 1.0))) for value in (forward_x, forward_y))
    return yaw, pitch, math.degrees(roll)


def weaknesses(quality: Quality) -> tuple[str, ...]:
    """Return what makes an answer unreliable: small, blurred, dark, bright, turned, cut off."""
    found = []
    if quality.size < MIN_SIZE:
        found.append("small")
    if quality.sharpness < MIN_SHARPNESS:
        found.append("blurred")
    if quality.brightness < BRIGHTNESS[0]:
        found.append("dark")
    if quality.brightness > BRIGHTNESS[1]:
        found.append("bright")
    if abs(quality.yaw or 0.0) > MAX_YAW or abs(quality.pitch or 0.0) > MAX_PITCH:
        found.append("turned")
    if quality.inside < MIN_INSIDE:
        found.append("cut off")
    return tuple(found)
