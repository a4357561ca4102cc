"""Read a camera or network stream; only the newest frame is kept."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Protocol, Self

import cv2

from mien.errors import SourceError
from mien.media.video_reader import VideoReader
from mien.media.video_source import without_password
from mien.types import Failure, Frame

RETRIES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds to wait before each attempt to reopen a stream."""

_TIMEOUT = 5.0  # s, for a stream to open or to give a frame


class Capture(Protocol):
    """The part of cv2.VideoCapture that is used here."""

    def isOpened(self) -> bool:
        """Return whether it can be read."""
        ...

    def read(self) -> tuple[bool, Any]:
        """Wait for a frame: (True, the `pixels` of a Frame), or (False, anything) without one."""
        ...

    def release(self) -> None:
        """Close it."""
        ...


class Camera:
    """A camera or stream, read by a background thread that keeps only the newest frame.

        with Camera(0) as camera:
            for item in camera:
                ...

    Iterating gives Frames (uint8 BGR) and Failures. A frame's `index` counts the frames that the camera delivered, so
    gaps show skipped ones; its `time` is seconds since the start, by the clock. A stream that drops is reopened after
    each of `retries` seconds, until an attempt succeeds. Iteration ends after the last attempt, after a camera was
    unplugged (the last item is then the Failure), or when `close` is called.

    Attributes:
        name: the source without the password of its URL.
        kind: camera or stream.
        ended: no more frames will be read; `get` may still return the last items.
        skipped: frames that were replaced before they were read.
    """

    def __init__(
        self,
        source: int | str,
        retries: Sequence[float] | None = None,
        patience: float = 2.0,
        opener: Callable[[int | str], Capture] | None = None,
    ) -> None:
        """Open the source and wait for its first frame.

        Args:
            source: number of a camera (0 or "0"), "/dev/video0", or a URL (rtsp, http, ...).
            retries: seconds to wait before each attempt to reopen it; RETRIES for streams, none for cameras.
            patience: seconds without a frame after which the source counts as gone.
            opener: opens the source; cv2.VideoCapture by default.
        """
        self._source = _parse(source)
        self._is_camera = isinstance(self._source, int)
        self.kind = "camera" if self._is_camera else "stream"
        self.name = f"camera {source}" if self._is_camera else without_password(source)
        self._retries = tuple(RETRIES if retries is None and not self._is_camera else retries or ())
        self._patience = patience
        self._opener = opener or _open
        self.ended = False
        self.skipped = 0
        self._count = 0
        self._times: deque[float] = deque(maxlen=30)
        self._items: deque[Frame | Failure] = deque(maxlen=20)  # one Frame at most
        self._changed = threading.Condition()
        self._stop = threading.Event()
        capture = self._opener(self._source)
        self._start = monotonic()
        opened = capture.isOpened()
        if not opened or not self._first(capture):
            capture.release()
            raise SourceError(self._refusal(opened))
        self._thread = threading.Thread(target=self._run, args=(capture,), name=f"mien {self.name}", daemon=True)
        self._thread.start()

    @property
    def rate(self) -> float:
        """Frames a second, measured over the last 30; 0 before the second frame."""
        with self._changed:
            times = tuple(self._times)
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0

    def get(self, timeout: float | None = None) -> Frame | Failure | None:
        """Wait up to `timeout` seconds (None: for ever) for a new frame or a failure; None when there is none."""
        until = None if timeout is None else monotonic() + timeout
        with self._changed:
            while not self._items and not self.ended:
                left = 0.5 if until is None else min(0.5, until - monotonic())  # short, so that Ctrl-C is heard
                if left <= 0:
                    return None
                self._changed.wait(left)
            return self._items.popleft() if self._items else None

    def __iter__(self) -> Iterator[Frame | Failure]:
        while (item := self.get()) is not None:
            yield item

    def close(self) -> None:
        """Stop and wait for the thread: as long as one frame takes, for a stream 5 s at most.

        Any thread may call it, more than once.
        """
        self._stop.set()
        self._thread.join(2 * _TIMEOUT)  # a driver that hangs must not block the program
        with self._changed:
            self.ended = True
            self._items.clear()
            self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, capture: Capture) -> None:
        """Read in the thread; reopen the source when it is gone, as often as allowed."""
        try:
            while self._watch(capture):
                capture.release()
                again = self._reopen()
                if again is None:
                    break
                capture = again
        except Exception as error:  # of a driver; the thread must not end silently
            self._put_failure(Failure(self.name, f"{self.name}: stopped ({error}); start again", self._count))
        finally:
            capture.release()
            with self._changed:
                self.ended = True
                self._changed.notify_all()

    def _watch(self, capture: Capture) -> bool:
        """Pass frames on; return True when the source is gone, False when `close` was called."""
        last = monotonic()
        while not self._stop.is_set():
            done, image = capture.read()
            now = monotonic()
            if done:
                last = now
                self._put_frame(image, now)
            elif now - last >= self._patience:
                return True
            else:
                self._stop.wait(0.02)  # a packet lost on the way: the next may be whole
        return False

    def _reopen(self) -> Capture | None:
        """Reopen the source after each waiting time; None when all attempts failed or `close` was called."""
        for attempt, wait in enumerate(self._retries, start=1):
            what = "the stream has stopped" if attempt == 1 else "it does not answer"
            reason = f"{self.name}: {what}; attempt {attempt} of {len(self._retries)} to reopen it in {wait:g} s"
            self._put_failure(Failure(self.name, reason, self._count))
            if self._stop.wait(wait):
                return None
            capture = self._opener(self._source)
            with self._changed:
                self._times.clear()  # the pause must not count
            if capture.isOpened() and self._first(capture):
                return capture
            capture.release()
        cure = "check its cable and whether another program uses it" if self._is_camera else "check the network"
        self._put_failure(
            Failure(self.name, f"{self.name}: delivers no more frames; {cure}, then start again", self._count)
        )
        return None

    def _first(self, capture: Capture) -> bool:
        """Wait for the first frame: a camera that another program uses may open and deliver none."""
        until = monotonic() + self._patience
        while not self._stop.is_set():
            done, image = capture.read()
            if done:
                self._put_frame(image, monotonic())
                return True
            if monotonic() >= until:
                break
            self._stop.wait(0.02)
        return False

    def _put_frame(self, image: Any, now: float) -> None:
        frame = Frame(image, self._count, now - self._start, self.name)
        with self._changed:
            messages = [item for item in self._items if isinstance(item, Failure)]
            self.skipped += len(self._items) - len(messages)
            self._items.clear()
            self._items.extend([*messages, frame])
            self._times.append(now)
            self._count += 1
            self._changed.notify_all()

    def _put_failure(self, failure: Failure) -> None:
        with self._changed:
            self._items.append(failure)
            self._changed.notify_all()

    def _refusal(self, opened: bool) -> str:
        if not self._is_camera:
            return f"{self.name}: the stream does not answer; check the address, its user and password, and the network"
        if opened:
            return f"{self.name}: delivers no image; another program may use it: close it, or unplug the camera once"
        device = Path(f"/dev/video{self._source}")
        if device.exists() and not os.access(device, os.R_OK | os.W_OK):
            return f"{self.name}: no permission to read {device}; add your user to the group video and log in again"
        others = sorted(path.name[5:] for path in Path("/dev").glob("video*"))
        if sys.platform == "linux" and not others:
            return f"{self.name}: this machine has no camera; plug one in, or give a video file or the URL of a stream"
        known = f"there are: {', '.join(others)}" if others else "check that it is plugged in"
        return (
            f"{self.name}: cannot be opened; {known}; close other programs that use it, and allow this one to use the "
            "camera in the system's privacy settings"
        )


