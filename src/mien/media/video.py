"""Videos for the pipeline: frames and failures of a file, a URL or numbered images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mien.errors import SourceError
from mien.media.animation import is_animated
from mien.media.paths import numbered_images
from mien.media.readers import read_images
from mien.media.video_reader import VideoReader
from mien.media.video_source import without_password
from mien.types import Failure, Frame


class Video:
    """Iterates over a Frame for each frame and a Failure where frames are missing; nothing is raised.

    Failures stand after a damaged stretch, for an image that cannot be read, and at the end of a file that is cut short
    or a connection that breaks off. It may be iterated again. `close` ends an iteration, also from another thread.

    Attributes:
        name: the source, without the password of a URL.
        rate: nominal frames a second; the mean of a variable rate.
        frame_count: about how many frames there are, or None if unknown.
        start: time of the first frame by the container's clock, in seconds.
        has_sound: whether there is an audio stream.
    """

    def __init__(self, source: str | Path, rate: float = 25.0, timeout: float = 10.0) -> None:
        """Open the source; raise a SourceError if it has no frames.

        Args:
            source: a video file or its URL, an animated GIF, PNG or WebP, or images: a folder, a glob or a pattern such
                as `frames/%04d.png`, in the order of the numbers in their names.
            rate: frames a second of images; a file has its own.
            timeout: seconds to wait for a server.
        """
        self.name = without_password(source)
        self._images = [] if "://" in str(source) else numbered_images(source)
        if self._images == [Path(source)] and is_animated(self._images[0]):
            self._images = []
        self._reader = None if self._images else VideoReader(source, timeout)
        self.rate = self._reader.rate if self._reader else rate
        self.frame_count = self._reader.frame_count if self._reader else len(self._images)
        self.start = self._reader.start if self._reader else 0.0
        self.has_sound = self._reader is not None and self._reader.has_sound

    def __iter__(self) -> Iterator[Frame | Failure]:
        if self._reader is None:
            for item in read_images(self._images):
                yield replace(item, time=item.index / self.rate) if isinstance(item, Frame) else item
            return
        index = 0
        try:
            for frame in self._reader:
                if frame.gap:
                    yield Failure(self.name, frame.gap, frame.index)
                yield Frame(frame, frame.index, frame.time, self.name)
                index = frame.index + 1
                del frame  # else one more stays in memory
        except SourceError as error:
            yield Failure(self.name, str(error), index)

    def close(self) -> None:
        """End an iteration at its next frame, without waiting for a server; calling it twice does no harm."""
        if self._reader:
            self._reader.close()
