"""RealTimePlayback: a video file at its own speed; open_source: the live source that a user names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from time import monotonic, sleep

from mien.media import camera, paths
from mien.media.video import Video
from mien.types import Failure, Frame

_MAX_DELAY = 1.0  # seconds; a longer delay, such as a pause, shifts the clock instead of skipping frames


class RealTimePlayback:
    """Plays the frames of a file at their times; a slow reader gets the newest one, as from `camera.Camera`.

    Attributes:
        rate: nominal frames a second.
        ended: whether all frames were read.
        skipped: number of frames that were not read in time.
    """

    def __init__(self, items: Iterable[Frame | Failure], name: str, rate: float) -> None:
        """Prepare frames and failures in the order of their times; the clock starts with the first frame."""
        self.name, self.rate, self.kind = name, rate, "file"
        self.ended = False
        self.skipped = 0
        self._items = iter(items)
        self._next: Frame | Failure | None = None
        self._start: float | None = None  # clock time of the file's time 0

    def get(self, timeout: float | None = None) -> Frame | Failure | None:
        """Return the newest due frame or a failure; None at the end, or when none is due within `timeout` seconds."""
        deadline = None if timeout is None else monotonic() + timeout
        newest: Frame | None = None
        while True:
            item = self._peek()
            wait = self._seconds_until(item) if isinstance(item, Frame) else 0.0
            if newest and (wait > 0 or not isinstance(item, Frame)):
                return newest
            if item is None:
                return None
            if wait and deadline is not None and monotonic() + wait > deadline:
                sleep(max(0.0, deadline - monotonic()))
                return None
            sleep(wait)
            self._next = None
            if isinstance(item, Failure):
                return item
            self.skipped += newest is not None
            newest = item

    def close(self) -> None:
        """Release the file; calling it twice does no harm."""
        self._items, self._next, self.ended = iter(()), None, True

    def _peek(self) -> Frame | Failure | None:
        if self._next is None:
            self._next = next(self._items, None)
            self.ended = self._next is None
        return self._next

    def _seconds_until(self, frame: Frame) -> float:
        now = monotonic()
        if self._start is None or now - self._start - frame.time > _MAX_DELAY:
            self._start = now - frame.time
        return max(0.0, self._start + frame.time - now)


def open_source(text: str) -> camera.Camera | RealTimePlayback:
    """Open a camera by number or as "/dev/video0", a stream by URL, or a video file."""
    is_stream = "://" in text and Path(text).suffix.lower() not in paths.VIDEO_SUFFIXES
    if text.isdecimal() or text.startswith("/dev/video") or is_stream:
        return camera.Camera(text)
    video = Video(text)
    return RealTimePlayback(video, video.name, video.rate)
