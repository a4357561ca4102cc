"""The types that all of mien shares.

Images are uint8 BGR arrays (H, W, 3), as in OpenCV. Boxes are (x1, y1, x2, y2) in pixels of their image. Probabilities
are floats that sum to 1, in the order of the model's labels. Times are in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mien.errors import ConfigError

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

EMOTIONS = ("angry", "happy", "sad", "surprise", "neutral")
"""The five classes in the order of display. The order of a model is in its metadata."""

EMOTIONS7 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""All classes of FER2013 in the order of its csv file."""

EMOTIONS8 = (*EMOTIONS7, "contempt")

CLASSES = {5: EMOTIONS, 7: EMOTIONS7, 8: EMOTIONS8}
"""The emotions by their number."""


class Pixels(Protocol):
    """An image in another form than BGR, from which small or gray parts are made quickly: a frame of a video."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, 3)."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        ...

    def bgr(self) -> Image:
        """Return the whole image, uint8 BGR (H, W, 3)."""
        ...

    def small(self, width: int, height: int) -> Image:
        """Return the image scaled to a size in pixels, uint8 BGR."""
        ...

    def gray(self, box: tuple[int, int, int, int] | None = None) -> Image:
        """Return the part (x1, y1, x2, y2) of the image, uint8 gray (H, W)."""
        ...


def label_columns(labels: Sequence[str], wanted: Iterable[str], owner: str = "the model") -> list[int]:
    """Return the column of each wanted label, 0..C-1; `owner` of the C labels is named in the error."""
    columns = {label: column for column, label in enumerate(labels)}
    names = list(wanted)
    if missing := [name for name in names if name not in columns]:
        raise ConfigError(f"{owner} has no class {', '.join(missing)}; its classes are {', '.join(labels)}")
    return [columns[name] for name in names]


@dataclass(frozen=True, slots=True)
class Frame:
    """One image on its way through the pipeline.

    Attributes:
        pixels: uint8 BGR (H, W, 3), or the frame of a video, which is converted on demand.
        index: number in its source, from 0.
        time: seconds from the start of the source; 0 for a still image.
        name: path or another name for display.
    """

    pixels: Image | Pixels
    index: int = 0
    time: float = 0.0
    name: str = ""

    @property
    def image(self) -> Image:
        """The whole frame, uint8 BGR (H, W, 3); copy it before drawing."""
        return self.pixels if isinstance(self.pixels, np.ndarray) else self.pixels.bgr()

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W, 3)."""
        return self.pixels.shape

    @property
    def nbytes(self) -> int:
        """Bytes that the pixels hold in memory."""
        return self.pixels.nbytes


