"""Pipeline: detect, crop and classify the faces of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import ConfigError
from mien.faces import crop, detectors, models, orientation
from mien.media.image import decode, to_bgr
from mien.media.paths import display, read_file
from mien.types import Classifier, Detector, Face, Floats, Frame, Image, Pixels, Result

MARGIN = 0.0
"""Share of the box's side to add around a face.

On 300 images of FER2013, the longer side of YuNet's box is 1.01 times the image's (quartiles 0.92 and 1.13), around the
same centre: without a margin, crops look like the training images.
"""


class Pipeline:
    """Detect faces, crop them and classify their expression. Safe to use from several threads.

    `pipeline(image)` does all three steps; `detect`, `crop` and `classify` are the steps on their own.
    """

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
            classifier: name of a shipped model, path of an .onnx file, any Classifier, or None for the default.
            margin: share of the box's side to add around a face.
            align: rotate crops so that the eyes are level.
            min_face: smallest face to detect, side in pixels; only for a detector given by name.

        Raises:
            ConfigError: unknown detector, or a `min_face` that it does not support.
            ModelError: unknown or damaged model.
        """
        if min_face is not None and not isinstance(detector, str):
            raise ConfigError("min_face needs a detector given by name; configure your own detector instead")
        self.detector = detectors.load_detector(detector, min_face) if isinstance(detector, str) else detector
        self.classifier: Classifier = (
            models.load_classifier(classifier)
            if classifier is None or isinstance(classifier, str | Path)
            else classifier
        )
        self.margin = margin
        self.align = align

    def detect(self, image: Image) -> list[Face]:
        """Return the faces of a uint8 BGR image (H, W, 3), largest first, not yet classified.

        Turned images are searched too, see `mien.faces.orientation.detect`.
        """
        return orientation.detect(self.detector, image)

    def crop(self, image: Image | Pixels, faces: Sequence[Face]) -> NDArray[np.uint8]:
        """Return the network's input for each face: uint8 gray (N, 48, 48)."""
        return crop.crops(image, faces, self.margin, self.align)

    def classify(self, crops: NDArray[np.uint8]) -> Floats:
        """Return probabilities for uint8 crops (N, 48, 48): float32 (N, C), columns in the order of the labels."""
        return self.classifier(crops) if len(crops) else np.zeros((0, len(self.classifier.labels)), np.float32)

    def label(self, faces: Sequence[Face], probabilities: Floats) -> tuple[Face, ...]:
        """Attach a row of probabilities, (N, C) as `classify` returns them, to each face."""
        labels, threshold = self.classifier.labels, self.classifier.confidence_threshold
        return tuple(
            replace(face, probabilities=dict(zip(labels, row, strict=True)), confidence_threshold=threshold)
            for face, row in zip(faces, probabilities.tolist(), strict=True)
        )

    def process(self, frame: Frame) -> Result:
        """Run all steps on one frame."""
        return self.process_batch([frame])[0]

    def process_batch(self, frames: Sequence[Frame], detected: Sequence[Sequence[Face]] | None = None) -> list[Result]:
        """Run all steps on several frames with one call of the classifier.

        Args:
            frames: all of them, and their results, are in memory at once.
            detected: the faces of each frame, to skip detection.
        """
        if detected is None:
            detected = [self.detect(frame.image) for frame in frames]
        crops = [self.crop(frame.pixels, faces) for frame, faces in zip(frames, detected, strict=True)]
        probabilities = self.classify(np.concatenate([np.zeros((0, crop.SIZE, crop.SIZE), np.uint8), *crops]))
        ends = np.cumsum([len(faces) for faces in detected])
        return [
            Result(frame, self.label(faces, probabilities[end - len(faces) : end]), images)
            for frame, faces, images, end in zip(frames, detected, crops, ends, strict=True)
        ]

    def __call__(self, image: str | Path | NDArray[Any]) -> Result:
        """Process one image.

        Args:
            image: path of an image file, or an array as `mien.media.image.to_bgr` takes it (BGR, not RGB).

        Raises:
            SourceError: the image cannot be read.
        """
        if not isinstance(image, str | Path):
            return self.process(Frame(to_bgr(image, "array"), name="array"))
        path = Path(image)
        return self.process(Frame(decode(read_file(path), display(path)), name=str(image)))


def load(
    model: str | Path | None = None,
    detector: str = "yunet",
    min_face: float | None = None,
    threads: int | None = None,
    min_score: float | None = None,
) -> Pipeline:
    """Return a pipeline that is ready to use: `load()("photo.jpg").faces`.

    Args:
        model: name of a shipped model, names joined by + (their mean), path of an .onnx file, or None for the default.
        detector: "yunet", "haar" or "mtcnn".
        min_face: smallest face to detect, side in pixels; see `mien.faces.detectors.load_detector`.
        threads: threads of one network call; None for all cores available. For `runner.video`, whose steps run side
            by side, 1 is faster.
        min_score: lowest score of a face, 0..1; see `mien.faces.detectors.load_detector`.

    Raises:
        ConfigError: unknown detector, or an impossible `min_face` or `min_score`.
        ModelError: unknown or damaged model.
    """
    return Pipeline(
        detectors.load_detector(detector, min_face, threads, min_score), models.load_classifier(model, threads)
    )
