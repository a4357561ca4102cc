"""Viewer: newest frame -> faces -> window, recording and sinks, controlled by keys."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from time import monotonic, sleep
from typing import get_args

import cv2
import numpy as np

from mien import sinks
from mien.draw import Overlay, Status, Style
from mien.draw.scale import fit_size, transform
from mien.errors import Error, OutputError
from mien.faces.detectors import DETECTORS, load_detector
from mien.faces.tracker import Tracker
from mien.live.strip import Strip
from mien.media import atomic
from mien.media.drafts import draft_path
from mien.pipeline import Pipeline
from mien.sinks import MultiSink
from mien.types import Detector, Failure, Frame, FrameSource, Image, Result, Sink, View
from mien.video_pipeline import VideoPipeline

HELP = (
    "space  pause",
    "r  record a video",
    "s  save an image",
    "f  full screen",
    "m  mirror the image",
    "t  strip of the last 30 seconds",
    "o  panels, labels or names only",
    "+ -  smoother, quicker",
    "1 ... 9  camera 0 ... 8",
    "d  next detector",
    "c  show what the network sees",
    "h  this help",
    "q, Esc  quit",
)

_TURN = 0.03  # seconds that a window waits for a frame before it reads the keys again
_MESSAGE = 4.0  # seconds that a message is shown
_SMOOTHING = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0)  # half-lives in seconds, for the keys + and -
_STRIP_ROW = 28  # height in pixels of a person's row in the strip, in a window 720 pixels high


class Viewer:
    """Shows and records a live source until it ends or `stop` is called.

    Attributes:
        stream: the video pipeline; the key d replaces it by one with the next detector.
        result: the newest result, or None.
        lost: whether the last item of the source was a failure.
    """

    def __init__(
        self,
        source: FrameSource,
        stream: VideoPipeline,
        outputs: Sequence[Sink] = (),
        view: View | None = None,
        folder: Path = Path(),
        on_message: Callable[[str], None] | None = None,
        report: Callable[[Result, Status], None] | None = None,
        mirror: bool = False,
        style: Style = "panels",
        open_camera: Callable[[str], FrameSource] | None = None,
        load_detector: Callable[[str], Detector] = load_detector,
    ) -> None:
        """Prepare the view; source, sinks and window stay open.

        Args:
            source: camera or file.
            stream: turns frames into results.
            outputs: sinks for every result and failure.
            view: window, or None.
            folder: folder for recordings and saved images.
            on_message: called with each message to the user.
            report: called with the newest result once a second of the source's time.
            mirror: mirror the image in the window, as in a mirror on the wall. Outputs are not mirrored.
            style: style of the overlay.
            open_camera: opens the camera of a number, for the keys 1 to 9. The viewer closes what it opens.
            load_detector: loads the detector of a name, for the key d.
        """
        self.stream = stream
        self.result: Result | None = None
        self.lost = False
        self._source, self._outputs, self._view, self._folder = source, MultiSink(outputs), view, folder
        self._on_message, self._report = on_message, report
        self._mirror, self._style, self._open_camera = mirror, style, open_camera
        self._load_detector = load_detector
        self._own_source: FrameSource | None = None  # a camera that a key opened
        self._overlay = Overlay(style=style)
        self._strip = Strip()
        self._inset = self._paused = self._help = self._stopped = self._strip_shown = False
        self._recorder: sinks.Video | None = None
        self._recording_since = 0.0
        self._times: deque[float] = deque(maxlen=30)
        self._reported = float("-inf")
        self._message: tuple[float, str] = (0.0, "h  help" if view else "")  # shown until, text

    @property
    def status(self) -> Status:
        """Content of the status line."""
        times = self._times
        seconds = times[-1] - times[0] if times else 0.0
        return Status(
            source_fps=self._source.rate or None,
            inference_fps=(len(times) - 1) / seconds if seconds else None,
            recording=monotonic() - self._recording_since if self._recorder else None,
            paused=self._paused,
            dropped=self._source.skipped,
            detector=self.stream.pipeline.detector.name,
            kind=self._source.kind,
            source=Path(self._source.name).name if self._source.kind == "file" else self._source.name,
        )

    def run(self) -> None:
        """Run until the source ends, q is pressed or `stop` is called; then finish a recording."""
        self._message = (monotonic() + _MESSAGE, self._message[1])
        try:
            while self.step():
                pass
        finally:
            self._end_recording()
            self._close_own_source()

    def stop(self) -> None:
        """End `run` soon; callable from any thread or signal handler."""
        self._stopped = True

    def step(self) -> bool:
        """Handle keys, process the newest frame and update the window; return False at the end."""
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
                self._process(item)
        if self._view and self.result is not None:
            lines = list(HELP) if self._help else []
            if monotonic() < self._message[0] and self._message[1]:
                lines.append(self._message[1])
            self._view.show(self._paint(self.result, self._view.size), lines)
        return True

    def _paint(self, result: Result, room: tuple[int, int] | None) -> Image:
        """Return the content of the window: image, overlay and strip, drawn at the window's resolution."""
        image = result.frame.image
        room = room or (image.shape[1], image.shape[0])
        row = max(16, round(_STRIP_ROW * room[1] / 720)) if self._strip_shown else 0
        strip = self._strip.draw(room[0], row) if row else None
        size = fit_size(image, (room[0], max(room[1] - (0 if strip is None else len(strip)), 1)))
        drawn = self._overlay(transform(result, size, self._mirror), self.status)
        if strip is None:
            return drawn
        canvas = np.zeros((room[1], room[0], 3), np.uint8)
        top, left = (room[1] - len(strip) - size[1]) // 2, (room[0] - size[0]) // 2
        canvas[top : top + size[1], left : left + size[0]] = drawn
        canvas[room[1] - len(strip) :] = strip
        return canvas

    def press(self, key: str) -> None:
        """Handle a key; unknown keys are ignored."""
        if key in ("q", "escape"):
            self.stop()
        elif key == "space":
            self._paused = not self._paused
            self._times.clear()  # a pause must not lower the measured rate
        elif key == "r":
            self._end_recording() if self._recorder else self._begin_recording()
        elif key == "s" and self.result is not None:
            self._save_image(self.result)
        elif key == "d":
            self._next_detector()
        elif key == "c":
            self._inset = not self._inset
            self._overlay = Overlay(self._inset, self._style)
        elif key == "o":
            styles = get_args(Style)
            self._style = styles[(styles.index(self._style) + 1) % len(styles)]
            self._overlay = Overlay(self._inset, self._style)
        elif key == "f" and self._view:
            self._view.toggle_full_screen()
        elif key == "m":
            self._mirror = not self._mirror
        elif key == "t":
            self._strip_shown = not self._strip_shown
        elif key in ("+", "-"):
            self._change_smoothing(key == "+")
        elif key in tuple("123456789"):
            self._switch_camera(int(key) - 1)
        elif key == "h":
            self._help = not self._help

    def _change_smoothing(self, more: bool) -> None:
        tracker = self.stream.tracker
        steps = [step for step in _SMOOTHING if (step > tracker.smoothing if more else step < tracker.smoothing)]
        if steps:
            tracker.smoothing = steps[0] if more else steps[-1]
        self._show_message(f"smoothing {tracker.smoothing:g} s")

    def _switch_camera(self, number: int) -> None:
        if not self._open_camera or self._source.kind == "file" or self._source.name == f"camera {number}":
            return
        try:
            source = self._open_camera(str(number))
        except Error as error:
            self._show_message(str(error))
            return
        self._source.close()
        self._source = self._own_source = source
        self._strip = Strip()
        old = self.stream
        tracker = Tracker(old.tracker.smoothing, old.tracker.max_age, old.tracker.margin, old.tracker.hysteresis)
        self.stream = VideoPipeline(old.pipeline, tracker, old.detect_every, old.redetect_every)
        self._times.clear()
        self._show_message(source.name)

    def _close_own_source(self) -> None:
        source, self._own_source = self._own_source, None
        if source is not None:
            source.close()

    def _process(self, item: Frame | Failure) -> None:
        self.lost = isinstance(item, Failure)
        if isinstance(item, Failure):
            self._show_message(item.reason)
            self._outputs.put(item)
            return
        self.result = result = self.stream.process(item)
        self._times.append(monotonic())
        self._strip.add(result)
        self._outputs.put(result)
        if self._recorder:
            try:
                self._recorder.write(result)
            except OutputError as error:  # a full disk ends the recording, not the view
                with suppress(OutputError):
                    self._recorder.abandon()
                self._recorder = None
                self._show_message(str(error))
        if self._report and not 0 <= result.frame.time - self._reported < 1:
            self._reported = result.frame.time
            self._report(result, self.status)

    def _begin_recording(self) -> None:
        try:
            overlay = Overlay(style=self._style)
            self._recorder = sinks.Video(self._free_path(".mp4"), overlay, self._source.rate or 30.0)
            self._recording_since = monotonic()
        except Error as error:
            self._show_message(str(error))

    def _end_recording(self) -> None:
        recorder, self._recorder = self._recorder, None
        if recorder:
            try:
                recorder.close()
                self._show_message(f"recorded {recorder.path}" if recorder.path.exists() else "nothing was recorded")
            except OutputError as error:
                self._show_message(str(error))

    def _save_image(self, result: Result) -> None:
        path = self._free_path(".png")
        try:
            atomic.write_bytes(path, cv2.imencode(".png", Overlay(self._inset, self._style)(result))[1].tobytes())
            self._show_message(f"saved {path}")
        except OutputError as error:
            self._show_message(str(error))

    def _next_detector(self) -> None:
        old = self.stream.pipeline
        names = list(DETECTORS)
        at = names.index(old.detector.name) if old.detector.name in names else -1
        for name in names[at + 1 :] + names[: at + 1]:
            try:
                new = Pipeline(self._load_detector(name), old.classifier, old.margin, old.align)
            except Error as error:  # a detector that this OpenCV lacks
                self._show_message(str(error))
                continue
            self.stream = VideoPipeline(new, self.stream.tracker, self.stream.detect_every, self.stream.redetect_every)
            self._times.clear()
            return

    def _free_path(self, suffix: str) -> Path:
        """Return an unused path in the folder, named by the date."""
        stem = f"mien-{datetime.now():%Y%m%d-%H%M%S}"
        candidates = (self._folder / f"{stem}{end}{suffix}" for end in chain([""], (f"-{k}" for k in count(2))))
        return next(path for path in candidates if not (path.exists() or draft_path(path, ".mp4").exists()))

    def _show_message(self, message: str) -> None:
        self._message = (monotonic() + _MESSAGE, message)
        if self._on_message:
            self._on_message(message)
