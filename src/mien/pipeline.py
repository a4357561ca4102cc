"""Pipeline: detect -> crop -> classify; Frame -> Result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import ConfigError
from mien.faces import crop, detectors, models
from mien.media.image import decode, to_bgr
from mien.media.paths import display, read_file
from mien.types import Classifier, Detector, Face, Frame, Result

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
        min_face: float | None = None,
    ) -> None:
        """Load what is given by name.

        Args:
            detector: "yunet", "haar", "mtcnn" or any Detector.
            classifier: a shipped model's name, the path of an .onnx file, any Classifier, or None for the default.
            margin: share of the box's side to add around a face.
            align: turn faces so that the eyes are level.
            min_face: side in pixels of the smallest face that is wanted, for a detector given by its name; see
                `mien.faces.detectors.load_detector`.

        Raises:
            ConfigError: no such detector, or a smallest face that it cannot be asked for.
            ModelError: no such model, or a damaged one.
        """
        if min_face is not None and not isinstance(detector, str):
            raise ConfigError("min_face is for a detector given by its name; set up your own one instead")
        self.detector = detectors.load_detector(detector, min_face) if isinstance(detector, str) else detector
        loads = classifier is None or isinstance(classifier, str | Path)
        self.classifier: Classifier = models.load_classifier(classifier) if loads else classifier  # type: ignore[arg-type,assignment]
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
            crop.crops(frame.image, faces, self.margin, self.align) for frame, faces in zip(frames, found, strict=True)
        ]
        counts = [len(faces) for faces in found]
        rows = self.classifier(np.concatenate(cuts)).tolist() if any(counts) else []
        ends = np.cumsum(counts).tolist()
        return [
            Result(frame, self.named(faces, rows[end - len(faces) : end]), crops)
            for frame, faces, crops, end in zip(frames, found, cuts, ends, strict=True)
        ]

    def named(self, faces: Sequence[Face], rows: list[list[float]]) -> tuple[Face, ...]:
        """The faces with what the classifier said of each: a row of probabilities in the order of its labels."""
        labels, threshold = self.classifier.labels, self.classifier.confidence_threshold
        return tuple(
            replace(face, probabilities=dict(zip(labels, row, strict=True)), confidence_threshold=threshold)
            for face, row in zip(faces, rows, strict=True)
        )

    def __call__(self, image: str | Path | NDArray[Any]) -> Result:
        """One image, by its path or as an array.

        Args:
            image: path of a picture file, or an array as `mien.media.image.to_bgr` takes it (BGR, not RGB).

        Raises:
            SourceError: it cannot be read.
        """
        if not isinstance(image, str | Path):
            return self.process(Frame(to_bgr(image, "array"), name="array"))
        path = Path(image)
        return self.process(Frame(decode(read_file(path), display(path)), name=str(image)))


def load(
    model: str | Path | None = None, detector: str = "yunet", min_face: float | None = None, threads: int | None = None
) -> Pipeline:
    """A ready pipeline: `load()("photo.jpg").faces`.

    Args:
        model: a shipped model's name, names joined by + (their mean), the path of an .onnx file; None: the default.
        detector: "yunet", "haar" or "mtcnn".
        min_face: side in pixels of the smallest face that is wanted; see `mien.faces.detectors.load_detector`.
        threads: for one call of a network; None for all cores that the process may use. For `runner.video`, whose steps
            run side by side, 1 is faster.

    Raises:
        ConfigError: no such detector, or a smallest face that is not possible.
        ModelError: no such model, or a damaged one.
    """
    return Pipeline(detectors.load_detector(detector, min_face, threads), models.load_classifier(model, threads))
