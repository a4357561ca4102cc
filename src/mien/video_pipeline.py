"""VideoPipeline: the pipeline for the frames of one video or camera, with ids and smoothing."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mien.errors import ConfigError, SourceError
from mien.faces.tracker import Tracker
from mien.faces.zero_lag import ZeroLagSmoother
from mien.media.camera import Camera
from mien.media.prefetch import Prefetch, map_batches
from mien.media.shots import NumberShots, ShotDetector, thumbnail
from mien.media.video import Video
from mien.pipeline import REDETECT_EVERY, Pipeline
from mien.types import Face, Failure, Frame, FrameSource, Result, ScaledDetector

logger = logging.getLogger("mien")

_Numbered = tuple[Frame, int]
"""A frame and the number of its shot."""

_NEAR = 0.6
"""Between full detections, faces down to this share of the smallest known face are detected."""


class VideoPipeline:
    """A pipeline that tracks faces: ids, and probabilities smoothed over time.

    Each video needs one of its own, used by one thread at a time; several may share one pipeline.

    A full detection looks for faces of every size. It runs every `redetect_every` seconds, and in each frame while no
    face is known. Between two full detections the image is shrunk so that only faces about as large as the known ones
    are detected, in a seventh of the time. A missing face triggers a full detection in the same frame, so an exit is
    noticed at once, and a small face beside a larger one up to `redetect_every` seconds late. Detectors without `find`
    always run in full.

    With `detect_every` above 1 the detector runs in every N-th frame only. In the others, faces are classified where
    the tracker predicts them: a new face is noticed up to N - 1 frames late, and so is an exit. N frames should be
    shorter than the tracker's `max_age`, else all tracks end between detections.

    Cuts and fades end all tracks, and each result has the number of its shot, from 1. Files are read a little ahead to
    find them, see `media.shots`.

    `tracker.active_ids` holds the ids of the tracks that have not ended.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        tracker: Tracker | None = None,
        detect_every: int = 1,
        redetect_every: float = REDETECT_EVERY,
    ) -> None:
        """Start without known faces; `tracker` must not be shared. `redetect_every` 0 makes each detection full."""
        if detect_every < 1:
            raise ConfigError(f"detect_every is {detect_every}; give 1 or more frames")
        if not (math.isfinite(redetect_every) and redetect_every >= 0):
            raise ConfigError(f"redetect_every is {redetect_every}; give a number of seconds, 0 or more")
        self.pipeline = pipeline
        self.tracker = tracker or Tracker()
        self.detect_every = detect_every
        self.redetect_every = redetect_every
        detector = pipeline.detector
        self._scaled = detector if isinstance(detector, ScaledDetector) else None
        self._count = 0
        self._known: Sequence[Face] = ()  # in the last frame with a detection
        self._redetected = -math.inf  # time of the last full detection
        self._shots = ShotDetector()
        self._detected_shot = 1  # of the last frame with a detection
        self._shot = 1  # of the last tracked frame

    def process(self, frame: Frame) -> Result:
        """Process the next frame, in the order of time."""
        return self.process_batch([frame])[0]

    def process_or_pass(self, item: Frame | Failure) -> Result | Failure:
        """Process the next frame, or return a failure as it is."""
        return item if isinstance(item, Failure) else self.process(item)

    def process_batch(self, frames: Sequence[Frame]) -> list[Result]:
        """Process the next frames, with one classifier call; with `detect_every` above 1 one call a detection."""
        shots = [self._shots.update(thumbnail(frame.pixels, frame.time)) for frame in frames]
        return self._process_shots(list(zip(frames, shots, strict=True)), smooth=True)

    def track(
        self, items: Iterable[Frame | Failure], keep_pixels: bool = True
    ) -> Generator[Result | Failure, None, None]:
        """Yield a result for each frame, in order, and pass failures on.

        A background thread detects faces ahead, and faces of up to 16 frames are classified in one call. Results of a
        file are smoothed with those before and after, so they come about two seconds of video late; those of a camera
        (`FrameSource`) come at once and depend on the past only. Close the iterator to end the thread early; it closes
        `items`, too, if they have `close`. Without `keep_pixels` the frames of a file's results have only their size,
        which bounds the memory of the wait.
        """
        is_live = isinstance(items, FrameSource)
        numbered = NumberShots(items, is_live)
        try:
            if is_live:
                yield from self._track(numbered, smooth=True)
                return
            tracker = self.tracker
            smoother = ZeroLagSmoother(tracker.smoothing, tracker.margin, tracker.hysteresis)
            with closing(self._track(numbered, smooth=False)) as results:
                waiting = results if keep_pixels else map(_without_pixels, results)
                yield from smoother(waiting, lambda result: result.frame.nbytes)
        finally:
            if isinstance(items, Generator):
                items.close()

    def _track(self, numbered: Iterable[_Numbered | Failure], smooth: bool) -> Generator[Result | Failure, None, None]:
        if self.detect_every > 1:  # detecting ahead would skip the frames that need the tracker's prediction
            yield from map_batches(lambda group: self._process_shots(group, smooth), numbered, _frame_bytes)
            return
        with closing(Prefetch(self._detect_or_pass, numbered, _pixel_bytes)) as detections:
            yield from map_batches(lambda group: self._classify(group, smooth), detections, _pixel_bytes)

    def _process_shots(self, frames: Sequence[_Numbered], smooth: bool) -> list[Result]:
        results: list[Result] = []
        group: list[_Detections] = []
        for frame, shot in frames:
            is_predicted = self._count % self.detect_every and shot == self._detected_shot
            if is_predicted:
                if group and group[-1].detected:  # the tracker must see these faces before it predicts
                    results += self._classify(group, smooth)
                    group = []
                group.append(_Detections(frame, shot, self.tracker.predict(frame.time), False))
            else:
                self._count -= self._count % self.detect_every  # a new shot is searched at once
                group.append(self._detect(frame, shot))
            self._count += 1
        return results + self._classify(group, smooth)

    def _detect_or_pass(self, item: _Numbered | Failure) -> _Detections | Failure:
        return item if isinstance(item, Failure) else self._detect(*item)

    def _detect(self, frame: Frame, shot: int) -> _Detections:
        """Detect faces in the next frame. Another thread may do this for frames to come."""
        known = self._known if shot == self._detected_shot else ()
        self._detected_shot = shot
        if known and self._scaled and 0 <= frame.time - self._redetected < self.redetect_every:
            smallest = min(min(x2 - x1, y2 - y1) for x1, y1, x2, y2 in (face.box for face in known))
            self._known = self._scaled.find(frame.pixels, max(_NEAR * smallest, 1.0))
            if len(self._known) >= len(known):
                return _Detections(frame, shot, self._known, True)
        if self._scaled and not isinstance(frame.pixels, np.ndarray):
            self._known = self._scaled.find(frame.pixels)
        else:
            self._known = self.pipeline.detector(frame.image)
        self._redetected = frame.time
        return _Detections(frame, shot, self._known, True)

    def _classify(self, group: Sequence[_Detections], smooth: bool) -> list[Result]:
        """Classify the faces of the next frames together, then track them."""
        results = self.pipeline.process_batch([item.frame for item in group], [item.faces for item in group])
        return [self._tracked(result, item, smooth) for result, item in zip(results, group, strict=True)]

    def _tracked(self, result: Result, item: _Detections, smooth: bool) -> Result:
        if item.shot != self._shot:
            self.tracker.end_tracks()
            self._shot = item.shot
        update = self.tracker.update if item.detected else self.tracker.update_predicted
        return replace(result, faces=update(result.faces, item.frame.time, smooth), shot=item.shot)


