"""Files at the speed of their times, and what a user means by a live source."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from time import monotonic, sleep

from mien.media import camera, paths
from mien.media.video import Video
from mien.types import Failure, Frame

_BREAK = 1.0  # s, of lateness with which a file goes on where it stopped


class RealTimePlayback:
    """The frames of a file at the speed of their times; who is slow gets the newest one, as from `camera.Camera`.

    After a break of more than a second, as in a pause, it goes on where it stopped.

    Attributes:
        name: the file.
        rate: its frames a second.
        ended: whether nothing more will come.
        skipped: frames that nobody asked for in time.
    """

    def __init__(self, items: Iterable[Frame | Failure], name: str, rate: float) -> None:
        """Open nothing yet; the clock starts with the first frame.

        Args:
            items: frames in the order of their times, and failures; such as a `media.video.Video`.
            name: what to call it.
            rate: frames a second, nominally.
        """
        self.name, self.rate = name, rate
        self.ended = False
        self.skipped = 0
        self._items = iter(items)
        self._next: Frame | Failure | None = None
        self._start: float | None = None  # when the time 0 of the file was, by the clock

    def get(self, timeout: float | None = None) -> Frame | Failure | None:
        """The newest frame that is due and was not given yet, or a failure.

        Args:
            timeout: seconds to wait for it; None waits as long as it takes.

        Returns:
            None when there was nothing in time, or when it has ended.
        """
        until = None if timeout is None else monotonic() + timeout
        found: Frame | None = None
        while True:
            item = self._peek()
            wait = 0.0 if item is None or isinstance(item, Failure) else self._wait(item)
            if found and (wait > 0 or not isinstance(item, Frame)):
                return found
            if item is None:
                return None
            if wait and until is not None and monotonic() + wait > until:
                sleep(max(0.0, until - monotonic()))
                return None
            sleep(wait)
            self._next = None
            if isinstance(item, Failure):
                return item
            self.skipped += found is not None
            found = item

    def close(self) -> None:
        """Let go of the file; calling it twice does no harm."""
        self._items, self._next, self.ended = iter(()), None, True

    def _peek(self) -> Frame | Failure | None:
        if self._next is None:
            self._next = next(self._items, None)
            self.ended = self._next is None
        return self._next

    def _wait(self, frame: Frame) -> float:
        """Seconds until a frame is due."""
        now = monotonic()
        if self._start is None or now - self._start - frame.time > _BREAK:
            self._start = now - frame.time
        return max(0.0, self._start + frame.time - now)


def open_source(text: str) -> camera.Camera | RealTimePlayback:
    """What a user means: the number of a camera, "/dev/video0", the URL of a stream, or a video file.

    Raises:
        SourceError: it cannot be opened.
    """
    if text.isdecimal() or text.startswith("/dev/video"):
        return camera.Camera(text)
    if "://" in text and Path(text).suffix.lower() not in paths.VIDEO_SUFFIXES:
        return camera.Camera(text)
    video = Video(text)
    return RealTimePlayback(video, video.name, video.rate)
