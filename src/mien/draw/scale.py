"""Results at another size, for windows that are larger or smaller than the video."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from mien.types import Face, Image, Result


def fit_size(image: Image, room: tuple[int, int]) -> tuple[int, int]:
    """Return the greatest width and height with the image's aspect ratio that fit into the room, in pixels."""
    scale = min(room[0] / image.shape[1], room[1] / image.shape[0])
    return max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))


def resize(image: Image, size: tuple[int, int]) -> Image:
    """Return an image at another width and height; the same array when it has them."""
    if size == image.shape[1::-1]:
        return image
    interpolation = cv2.INTER_AREA if size[0] < image.shape[1] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8)


def transform(result: Result, size: tuple[int, int], mirror: bool = False) -> Result:
    """Return a result for drawing at another width and height, mirrored left to right on demand; without landmarks."""
    image = result.frame.image
    x_scale, y_scale = size[0] / image.shape[1], size[1] / image.shape[0]
    image = resize(image, size)

    def move(face: Face) -> Face:
        x1, x2 = face.box[0] * x_scale, face.box[2] * x_scale
        x1, x2 = (size[0] - x2, size[0] - x1) if mirror else (x1, x2)
        return replace(face, box=(x1, face.box[1] * y_scale, x2, face.box[3] * y_scale), landmarks=())

    if mirror:
        image = np.ascontiguousarray(image[:, ::-1])
    return replace(result, frame=replace(result.frame, pixels=image), faces=tuple(move(face) for face in result.faces))