def track(
    pipeline: Pipeline,
    source: str | Path | int | Iterable[Frame | Failure],
    smoothing: float = 0.25,
    detect_every: int = 1,
    redetect_every: float = REDETECT_EVERY,
    on_failure: Callable[[Failure], None] | None = None,
) -> Iterator[Result]:
    """Yield a result for each frame, with ids and smoothed probabilities; close the iterator to end early.

    Args:
        pipeline: `load(threads=1)` is fastest for files, since detection runs ahead in a thread of its own.
        source: a video file, its http(s) URL or numbered images (each frame, as `media.video.Video` reads them); the
            number of a camera or the URL of a stream (the newest frame, without end); or frames in the order of time.
        smoothing: seconds in which a frame's weight in the probabilities halves; 0 does not smooth.
        detect_every: run the detector every N frames, see `VideoPipeline`.
        redetect_every: seconds between full detections, see `VideoPipeline`.
        on_failure: called with what cannot be read, while the rest goes on; by default it is logged as a warning.

    Raises:
        SourceError: the video or camera cannot be opened; raised with the first frame.
        ConfigError: an impossible setting.
    """
    tracked = VideoPipeline(pipeline, Tracker(smoothing), detect_every, redetect_every)
    if isinstance(source, bytes) or not isinstance(source, (str, os.PathLike, int, Iterable)):
        kind = "None" if source is None else f"a {type(source).__name__}"
        raise SourceError(f"{kind} is not a video; give a path, a URL, the number of a camera, or frames")
    return _results(tracked, source, on_failure or (lambda failure: logger.warning("%s", failure.reason)))


def _results(
    tracked: VideoPipeline,
    source: str | Path | int | Iterable[Frame | Failure],
    on_failure: Callable[[Failure], None],
) -> Iterator[Result]:
    with ExitStack() as stack:
        items: Iterable[Result | Failure]
        if isinstance(source, int) or (isinstance(source, str) and _is_live(source)):
            items = map(tracked.process_or_pass, stack.enter_context(Camera(source)))
        elif isinstance(source, (str, os.PathLike)):
            video = Video(os.fsdecode(source))
            ahead = stack.enter_context(closing(Prefetch(lambda item: item, video, _item_bytes)))
            items = stack.enter_context(closing(tracked.track(ahead)))
        else:
            items = map(tracked.process_or_pass, source)
        for item in items:
            if isinstance(item, Failure):
                on_failure(item)
            else:
                yield item


def _is_live(source: str) -> bool:
    scheme = source.partition("://")[0] if "://" in source else ""
    if scheme:
        return scheme.lower() not in ("http", "https", "file")
    return bool(re.fullmatch(r"\d+|/dev/video\d+", source)) and not Path(source).is_file()


class _Detections(NamedTuple):
    """A frame, the number of its shot, and its faces, detected or predicted."""

    frame: Frame
    shot: int
    faces: Sequence[Face]
    detected: bool


def _without_pixels(item: Result | Failure) -> Result | Failure:
    return item if isinstance(item, Failure) else replace(item, frame=item.frame.without_pixels())


def _item_bytes(item: Frame | Failure) -> int:
    return 0 if isinstance(item, Failure) else item.nbytes


def _frame_bytes(item: _Numbered | Failure) -> int:
    return 0 if isinstance(item, Failure) else item[0].nbytes


def _pixel_bytes(item: _Detections | Failure) -> int:
    return 0 if isinstance(item, Failure) else item.frame.nbytes
