"""Pipeline: detect -> crop -> classify; Frame -> Result. Stream: the same for the frames of a video, with ids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mien import classify, detect, image
from mien.track import Tracker
from mien.types import Classifier, ConfigError, Detector, Face, Frame, Result, ScaledDetector, SourceError

MARGIN = 0.0
"""Share of the box's side that is added around a face.

On 300 pictures of FER2013, YuNet's longer side is 1.01 times the picture's (quartiles 0.92 and 1.13) and its centre is
the picture's centre: without a margin a crop looks like what the network learnt from.
"""


WHOLE = 0.5
"""Seconds of a video between two searches for faces of every size."""

_NEAR = 0.6
"""In between, faces of this share of the smallest known one are still found."""


class Pipeline:
    """Finds the faces of a picture and says how each looks. Safe to use from several threads."""

    def __init__(
        self,
        detector: Detector | str = "yunet",
        classifier: Classifier | str | Path | None = None,
        margin: float = MARGIN,
        align: bool = True,
        min_face: float | None = None,
    ) -> None:
        """Load what is given by name.

        Args:
            detector: "yunet", "haar", "mtcnn" or any Detector.
            classifier: a shipped model's name, the path of an .onnx file, any Classifier, or None for the default.
            margin: share of the box's side to add around a face.
            align: turn faces so that the eyes are level.
            min_face: side in pixels of the smallest face that is wanted, for a detector given by its name; see
                `mien.detect.detector`.

        Raises:
            ConfigError: no such detector, or a smallest face that it cannot be asked for.
            ModelError: no such model, or a damaged one.
        """
        if min_face is not None and not isinstance(detector, str):
            raise ConfigError("min_face is for a detector given by its name; set up your own one instead")
        self.detector = detect.detector(detector, min_face) if isinstance(detector, str) else detector
        loads = classifier is None or isinstance(classifier, str | Path)
        self.classifier: Classifier = classify.model(classifier) if loads else classifier  # type: ignore[arg-type,assignment]
        self.margin = margin
        self.align = align

    def process(self, frame: Frame) -> Result:
        """One frame -> its faces, the largest first, each with probabilities."""
        return self.process_many([frame])[0]

    def process_many(
        self, frames: Sequence[Frame], known: Sequence[Sequence[Face] | None] | None = None
    ) -> list[Result]:
        """The same for several frames, whose faces all go to the classifier in one call.

        Args:
            frames: how many is the caller's choice; all of them and their results are in memory at once.
            known: the faces of each frame, or None for a frame to search.
        """
        found = [
            self.detector(frame.image) if faces is None else faces
            for frame, faces in zip(frames, known or [None] * len(frames), strict=True)
        ]
        cuts = [
            image.crops(frame.image, faces, self.margin, self.align) for frame, faces in zip(frames, found, strict=True)
        ]
        counts = [len(faces) for faces in found]
        rows = self.classifier(np.concatenate(cuts)).tolist() if any(counts) else []
        ends = np.cumsum(counts).tolist()
        return [
            Result(frame, self.named(faces, rows[end - len(faces) : end]), crops)
            for frame, faces, crops, end in zip(frames, found, cuts, ends, strict=True)
        ]

    def stream(self, tracker: Tracker | None = None, every: int = 1, whole: float = WHOLE) -> Stream:
        """For the frames of one video or camera: see Stream.

        Args:
            tracker: with settings of your own, not used by another stream; None for the default.
            every: search only each so-many-th frame for faces.
            whole: seconds between searches for faces of every size; 0 for each frame that is searched.

        Raises:
            ConfigError: `every` is less than 1, or `whole` no number of seconds.
        """
        return Stream(self, tracker or Tracker(), every, whole)

    def named(self, faces: Sequence[Face], rows: list[list[float]]) -> tuple[Face, ...]:
        """The faces with what the classifier said of each: a row of probabilities in the order of its labels."""
        labels, threshold = self.classifier.labels, self.classifier.uncertain_below
        return tuple(
            replace(face, probabilities=dict(zip(labels, row, strict=True)), uncertain_below=threshold)
            for face, row in zip(faces, rows, strict=True)
        )

    def __call__(self, picture: str | Path | NDArray[Any]) -> Result:
        """One picture, by its path or as an array.

        Args:
            picture: path of a picture file, or an array as `mien.image.to_bgr` takes it (BGR, not RGB).

        Raises:
            SourceError: it cannot be read.
        """
        if not isinstance(picture, str | Path):
            return self.process(Frame(image.to_bgr(picture, "array"), name="array"))
        name = str(picture)
        try:
            data = Path(picture).read_bytes()
        except OSError as error:
            raise SourceError(f"{name}: cannot read it ({error.strerror}); check the path") from error
        return self.process(Frame(image.decode(data, name), name=name))


class Sought(NamedTuple):
    """A frame, where its faces are, and whether they were searched or are only expected there."""

    frame: Frame
    faces: Sequence[Face]
    searched: bool


class Stream:
    """A pipeline with a memory for one video or camera: ids, and probabilities smoothed over time.

    Each stream needs one of its own, for one thread at a time; the pipeline behind it may be shared.

    Every face of every size is looked for each `whole` seconds, and in each frame until there is one. In between only
    faces about as large as those known are, in a picture that is made small accordingly, which takes a seventh of
    the time; when one of them is missing, the whole search follows at once. So a face that leaves is told in the same
    frame, and a small one that comes to a larger one up to `whole` seconds late. Detectors without `find` search whole
    each time.

    With `every` above 1 the detector rests between the frames that it searches. There the faces are where the tracker
    expects them, and are classified as ever; a new face is seen up to `every` - 1 frames late, and one that has left is
    shown as much longer. That stretch should be shorter than the tracker's `max_age`, else all tracks end in between.

    Attributes:
        pipeline: what looks at each frame.
        tracker: what joins them; `tracker.alive` tells which ids have not ended.
        every: each so-many-th frame is searched for faces, the first one included.
        whole: seconds between whole searches.
    """

    def __init__(self, pipeline: Pipeline, tracker: Tracker, every: int = 1, whole: float = WHOLE) -> None:
        if every < 1:
            raise ConfigError(f"every {every}th frame cannot be searched; give 1 or more")
        if not (math.isfinite(whole) and whole >= 0):
            raise ConfigError(f"whole is {whole}; give a number of seconds, 0 or more")
        self.pipeline, self.tracker, self.every, self.whole = pipeline, tracker, every, whole
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

        All of them do in one call, or with `every` above 1 those between two frames that are searched.
        """
        results: list[Result] = []
        bundle: list[Sought] = []
        for frame in frames:
            if self._count % self.every:
                if bundle and bundle[-1].searched:  # what is found there tells where to expect faces here
                    results += self.look(bundle)
                    bundle = []
                bundle.append(Sought(frame, self.tracker.expect(frame.time), False))
            else:
                bundle.append(self.seek(frame))
            self._count += 1
        return results + self.look(bundle)

    def seek(self, frame: Frame) -> Sought:
        """The first half of `process`: the next frame and its faces. Another thread may do this for frames to come."""
        return Sought(frame, self._search(frame), True)

    def look(self, bundle: Sequence[Sought]) -> list[Result]:
        """The second half, for the next frames together: what their faces show, and whose they are."""
        seen = self.pipeline.process_many([each.frame for each in bundle], [each.faces for each in bundle])
        return [
            replace(
                result,
                faces=(self.tracker.update if each.searched else self.tracker.look)(result.faces, each.frame.time),
            )
            for result, each in zip(seen, bundle, strict=True)
        ]

    def _search(self, frame: Frame) -> Sequence[Face]:
        known = self._found
        if known and self._scaled and 0 <= frame.time - self._searched < self.whole:
            smallest = min(min(x2 - x1, y2 - y1) for x1, y1, x2, y2 in (face.box for face in known))
            self._found = self._scaled.find(frame.image, max(_NEAR * smallest, 1.0))
            if len(self._found) >= len(known):
                return self._found
        self._found, self._searched = self.pipeline.detector(frame.image), frame.time
        return self._found


def load(
    model: str | Path | None = None, detector: str = "yunet", min_face: float | None = None, threads: int | None = None
) -> Pipeline:
    """A ready pipeline: `load()("photo.jpg").faces`.

    Args:
        model: a shipped model's name, names joined by + (their mean), the path of an .onnx file; None: the default.
        detector: "yunet", "haar" or "mtcnn".
        min_face: side in pixels of the smallest face that is wanted; see `mien.detect.detector`.
        threads: for one call of a network; None for all cores that the process may use. For `run.video`, whose steps
            run side by side, 1 is faster.

    Raises:
        ConfigError: no such detector, or a smallest face that is not possible.
        ModelError: no such model, or a damaged one.
    """
    return Pipeline(detect.detector(detector, min_face, threads), classify.model(model, threads))
