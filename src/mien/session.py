"""A live view: newest frame -> faces -> window, recording and sinks; and what the keys do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from time import monotonic, sleep
from typing import Protocol

import cv2

from mien import live, sinks, sources
from mien.detect import DETECTORS
from mien.draw import Overlay, Status
from mien.pipeline import Pipeline, Stream
from mien.run import give, read
from mien.types import Error, Failure, Frame, Image, Result, Sink, SourceError

HELP = (
    "space  pause",
    "r  record a video",
    "s  save a picture",
    "d  next detector",
    "c  show what the network sees",
    "h  this help",
    "q, Esc  quit",
)

_TURN = 0.03  # s, for which a window waits for a frame before it looks at its keys again
_NEWS = 4.0  # s, for which a message is shown
_BREAK = 1.0  # s, of lateness with which a file goes on where it stopped


class Source(Protocol):
    """Live or Paced."""

    name: str
    ended: bool

    @property
    def rate(self) -> float:
        """Frames a second that it gives."""
        ...

    def get(self, timeout: float | None = None) -> Frame | Failure | None:
        """The newest frame or a message; None when there is none within `timeout` seconds."""
        ...


class View(Protocol):
    """What a session needs of a window."""

    def show(self, image: Image, lines: Sequence[str] = ()) -> None:
        """Show a picture, uint8 BGR (H, W, 3), and lines of text on it."""
        ...

    def keys(self) -> list[str]:
        """Names of the keys pressed since the last call, as "q", "space" or "escape"."""
        ...


class Paced:
    """The frames of a file at the speed of their times; who is slow gets the newest one, as from `live.Live`.

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
            items: frames in the order of their times, and failures; a `sources.Video` for instance.
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


def source(text: str) -> live.Live | Paced:
    """What a user means: the number of a camera, "/dev/video0", the URL of a stream, or a video file.

    Raises:
        SourceError: it cannot be opened.
    """
    if text.isdecimal() or text.startswith("/dev/video"):
        return live.Live(text)
    if "://" in text and Path(text).suffix.lower() not in sources.VIDEOS:
        return live.Live(text)
    video = sources.Video(text)
    return Paced(read(video), video.name, video.fps)


