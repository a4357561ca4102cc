"""Results as annotated images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from mien.draw import draw
from mien.media.output_paths import Output, OutputFolder
from mien.sinks.base import FileSink, FolderSink, encode
from mien.types import Failure, Image, Result

_JPEG_SIDE = 65_500  # px, the encoder's limit


class Images(FolderSink):
    """Annotated images as `<stem>.jpg`, or `.png` if a side is too long for JPEG.

    Names are made unique, and end in `_mien` in the folder of the source images. `draw` turns a result into a uint8
    BGR image.
    """

    _options: ClassVar = {"what": "annotated images"}

    def __init__(self, folder: str | Path | OutputFolder, draw: Callable[[Result], Image] = draw) -> None:
        super().__init__(folder)
        self._draw = draw

    def write(self, result: Result) -> None:
        image = self._draw(result)
        suffix = ".jpg" if max(image.shape[:2]) <= _JPEG_SIDE else ".png"
        self._save(self._stem(result.frame.name, result.frame.index) + suffix, image)


class AnnotatedImage(FileSink):
    """One annotated image, as a file of this name; without a result there is no file."""

    _options: ClassVar = {"what": "an annotated image", "suffixes": (".jpg", ".jpeg", ".png", ".webp")}

    def __init__(self, path: str | Path | Output, draw: Callable[[Result], Image] = draw) -> None:
        super().__init__(path)
        self._draw = draw
        self._data = b""

    def write(self, result: Result) -> None:
        self._data = encode(self.path, self._draw(result))

    def fail(self, failure: Failure) -> None:
        """Write nothing."""

    def _finish(self) -> None:
        if self._data:
            self.file.write(self._data)
        else:
            self.file.discard()
