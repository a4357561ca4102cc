"""Animated images: detection, and WebP, which libav cannot decode."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

import av
import numpy as np
from numpy.typing import NDArray

_SUFFIXES = (".gif", ".png", ".apng", ".webp")
_SHORTEST = 0.011  # seconds; browsers show shorter frames for _INSTEAD
_INSTEAD = 0.1  # seconds


def is_animated(path: Path) -> bool:
    """Return whether an image file (.gif, .png, .apng or .webp) holds several frames."""
    if path.suffix.lower() not in _SUFFIXES:
        return False
    from PIL import Image

    try:
        with Image.open(path) as image:
            return getattr(image, "n_frames", 1) > 1
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return False


def read_animation(file: IO[bytes], most_pixels: int) -> Iterator[tuple[av.VideoFrame, float, int]]:
    """Yield a BGR picture on white, its time in seconds and the number of all frames, for each frame.

    An image of more than `most_pixels` raises a ValueError before memory is taken.
    """
    from PIL import Image

    try:
        image = Image.open(file)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(str(error)) from error
    with image:
        if image.width * image.height > most_pixels:
            raise ValueError(f"{image.width} x {image.height} pixels is more than the limit of {most_pixels}")
        count, time = getattr(image, "n_frames", 1), 0.0
        for k in range(count):
            image.seek(k)
            yield over_white(np.asarray(image.convert("RGBA"))[:, :, [2, 1, 0, 3]]), time, count
            length = float(image.info.get("duration", 0)) / 1000
            time += length if length >= _SHORTEST else _INSTEAD


def over_white(pixels: NDArray[np.uint8]) -> av.VideoFrame:
    """Return uint8 BGRA pixels (H, W, 4) on white, as a BGR picture."""
    alpha = pixels[:, :, 3:].astype(np.uint16)
    solid = (pixels[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(solid, np.uint8), "bgr24")