class Session:
    """Looks at a live source until it ends or somebody stops it.

    Attributes:
        stream: what looks at the frames; the key d changes its detector.
        status: what the window tells about itself.
        result: the newest result, or None.
        lost: whether the source's last word was a failure.
    """

    def __init__(
        self,
        source: Source,
        stream: Stream,
        outputs: Sequence[Sink] = (),
        view: View | None = None,
        folder: Path = Path(),
        tell: Callable[[str], None] | None = None,
        report: Callable[[Result, Status], None] | None = None,
    ) -> None:
        """Nothing is read yet.

        Args:
            source: what to look at; it stays open.
            stream: what looks at the frames.
            outputs: sinks for every result and failure; they stay open.
            view: a window, or None.
            folder: where recordings and pictures go.
            tell: called with each message to the user.
            report: called with the newest result once a second of the source's time.
        """
        self.stream = stream
        self.result: Result | None = None
        self.lost = False
        self._source, self._outputs, self._view, self._folder = source, outputs, view, folder
        self._tell, self._report = tell, report
        self._overlay = Overlay()
        self._inset = self._paused = self._help = self._stopped = False
        self._recorder: sinks.Video | None = None
        self._times: deque[float] = deque(maxlen=30)
        self._reported = float("-inf")
        self._news: tuple[float, str] = (0.0, "h  help" if view else "")

    @property
    def status(self) -> Status:
        """What the line at the lower left tells."""
        times = self._times
        rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else None
        return Status(
            self._source.rate or None,
            rate,
            self._recorder is not None,
            self._paused,
            self.stream.pipeline.detector.name,
        )

    def run(self) -> None:
        """Go on until the source ends, q is pressed or `stop` is called; then a recording is finished.

        Raises:
            SourceError: a sink cannot be written.
        """
        self._news = (monotonic() + _NEWS, self._news[1])
        try:
            while self.step():
                pass
        finally:
            self._end_recording()

    def stop(self) -> None:
        """End `run` soon; from any thread or signal handler."""
        self._stopped = True

    def step(self) -> bool:
        """One turn: keys, the newest frame, the window. False at the end."""
        for key in self._view.keys() if self._view else ():
            self.press(key)
        if self._stopped:
            return False
        if self._paused:
            sleep(_TURN)
        else:
            item = self._source.get(_TURN if self._view else 0.5)
            if item is None and self._source.ended:
                return False
            if item is not None:
                self._take(item)
        if self._view and self.result:
            lines = (*(HELP if self._help else ()), *([self._news[1]] if monotonic() < self._news[0] else ()))
            self._view.show(self._overlay(self.result, self.status), [line for line in lines if line])
        return True

    def press(self, key: str) -> None:
        """Do what a key stands for; others do nothing."""
        if key in ("q", "escape"):
            self.stop()
        elif key == "space":
            self._paused = not self._paused
            self._times.clear()  # a pause says nothing about the speed
        elif key == "r":
            self._end_recording() if self._recorder else self._begin_recording()
        elif key == "s" and self.result:
            self._save_picture(self.result)
        elif key == "d":
            self._next_detector()
        elif key == "c":
            self._inset = not self._inset
            self._overlay = Overlay(self._inset)
        elif key == "h":
            self._help = not self._help

    def _take(self, item: Frame | Failure) -> None:
        self.lost = isinstance(item, Failure)
        if isinstance(item, Failure):
            self._say(item.reason)
            give(item, self._outputs)
            return
        self.result = result = self.stream.process(item)
        self._times.append(monotonic())
        give(result, self._outputs)
        if self._recorder:
            try:
                self._recorder.write(result)
            except SourceError as error:  # a full disk ends the recording, not the view
                self._recorder = None
                self._say(str(error))
        if self._report and not 0 <= result.frame.time - self._reported < 1:
            self._reported = result.frame.time
            self._report(result, self.status)

    def _begin_recording(self) -> None:
        try:
            self._recorder = sinks.Video(self._free(".mp4"), Overlay(), self._source.rate or 30.0)
        except Error as error:
            self._say(str(error))

    def _end_recording(self) -> None:
        recorder, self._recorder = self._recorder, None
        if recorder:
            try:
                recorder.close()
                self._say(f"recorded {recorder.path}" if recorder.path.exists() else "nothing was recorded")
            except SourceError as error:
                self._say(str(error))

    def _save_picture(self, result: Result) -> None:
        path = self._free(".png")
        part = path.with_name(path.name + ".part")
        try:
            part.write_bytes(cv2.imencode(".png", Overlay(self._inset)(result))[1].tobytes())
            part.replace(path)
            self._say(f"saved {path}")
        except OSError as error:
            self._say(f"{path}: cannot be written ({error.strerror}); start mien in a folder of yours")

    def _next_detector(self) -> None:
        old = self.stream.pipeline
        known = list(DETECTORS)
        at = known.index(old.detector.name) if old.detector.name in known else -1
        for name in known[at + 1 :] + known[: at + 1]:
            try:
                new = Pipeline(name, old.classifier, old.margin, old.align)
            except Error as error:  # one that this OpenCV lacks
                self._say(str(error))
                continue
            self.stream = Stream(new, self.stream.tracker, self.stream.every, self.stream.whole)
            self._times.clear()
            return

    def _free(self, suffix: str) -> Path:
        """A new name with the date in the folder."""
        stem = f"mien-{datetime.now():%Y%m%d-%H%M%S}"
        wanted = (self._folder / f"{stem}{more}{suffix}" for more in chain([""], (f"-{k}" for k in count(2))))
        return next(path for path in wanted if not path.exists())

    def _say(self, message: str) -> None:
        self._news = (monotonic() + _NEWS, message)
        if self._tell:
            self._tell(message)
