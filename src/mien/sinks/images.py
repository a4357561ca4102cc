"""Results as annotated images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mien.sinks.base import FolderSink
from mien.types import Image, Result

_JPEG_SIDE = 65_500  # px, the most that a JPEG encoder takes


class Images(FolderSink):
    """Drawn pictures as `<stem>.jpg`, or `.png` where a side is too long for JPEG; named apart when stems collide.

    Args:
        folder: made when it does not exist. In the folder of the pictures themselves the names end in `_mien`.
        draw: turns a result into a uint8 BGR picture; usually `mien.draw.draw`.

    Raises:
        SourceError: the folder cannot be written.
    """

    def __init__(self, folder: str | Path, draw: Callable[[Result], Image]) -> None:
        super().__init__(folder)
        self._draw = draw

    def write(self, result: Result) -> None:
        """Draw and save one picture."""
        image = self._draw(result)
        suffix = ".jpg" if max(image.shape[:2]) <= _JPEG_SIDE else ".png"
        self._save(self._stem(result.frame.name, result.frame.index) + suffix, image)
