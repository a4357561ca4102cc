"""VideoPipeline: the pipeline for the frames of one video or camera, with ids and smoothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import NamedTuple, TypeVar

from mien.errors import ConfigError
from mien.faces.tracker import Tracker
from mien.media import prefetch
from mien.pipeline import Pipeline
from mien.types import Face, Failure, Frame, Result, ScaledDetector

REDETECT_EVERY = 0.5
"""Seconds of a video between two searches for faces of every size."""

_NEAR = 0.6
"""In between, faces of this share of the smallest known one are still found."""

BLOCK = 16
"""Frames whose faces go to the classifier in one call."""

_BYTES = 64_000_000  # or fewer frames, when their pixels come to this: of 4K three


class Detections(NamedTuple):
    """A frame, where its faces are, and whether they were searched or are only expected there."""

    frame: Frame
    faces: Sequence[Face]
    searched: bool


T = TypeVar("T", Frame, Detections)


class VideoPipeline:
    """A pipeline with a memory for one video or camera: ids, and probabilities smoothed over time.

    Each stream needs one of its own, for one thread at a time; the pipeline behind it may be shared.

    Every face of every size is looked for each `redetect_every` seconds, and in each frame until there is one. In
    between only faces about as large as those known are, in a picture that is made small accordingly, which takes a
    seventh of the time; when one of them is missing, the whole search follows at once. So a face that leaves is
    told in the same frame, and a small one that comes to a larger one up to `redetect_every` seconds late.
    Detectors without `find` search whole each time.

    With `detect_every` above 1 the detector rests between the frames that it searches. There the faces are where
    the tracker expects them, and are classified as ever; a new face is seen up to `detect_every` - 1 frames late,
    and one that has left is shown as much longer. That stretch should be shorter than the tracker's `max_age`, else
    all tracks end in between.

    Attributes:
        pipeline: what looks at each frame.
        tracker: what joins them; `tracker.active_ids` tells which ids have not ended.
        detect_every: each so-many-th frame is searched for faces, the first one included.
        redetect_every: seconds between whole searches.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        tracker: Tracker | None = None,
        detect_every: int = 1,
        redetect_every: float = REDETECT_EVERY,
    ) -> None:
        """Start with nothing found yet.

        Args:
            pipeline: what looks at each frame.
            tracker: with settings of your own, not used by another stream; None for the default.
            detect_every: search only each so-many-th frame for faces.
            redetect_every: seconds between searches for faces of every size; 0 for each frame that is searched.

        Raises:
            ConfigError: `detect_every` is less than 1, or `redetect_every` no number of seconds.
        """
        if detect_every < 1:
            raise ConfigError(f"detect_every is {detect_every}; give 1 or more frames")
        if not (math.isfinite(redetect_every) and redetect_every >= 0):
            raise ConfigError(f"redetect_every is {redetect_every}; give a number of seconds, 0 or more")
        self.pipeline, self.tracker, self.detect_every, self.redetect_every = (
            pipeline,
            tracker or Tracker(),
            detect_every,
            redetect_every,
        )
        detector = pipeline.detector
        self._scaled = detector if isinstance(detector, ScaledDetector) else None
        self._count = 0
        self._found: Sequence[Face] = ()  # in the last frame that was searched
        self._searched = -math.inf  # time of the last whole search

    def process(self, frame: Frame) -> Result:
        """The next frame, in the order of time; the faces are the pipeline's, as the tracker shows them."""
        return self.process_many([frame])[0]

    def process_many(self, frames: Sequence[Frame]) -> list[Result]:
        """The next frames, for files, where nobody waits: faces go to the classifier together.

        All of them do in one call, or with `detect_every` above 1 those between two frames that are searched.
        """
        results: list[Result] = []
        bundle: list[Detections] = []
        for frame in frames:
            if self._count % self.detect_every:
                if bundle and bundle[-1].searched:  # what is found there tells where to expect faces here
                    results += self._classify(bundle)
                    bundle = []
                bundle.append(Detections(frame, self.tracker.predict(frame.time), False))
            else:
                bundle.append(self._detect(frame))
            self._count += 1
        return results + self._classify(bundle)

    def _detect(self, frame: Frame) -> Detections:
        """The first half of `process`: the next frame and its faces. Another thread may do this for frames to come."""
        return Detections(frame, self._search(frame), True)

    def _classify(self, bundle: Sequence[Detections]) -> list[Result]:
        """The second half, for the next frames together: what their faces show, and whose they are."""
        seen = self.pipeline.process_many([each.frame for each in bundle], [each.faces for each in bundle])
        return [
            replace(
                result,
                faces=(self.tracker.update if each.searched else self.tracker.update_predicted)(
                    result.faces, each.frame.time
                ),
            )
            for result, each in zip(seen, bundle, strict=True)
        ]

    def _search(self, frame: Frame) -> Sequence[Face]:
        known = self._found
        if known and self._scaled and 0 <= frame.time - self._searched < self.redetect_every:
            smallest = min(min(x2 - x1, y2 - y1) for x1, y1, x2, y2 in (face.box for face in known))
            self._found = self._scaled.find(frame.image, max(_NEAR * smallest, 1.0))
            if len(self._found) >= len(known):
                return self._found
        self._found, self._searched = self.pipeline.detector(frame.image), frame.time
        return self._found


def results(
    items: Iterable[Frame | Failure], stream: VideoPipeline | Pipeline, most: int = BLOCK
) -> Iterator[Result | Failure]:
    """Look at frames in blocks, which is faster than one by one; what comes out has the order of what went in.

    Args:
        items: the frames of one video or pictures, and failures, which are passed on.
        stream: what looks at them: of a video its stream, of pictures a pipeline.
        most: frames in a block. Fewer make one when they are large, so that a block stays small in memory.
    """
    with ExitStack() as stack:
        if isinstance(stream, VideoPipeline) and stream.detect_every == 1:
            # Faces are searched in a thread of their own while those found before are classified.
            found = stack.enter_context(closing(prefetch.prefetch(_detect_all(items, stream), image_bytes)))
            yield from in_blocks(found, stream._classify, most)
        else:
            yield from in_blocks(items, stream.process_many, most)


def _detect_all(items: Iterable[Frame | Failure], stream: VideoPipeline) -> Iterator[Detections | Failure]:
    for item in items:
        yield stream._detect(item) if isinstance(item, Frame) else item


def image_bytes(item: Frame | Detections | Failure) -> int:
    """Of the pixels."""
    frame = item.frame if isinstance(item, Detections) else item
    return frame.image.nbytes if isinstance(frame, Frame) else 0


def in_blocks(
    items: Iterable[T | Failure], look: Callable[[Sequence[T]], list[Result]], most: int
) -> Iterator[Result | Failure]:
    block: list[T] = []
    size = 0
    for item in items:
        if not isinstance(item, Failure):
            block.append(item)
            size += image_bytes(item)
            if len(block) < most and size < _BYTES:
                continue
        yield from look(block)
        block, size = [], 0
        if isinstance(item, Failure):
            yield item
    yield from look(block)