@dataclass(frozen=True, slots=True)
class Failure:
    """An item of a source that could not be read; the others go on.

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
    """One face: its place and, once classified, its expression.

    Attributes:
        box: (x1, y1, x2, y2) in pixels; may exceed the image.
        score: score of the detector, 0..1.
        landmarks: five (x, y) in pixels: left eye, right eye, nose, left and right mouth corner, as seen in the image;
            () when the detector has none.
        probabilities: emotion -> probability; empty before classification.
        confidence_threshold: a top probability below it makes the face `uncertain`, 0..1; above 1 all are.
        id: number of the person within a video, or None.
        label: the emotion that a tracker shows in place of the most probable one, or "".
        unsure: the tracker's decision on `uncertain`, or None.
    """

    box: tuple[float, float, float, float]
    score: float = 1.0
    landmarks: tuple[tuple[float, float], ...] = ()
    probabilities: Mapping[str, float] = field(default_factory=dict)
    confidence_threshold: float = 0.0
    id: int | None = None
    label: str = ""
    unsure: bool | None = None

    @property
    def emotion(self) -> str:
        """`label`, else the most probable emotion, or "" before classification."""
        return self.label or max(self.probabilities, key=self.probabilities.__getitem__, default="")

    @property
    def confidence(self) -> float:
        """Probability of `emotion`, 0..1; 0 before classification."""
        return self.probabilities.get(self.emotion, 0.0)

    @property
    def uncertain(self) -> bool:
        """`unsure`, else whether the top probability is below the threshold."""
        if self.unsure is not None:
            return self.unsure
        return bool(self.probabilities) and max(self.probabilities.values()) < self.confidence_threshold

    def to_dict(self) -> dict[str, Any]:
        """Return rounded floats, strings and lists for `json.dumps`."""
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
    """The faces of one frame.

    Attributes:
        frame: the frame itself.
        faces: largest first.
        crops: uint8 gray (N, 48, 48), the input of the network, in the order of `faces`.
    """

    frame: Frame
    faces: tuple[Face, ...] = ()
    crops: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 48, 48), np.uint8))

    def to_dict(self) -> dict[str, Any]:
        """Return rounded floats, strings and lists for `json.dumps`."""
        height, width = self.frame.shape[:2]
        return {
            "name": self.frame.name,
            "index": self.frame.index,
            "time": round(float(self.frame.time), 6),
            "width": int(width),
            "height": int(height),
            "faces": [face.to_dict() for face in self.faces],
        }

    def to_fer(self) -> list[dict[str, Any]]:
        """Return the format of the `fer` package: box as [x, y, width, height], `emotions` by name."""
        return [
            {
                "box": [round(x1), round(y1), round(x2 - x1), round(y2 - y1)],
                "emotions": {name: round(float(p), 4) for name, p in face.probabilities.items()},
            }
            for face in self.faces
            for x1, y1, x2, y2 in [face.box]
        ]

    def to_hf(self) -> list[list[dict[str, Any]]]:
        """Return the image-classification format of Hugging Face: per face a list of label and score, best first."""
        return [
            [{"label": name, "score": float(p)} for name, p in sorted(probabilities, key=lambda item: -item[1])]
            for probabilities in (face.probabilities.items() for face in self.faces)
        ]


@runtime_checkable
class Detector(Protocol):
    """Detects faces. Safe to call from several threads."""

    name: str

    def __call__(self, image: Image) -> list[Face]:
        """Return the faces in a uint8 BGR image (H, W, 3), largest first."""


@runtime_checkable
class ScaledDetector(Detector, Protocol):
    """A detector that works on a downscaled image, and is faster for large faces."""

    def find(self, pixels: Image | Pixels, min_face: float | None = None) -> list[Face]:
        """Return the faces of at least `min_face` pixels, or of any size, largest first."""
        ...


@runtime_checkable
class Classifier(Protocol):
    """Classifies crops. Safe to call from several threads."""

    @property
    def labels(self) -> Sequence[str]:
        """Class names in column order."""

    @property
    def confidence_threshold(self) -> float:
        """Top probability below which an answer is uncertain, 0..1; above 1 when all answers are."""

    def __call__(self, crops: NDArray[np.uint8]) -> Floats:
        """Classify uint8 gray crops (N, 48, 48) -> float32 (N, C); rows sum to 1."""


class Sink(Protocol):
    """Writes results one by one."""

    def write(self, result: Result) -> None:
        """Add one result."""

    def fail(self, failure: Failure) -> None:
        """Add an item that could not be read."""

    def close(self) -> None:
        """Finish the output; safe to call twice."""


class FrameSource(Protocol):
    """A live source: `Camera` or `RealTimePlayback`."""

    name: str
    ended: bool

    @property
    def rate(self) -> float:
        """Frames a second."""

    def get(self, timeout: float | None = None) -> Frame | Failure | None:
        """Return the newest frame or a failure; None when there is none within `timeout` seconds."""


class View(Protocol):
    """A window."""

    def show(self, image: Image, lines: Sequence[str] = ()) -> None:
        """Show a uint8 BGR image (H, W, 3) with lines of text."""

    def keys(self) -> list[str]:
        """Return the keys pressed since the last call, such as "q", "space" or "escape"."""
