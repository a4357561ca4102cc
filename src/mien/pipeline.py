"""Pipeline: detect -> crop -> classify; Frame -> Result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mien import classify, detect, image
from mien.types import Classifier, Detector, Frame, Result, SourceError

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
        """One frame -> its faces, the largest first, each with probabilities; all go to the classifier in one call."""
        faces = self.detector(frame.image)
        crops = image.crops(frame.image, faces, self.margin, self.align)
        if not faces:
            return Result(frame, (), crops)
        labels, threshold = self.classifier.labels, self.classifier.uncertain_below
        rows = self.classifier(crops).tolist()
        seen = tuple(
            replace(face, probabilities=dict(zip(labels, row, strict=True)), uncertain_below=threshold)
            for face, row in zip(faces, rows, strict=True)
        )
        return Result(frame, seen, crops)

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
