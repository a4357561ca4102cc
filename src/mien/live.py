"""A camera or network stream, of which only the newest frame counts."""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Protocol, Self

from mien import video
from mien.types import Failure, Frame, SourceError

RETRIES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds to wait before each attempt to open a stream again."""

_TIMEOUT = 5.0  # s, for a stream to open or to give a frame


class Capture(Protocol):
    """The part of cv2.VideoCapture that is used here."""

    def isOpened(self) -> bool:
        """Whether it can be read."""
        ...

    def read(self) -> tuple[bool, Any]:
        """Whether there was a frame, and the frame, uint8 BGR (H, W, 3); waits for it."""
        ...

    def release(self) -> None:
        """Close it."""
        ...


class Live:
    """A camera or stream, read by a thread of its own that keeps the newest frame alone: who is slow sees no old ones.

        with Live(0) as live:
            for item in live:
                ...

    Iterating gives Frames (uint8 BGR; `index` counts what the camera gave, so that gaps show what was passed over;
    `time` is seconds since the start, by the clock) and Failures, which say what goes wrong: a stream that drops is
    opened again after each of `retries` seconds, until one attempt succeeds. It ends after the last attempt, after a
    camera was unplugged (the last item is then the Failure), or when somebody calls `close`.

    Attributes:
        name: what is watched, without the password of its URL.
        ended: whether it has stopped; what it said last may still wait for `get`.
        skipped: frames that nobody asked for in time.
    """

    def __init__(
        self,
        source: int | str,
        retries: Sequence[float] | None = None,
        patience: float = 2.0,
        opener: Callable[[int | str], Capture] | None = None,
    ) -> None:
        """Open it and wait for its first frame.

        Args:
            source: number of a camera (0 or "0"), "/dev/video0", or a URL (rtsp, http, ...).
            retries: seconds to wait before each attempt to open it again; RETRIES for streams, none for cameras.
            patience: seconds without a frame after which it counts as gone.
            opener: what opens it, cv2.VideoCapture by default.

        Raises:
            SourceError: no such camera, busy, not allowed, or a stream that does not answer.
        """
        self._source = _parse(source)
        self._is_camera = isinstance(self._source, int)
        self.name = f"camera {source}" if self._is_camera else video.shown(source)
        self._retries = tuple(RETRIES if retries is None and not self._is_camera else retries or ())
        self._patience = patience
        self._opener = opener or _open
        self.ended = False
        self.skipped = 0
        self._count = 0
        self._times: deque[float] = deque(maxlen=30)
        self._news: deque[Frame | Failure] = deque(maxlen=20)  # at most one Frame; nobody reads very old messages
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
        """Frames a second that the source gives, measured over the last 30; 0 before the second."""
        with self._changed:
            times = tuple(self._times)
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0

    def get(self, timeout: float | None = None) -> Frame | Failure | None:
        """The newest frame not yet given, or a message.

        Args:
            timeout: seconds to wait for it; None waits as long as it takes.

        Returns:
            None when there was nothing in time, or when it has ended.
        """
        until = None if timeout is None else monotonic() + timeout
        with self._changed:
            while not self._news and not self.ended:
                left = 0.5 if until is None else min(0.5, until - monotonic())  # short, so that Ctrl-C is heard
                if left <= 0:
                    return None
                self._changed.wait(left)
            return self._news.popleft() if self._news else None

    def __iter__(self) -> Iterator[Frame | Failure]:
        while (item := self.get()) is not None:
            yield item

    def close(self) -> None:
        """Stop, and wait for the thread to let go of the camera: as long as one frame takes, for a stream 5 s at most.

        It may be called from any thread; calling it twice does no harm.
        """
        self._stop.set()
        self._thread.join(2 * _TIMEOUT)  # a thread in a driver that hangs must not hold up the program
        with self._changed:
            self.ended = True
            self._news.clear()
            self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, capture: Capture) -> None:
        """The thread: read until it is gone, then open it again, as often as allowed."""
        try:
            while self._watch(capture):
                capture.release()
                again = self._reopen()
                if again is None:
                    break
                capture = again
        except Exception as error:  # a driver's own, which must not end in a silent thread
            self._tell(Failure(self.name, f"{self.name}: stopped ({error}); start again", self._count))
        finally:
            capture.release()
            with self._changed:
                self.ended = True
                self._changed.notify_all()

    def _watch(self, capture: Capture) -> bool:
        """Pass on frames; True when the source is gone, False when `close` was called."""
        last = monotonic()
        while not self._stop.is_set():
            there, image = capture.read()
            now = monotonic()
            if there:
                last = now
                self._give(image, now)
            elif now - last >= self._patience:
                return True
            else:
                self._stop.wait(0.02)  # a packet lost on the way: the next may be whole
        return False

    def _reopen(self) -> Capture | None:
        """Open the source again after each waiting time; None when all attempts failed or `close` was called."""
        for attempt, wait in enumerate(self._retries, start=1):
            what = "the stream has stopped" if attempt == 1 else "it does not answer"
            reason = f"{self.name}: {what}; attempt {attempt} of {len(self._retries)} to open it again in {wait:g} s"
            self._tell(Failure(self.name, reason, self._count))
            if self._stop.wait(wait):
                return None
            capture = self._opener(self._source)
            with self._changed:
                self._times.clear()  # the pause is no part of its rate
            if capture.isOpened() and self._first(capture):
                return capture
            capture.release()
        cure = "check its cable, and whether another program took it" if self._is_camera else "check the network"
        self._tell(Failure(self.name, f"{self.name}: gives no frames any more; {cure}, then start again", self._count))
        return None

    def _first(self, capture: Capture) -> bool:
        """Wait for a frame: a camera that another program uses may open, and yet give none."""
        until = monotonic() + self._patience
        while not self._stop.is_set():
            there, image = capture.read()
            if there:
                self._give(image, monotonic())
                return True
            if monotonic() >= until:
                break
            self._stop.wait(0.02)
        return False

    def _give(self, image: Any, now: float) -> None:
        frame = Frame(image, self._count, now - self._start, self.name)
        with self._changed:
            messages = [item for item in self._news if isinstance(item, Failure)]
            self.skipped += len(self._news) - len(messages)
            self._news.clear()
            self._news.extend([*messages, frame])
            self._times.append(now)
            self._count += 1
            self._changed.notify_all()

    def _tell(self, failure: Failure) -> None:
        with self._changed:
            self._news.append(failure)
            self._changed.notify_all()

    def _refusal(self, opened: bool) -> str:
        if not self._is_camera:
            return f"{self.name}: the stream does not answer; check the address, its user and password, and the network"
        if opened:
            return (
                f"{self.name}: gives no picture; another program may be using it: close that, or unplug the camera once"
            )
        device = Path(f"/dev/video{self._source}")
        if device.exists() and not os.access(device, os.R_OK | os.W_OK):
            return f"{self.name}: no right to read {device}; add your user to the group video and log in again"
        others = sorted(each.name[5:] for each in Path("/dev").glob("video*"))
        known = f"there are: {', '.join(others)}" if others else "check that it is plugged in"
        return (
            f"{self.name}: cannot be opened; {known}; close other programs that use it and allow this one to use the "
            "camera in the system's privacy settings"
        )


def _parse(source: int | str) -> int | str:
    """The number of a camera, or a URL."""
    text = str(source)
    if found := re.fullmatch(r"(?:/dev/video)?(\d+)", text):
        return int(found[1])
    if "://" not in text:
        raise SourceError(f"{text}: no camera number and no URL; a file is read by sources.Video or mien video")
    return text


def _open(source: int | str) -> Capture:
    return video.capture(source, _TIMEOUT)
