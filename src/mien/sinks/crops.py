"""Face crops as images."""

from __future__ import annotations

from typing import ClassVar

from mien.sinks.base import FolderSink, safe_name
from mien.types import Result


class Crops(FolderSink):
    """The 48x48 gray crops that the network saw, as `<stem>_<k>_<emotion>.png`, k from 0."""

    reads_pixels = False
    _options: ClassVar = {"what": "crops"}

    def write(self, result: Result) -> None:
        stem = self._stem(result.frame.name, result.frame.index)
        for k, (face, crop) in enumerate(zip(result.faces, result.crops, strict=False)):
            self._save(f"{stem}_{k}_{safe_name(face.emotion, 30) or 'face'}.png", crop)