def _parse(source: int | str) -> int | str:
    """Return the number of a camera, or a URL."""
    text = str(source)
    if found := re.fullmatch(r"(?:/dev/video)?(\d+)", text):
        return int(found[1])
    if "://" not in text:
        raise SourceError(f"{text}: no camera number and no URL; for a file use mien video")
    return text


def _open(source: int | str) -> Capture:
    return _Stream(source) if isinstance(source, str) else open_camera(source)


def open_camera(number: int) -> cv2.VideoCapture:
    """Open a camera with OpenCV and silence OpenCV's log, unless OPENCV_LOG_LEVEL is set; it may not be open."""
    if "OPENCV_LOG_LEVEL" not in os.environ:
        set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # the first up to OpenCV 4.12
        set_level(0)
    return cv2.VideoCapture(number)


class _Stream:
    """A network stream as a Capture."""

    def __init__(self, url: str) -> None:
        self._reader: VideoReader | None = None
        self._frames: Iterator[Any] = iter(())
        with suppress(SourceError):
            self._reader = VideoReader(url, _TIMEOUT)
            self._frames = iter(self._reader)

    def isOpened(self) -> bool:
        return self._reader is not None

    def read(self) -> tuple[bool, Any]:
        with suppress(SourceError):
            frame = next(self._frames, None)
            return frame is not None, frame
        return False, None

    def release(self) -> None:
        if self._reader:
            self._reader.close()
            self._frames = iter(())
