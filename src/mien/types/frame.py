"""Frame: one image on its way; Failure: one that could not be read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np

from mien.errors import ConfigError
from mien.types.protocols import Image, Pixels


@dataclass(frozen=True, eq=False, repr=False)
class Frame:
    """One image on its way through the pipeline.

    Frames are equal when their pixels and all else are. The hash leaves the pixels out.

    Attributes:
        pixels: uint8 BGR (H, W, 3), or the frame of a video or a large JPEG, which is converted on demand.
        index: number in its source, from 0.
        time: seconds from the start of the source; 0 for a still image.
        name: path or another name for display.
    """

    pixels: Image | Pixels
    index: int = 0
    time: float = 0.0
    name: str = ""

    @property
    def image(self) -> Image:
        """The whole frame, uint8 BGR (H, W, 3); copy it before drawing."""
        return self.pixels if isinstance(self.pixels, np.ndarray) else self.pixels.bgr()

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W, 3)."""
        return self.pixels.shape

    @property
    def nbytes(self) -> int:
        """Bytes that the pixels hold in memory."""
        return self.pixels.nbytes

    def without_pixels(self) -> Frame:
        """Return the frame with nothing but the size of its pixels, to save memory."""
        height, width = self.shape[:2]
        return replace(self, pixels=NoPixels((height, width, 3)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frame):
            return NotImplemented
        if (self.name, self.index, self.time) != (other.name, other.index, other.time):
            return False
        return self.pixels is other.pixels or bool(np.array_equal(self.image, other.image))

    def __hash__(self) -> int:
        return hash((self.name, self.index, self.time))

    def __reduce__(self) -> tuple[type[Frame], tuple[Image, int, float, str]]:
        return Frame, (self.image, self.index, self.time, self.name)  # a decoder's planes cannot be pickled

    def __repr__(self) -> str:
        return f"Frame({self.name!r}, {self.shape[1]} x {self.shape[0]}, index={self.index}, time={self.time:g})"


@dataclass(frozen=True, slots=True)
class NoPixels:
    """The size of pixels that were not kept; asking for them is a ConfigError."""

    shape: tuple[int, int, int]

    @property
    def nbytes(self) -> int:
        return 0

    def bgr(self) -> NoReturn:
        raise ConfigError("the pixels of this frame were not kept; a sink that needs them sets `reads_pixels = True`")

    def small(self, width: int, height: int) -> NoReturn:
        self.bgr()

    def gray(self, box: tuple[int, int, int, int] | None = None, halvings: int = 0) -> NoReturn:
        self.bgr()

    def thumbnail(self, width: int, height: int) -> NoReturn:
        self.bgr()


@dataclass(frozen=True)
class Failure:
    """An item of a source that could not be read; the others go on.

    Attributes:
        name: path of the item.
        reason: what was wrong and what to do.
        index: number in its source, from 0.
    """

    name: str
    reason: str
    index: int = 0
