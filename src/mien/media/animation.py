"""Animated images that libav cannot decode: WebP, by Pillow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import av
import numpy as np
from numpy.typing import NDArray

_SHORTEST = 0.011  # s; browsers show frames that ask for less for _INSTEAD
_INSTEAD = 0.1  # s


def read_animation(file: IO[bytes], most_pixels: int) -> Iterator[tuple[av.VideoFrame, float, int]]:
    """Read the frames of an animated image, transparency laid over white.

    Args:
        file: the image, open for reading.
        most_pixels: a larger one is refused before memory is taken.

    Yields:
        A picture in BGR, its time in seconds and the number of all frames.

    Raises:
        OSError, ValueError: damaged, cut short or too large.
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
    """Lay uint8 BGRA pixels (H, W, 4) over white: a picture in BGR."""
    alpha = pixels[:, :, 3:].astype(np.uint16)
    solid = (pixels[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(solid, np.uint8), "bgr24")
