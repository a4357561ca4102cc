"""Results as annotated images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mien.sinks.base import FolderSink
from mien.types import Image, Result

_JPEG_SIDE = 65_500  # px, the encoder's limit


class Images(FolderSink):
    """Annotated images as `<stem>.jpg`, or `.png` if a side is too long for JPEG.

    Names are made unique, and end in `_mien` in the folder of the source images. `draw` turns a result into a uint8
    BGR image; usually `mien.draw.draw`.
    """

    def __init__(self, folder: str | Path, draw: Callable[[Result], Image]) -> None:
        super().__init__(folder)
        self._draw = draw

    def write(self, result: Result) -> None:
        image = self._draw(result)
        suffix = ".jpg" if max(image.shape[:2]) <= _JPEG_SIDE else ".png"
        self._save(self._stem(result.frame.name, result.frame.index) + suffix, image)
