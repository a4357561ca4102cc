"""Pipeline: detect -> crop -> classify; Frame -> Result. Stream: the same for the frames of a video, with ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien import classify, detect, image
from mien.track import Tracker
from mien.types import Classifier, Detector, Face, Frame, Result, SourceError

MARGIN = 0.0
"""Share of the box's side that is added around a face.

On 300 pictures of FER2013, YuNet's longer side is 1.01 times the picture's (quartiles 0.92 and 1.13) and its centre is
the picture's centre: without a margin a crop looks like what the network learnt from.
"""


class Pipeline:
    """Finds the faces of a picture and says how each looks. Safe to use from several threads."""

    def __init__(
        self,
        detector: Detector | str = "yunet",
        classifier: Classifier | str | Path | None = None,
        margin: float = MARGIN,
        align: bool = True,
    ) -> None:
        """Load what is given by name.

        Args:
            detector: "yunet", "haar", "mtcnn" or any Detector.
            classifier: a shipped model's name, the path of an .onnx file, any Classifier, or None for the default.
            margin: share of the box's side to add around a face.
            align: turn faces so that the eyes are level.

        Raises:
            ConfigError: no such detector.
            ModelError: no such model, or a damaged one.
        """
        self.detector = detect.detector(detector) if isinstance(detector, str) else detector
        loads = classifier is None or isinstance(classifier, str | Path)
        self.classifier: Classifier = classify.model(classifier) if loads else classifier  # type: ignore[arg-type,assignment]
        self.margin = margin
        self.align = align

    def process(self, frame: Frame) -> Result:
        """One frame -> its faces, the largest first, each with probabilities."""
        return self.process_many([frame])[0]

    def process_many(self, frames: Sequence[Frame]) -> list[Result]:
        """The same for several frames, whose faces all go to the classifier in one call.

        Args:
            frames: how many is the caller's choice; all of them and their results are in memory at once.
        """
        found = [self.detector(frame.image) for frame in frames]
        cuts = [
            image.crops(frame.image, faces, self.margin, self.align) for frame, faces in zip(frames, found, strict=True)
        ]
        counts = [len(faces) for faces in found]
        rows = self.classifier(np.concatenate(cuts)).tolist() if any(counts) else []
        ends = np.cumsum(counts).tolist()
        return [
            Result(frame, self._named(faces, rows[end - len(faces) : end]), crops)
            for frame, faces, crops, end in zip(frames, found, cuts, ends, strict=True)
        ]

    def stream(self, tracker: Tracker | None = None) -> Stream:
        """For the frames of one video or camera: see Stream.

        Args:
            tracker: with settings of your own, not used by another stream; None for the default.
        """
        return Stream(self, tracker or Tracker())

    def _named(self, faces: Sequence[Face], rows: list[list[float]]) -> tuple[Face, ...]:
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


class Stream:
    """A pipeline with a memory for one video or camera: ids, and probabilities smoothed over time.

    Each stream needs one of its own, for one thread at a time; the pipeline behind it may be shared.

    Attributes:
        pipeline: what looks at each frame.
        tracker: what joins them; `tracker.alive` tells which ids have not ended.
    """

    def __init__(self, pipeline: Pipeline, tracker: Tracker) -> None:
        self.pipeline, self.tracker = pipeline, tracker

    def process(self, frame: Frame) -> Result:
        """The next frame, in the order of time; the faces are the pipeline's, as the tracker shows them."""
        return self.process_many([frame])[0]

    def process_many(self, frames: Sequence[Frame]) -> list[Result]:
        """The next frames, whose faces all go to the classifier in one call: for files, where nobody waits."""
        return [
            replace(result, faces=self.tracker.update(result.faces, result.frame.time))
            for result in self.pipeline.process_many(frames)
        ]


def load(model: str | Path | None = None, detector: str = "yunet") -> Pipeline:
    """A ready pipeline: `load()("photo.jpg").faces`.

    Args:
        model: a shipped model's name, the path of an .onnx file, or None for the default.
        detector: "yunet", "haar" or "mtcnn".

    Raises:
        ConfigError: no such detector.
        ModelError: no such model, or a damaged one.
    """
    return Pipeline(detector, model)
