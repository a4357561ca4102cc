"""The few types that everything else speaks.

Conventions, said once: images are uint8 BGR arrays of shape (H, W, 3) as in OpenCV; boxes are (x1, y1, x2, y2), pixels
of the picture they belong to; probabilities are floats that sum to 1, in the order of the model's labels; times are in
seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

EMOTIONS = ("angry", "happy", "sad", "surprise", "neutral")
"""The five classes, in the order in which mien shows them. A model's own order is in its metadata."""

EMOTIONS7 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""All classes of FER2013, in the order of its csv file."""


class Error(Exception):
    """Root of all errors that mien raises on purpose; the message says what was wrong and what to do."""


class SourceError(Error):
    """A picture, video or camera that cannot be read."""


class ModelError(Error):
    """A model file that is missing, damaged or not one of ours."""


class DataError(Error):
    """A data set that is missing, truncated or in another layout."""


class ConfigError(Error):
    """A setting that does not exist or has an impossible value."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture on its way through the pipeline.

    Attributes:
        image: uint8 BGR, shape (H, W, 3).
        index: number in its source, from 0.
        time: seconds from the start of the source; 0 for a still picture.
        name: path or other name to show to a person.
    """

    image: Image
    index: int = 0
    time: float = 0.0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """An item of a source that could not be read; the batch goes on past it.

    Attributes:
        name: path of the item.
        reason: what was wrong and what to do.
        index: number in its source, from 0.
    """

    name: str
    reason: str
    index: int = 0


@dataclass(frozen=True, slots=True)
class Face:
    """One face: where it is and, once classified, what it shows.

    Attributes:
        box: (x1, y1, x2, y2) in pixels; may reach over the border of the picture.
        score: the detector's confidence, 0..1.
        landmarks: five (x, y) points in pixels (the eye on the left of the picture, the eye on the right, nose, the
            mouth corner on the left, the one on the right), or () when the detector gives none.
        probabilities: name of the emotion -> probability; empty before classification.
        uncertain_below: the model's threshold; a top probability below it makes the face `uncertain`.
        id: number of the person within a video, or None.
        label: the emotion to show where it need not be the most probable one (a tracker holds on to it), or "".
        unsure: whether the face counts as `uncertain`, where its threshold alone does not decide, or None.
    """

    box: tuple[float, float, float, float]
    score: float = 1.0
    landmarks: tuple[tuple[float, float], ...] = ()
    probabilities: Mapping[str, float] = field(default_factory=dict)
    uncertain_below: float = 0.0
    id: int | None = None
    label: str = ""
    unsure: bool | None = None

    @property
    def emotion(self) -> str:
        """`label`, or without one the name of the most probable emotion, or "" before classification."""
        return self.label or max(self.probabilities, key=self.probabilities.__getitem__, default="")

    @property
    def confidence(self) -> float:
        """Probability of `emotion`, 0..1; 0 before classification."""
        return self.probabilities.get(self.emotion, 0.0)

    @property
    def uncertain(self) -> bool:
        """`unsure`, or without it whether the top probability lies below the model's threshold."""
        if self.unsure is not None:
            return self.unsure
        return bool(self.probabilities) and max(self.probabilities.values()) < self.uncertain_below

    def to_dict(self) -> dict[str, Any]:
        """Plain floats, strings and lists: safe for `json.dumps`."""
        return {
            "id": self.id,
            "box": [round(float(v), 2) for v in self.box],
            "score": round(float(self.score), 4),
            "landmarks": [[round(float(x), 2), round(float(y), 2)] for x, y in self.landmarks],
            "emotion": self.emotion,
            "confidence": round(float(self.confidence), 6),
            "uncertain": self.uncertain,
            "probabilities": {name: round(float(p), 6) for name, p in self.probabilities.items()},
        }


@dataclass(frozen=True, slots=True)
class Result:
    """What was seen in one frame.

    Attributes:
        frame: the picture.
        faces: its faces, the largest first; empty when there is none.
        crops: uint8 (N, 48, 48), the gray crops that the network saw, in the order of `faces`.
    """

    frame: Frame
    faces: tuple[Face, ...] = ()
    crops: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 48, 48), np.uint8))

    def to_dict(self) -> dict[str, Any]:
        """Plain floats, strings and lists: safe for `json.dumps`."""
        height, width = self.frame.image.shape[:2]
        return {
            "name": self.frame.name,
            "index": self.frame.index,
            "time": round(float(self.frame.time), 6),
            "width": int(width),
            "height": int(height),
            "faces": [face.to_dict() for face in self.faces],
        }

    def to_fer(self) -> list[dict[str, Any]]:
        """The shape that users of the `fer` package know: box as [x, y, width, height], `emotions` by name."""
        return [
            {
                "box": [round(x1), round(y1), round(x2 - x1), round(y2 - y1)],
                "emotions": {name: round(float(p), 4) for name, p in face.probabilities.items()},
            }
            for face in self.faces
            for x1, y1, x2, y2 in [face.box]
        ]

    def to_hf(self) -> list[list[dict[str, Any]]]:
        """Hugging Face's image-classification shape: for each face a list of label and score, the best first."""
        return [
            [
                {"label": name, "score": float(p)}
                for name, p in sorted(face.probabilities.items(), key=lambda item: -item[1])
            ]
            for face in self.faces
        ]


@runtime_checkable
class Detector(Protocol):
    """Finds faces."""

    name: str

    def __call__(self, image: Image) -> list[Face]:
        """Faces in a uint8 BGR image (H, W, 3), the largest first; safe to call from several threads."""
        ...


@runtime_checkable
class ScaledDetector(Detector, Protocol):
    """Takes less time where only large faces are looked for."""

    def find(self, image: Image, min_face: float) -> list[Face]:
        """Faces of at least `min_face` pixels in a uint8 BGR image (H, W, 3), the largest first."""
        ...


@runtime_checkable
class Classifier(Protocol):
    """Gives probabilities for gray crops."""

    @property
    def labels(self) -> Sequence[str]:
        """Names of the classes, in the order of the columns."""
        ...

    @property
    def uncertain_below(self) -> float:
        """Top probability below which an answer counts as uncertain."""
        ...

    def __call__(self, crops: NDArray[np.uint8]) -> Floats:
        """uint8 (N, 48, 48) -> float32 (N, C), rows sum to 1; safe to call from several threads."""
        ...


class Sink(Protocol):
    """Takes results one by one and writes them somewhere."""

    def write(self, result: Result) -> None:
        """Add one result."""
        ...

    def fail(self, failure: Failure) -> None:
        """Note an item that could not be read."""
        ...

    def close(self) -> None:
        """Finish the output; calling it twice does no harm."""
        ...
