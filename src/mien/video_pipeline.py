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
from mien.media.camera import Camera
from mien.media.prefetch import Prefetch, map_batches
from mien.media.video import Video
from mien.pipeline import Pipeline
from mien.types import Face, Failure, Frame, Result, ScaledDetector

logger = logging.getLogger("mien")

REDETECT_EVERY = 0.5
"""Seconds of a video between two full detections."""

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

    def process(self, frame: Frame) -> Result:
        """Process the next frame, in the order of time."""
        return self.process_batch([frame])[0]

    def process_or_pass(self, item: Frame | Failure) -> Result | Failure:
        """Process the next frame, or return a failure as it is."""
        return item if isinstance(item, Failure) else self.process(item)

    def process_batch(self, frames: Sequence[Frame]) -> list[Result]:
        """Process the next frames, with one classifier call; with `detect_every` above 1 one call a detection."""
        results: list[Result] = []
        group: list[_Detections] = []
        for frame in frames:
            if self._count % self.detect_every:
                if group and group[-1].detected:  # the tracker must see these faces before it predicts
                    results += self._classify(group)
                    group = []
                group.append(_Detections(frame, self.tracker.predict(frame.time), False))
            else:
                group.append(self._detect(frame))
            self._count += 1
        return results + self._classify(group)

    def track(self, items: Iterable[Frame | Failure]) -> Generator[Result | Failure, None, None]:
        """Yield a result for each frame, in order, and pass failures on; for files, where latency does not matter.

        A background thread detects faces ahead, and faces of up to 16 frames are classified in one call. Close the
        iterator to end the thread early; it closes `items`, too, if they have `close`.
        """
        if self.detect_every > 1:  # detecting ahead would skip the frames that need the tracker's prediction
            yield from map_batches(self.process_batch, items, _frame_bytes)
            return
        with closing(Prefetch(self._detect_or_pass, items, _pixel_bytes)) as detections:
            yield from map_batches(self._classify, detections, _pixel_bytes)

    def _detect_or_pass(self, item: Frame | Failure) -> _Detections | Failure:
        return item if isinstance(item, Failure) else self._detect(item)

    def _detect(self, frame: Frame) -> _Detections:
        """Detect faces in the next frame. Another thread may do this for frames to come."""
        known = self._known
        if known and self._scaled and 0 <= frame.time - self._redetected < self.redetect_every:
            smallest = min(min(x2 - x1, y2 - y1) for x1, y1, x2, y2 in (face.box for face in known))
            self._known = self._scaled.find(frame.pixels, max(_NEAR * smallest, 1.0))
            if len(self._known) >= len(known):
                return _Detections(frame, self._known, True)
        if self._scaled and not isinstance(frame.pixels, np.ndarray):
            self._known = self._scaled.find(frame.pixels)
        else:
            self._known = self.pipeline.detector(frame.image)
        self._redetected = frame.time
        return _Detections(frame, self._known, True)

    def _classify(self, group: Sequence[_Detections]) -> list[Result]:
        """Classify the faces of the next frames together, then track them."""
        results = self.pipeline.process_batch([item.frame for item in group], [item.faces for item in group])
        return [
            replace(
                result,
                faces=(self.tracker.update if item.detected else self.tracker.update_predicted)(
                    result.faces, item.frame.time
                ),
            )
            for result, item in zip(results, group, strict=True)
        ]


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
            ahead = stack.enter_context(closing(Prefetch(lambda item: item, video, _frame_bytes)))
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
    """A frame and its faces, detected or predicted."""

    frame: Frame
    faces: Sequence[Face]
    detected: bool


def _frame_bytes(item: Frame | Failure) -> int:
    return 0 if isinstance(item, Failure) else item.nbytes


def _pixel_bytes(item: _Detections | Failure) -> int:
    return 0 if isinstance(item, Failure) else item.frame.nbytes
