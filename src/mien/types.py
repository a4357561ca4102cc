"""The types that all of mien shares.

Images are uint8 BGR arrays (H, W, 3), as in OpenCV. Boxes are (x1, y1, x2, y2) in pixels of their image. Probabilities
are floats that sum to 1, in the order of the model's labels. Times are in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from mien.errors import ConfigError
from mien.probabilities import EMPTY, read_only
from mien.protocols import Classifier as Classifier
from mien.protocols import Detector as Detector
from mien.protocols import Floats as Floats
from mien.protocols import FrameSource as FrameSource
from mien.protocols import Image as Image
from mien.protocols import Pixels as Pixels
from mien.protocols import ScaledDetector as ScaledDetector
from mien.protocols import Sink as Sink
from mien.protocols import View as View

if TYPE_CHECKING:
    import pandas

EMOTIONS = ("angry", "happy", "sad", "surprise", "neutral")
"""The five classes in the order of display. The order of a model is in its metadata."""

EMOTIONS7 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""All classes of FER2013 in the order of its csv file."""

EMOTIONS8 = (*EMOTIONS7, "contempt")

CLASSES = {5: EMOTIONS, 7: EMOTIONS7, 8: EMOTIONS8}
"""The emotions by their number."""


def label_columns(labels: Sequence[str], wanted: Iterable[str], owner: str = "the model") -> list[int]:
    """Return the column of each wanted label, 0..C-1; `owner` of the C labels is named in the error."""
    columns = {label: column for column, label in enumerate(labels)}
    names = list(wanted)
    if missing := [name for name in names if name not in columns]:
        raise ConfigError(f"{owner} has no class {', '.join(missing)}; its classes are {', '.join(labels)}")
    return [columns[name] for name in names]


@dataclass(frozen=True, eq=False, repr=False)
class Frame:
    """One image on its way through the pipeline.

    Frames are equal when their pixels and all else are. The hash leaves the pixels out.

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

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frame):
            return NotImplemented
        if (self.name, self.index, self.time) != (other.name, other.index, other.time):
            return False
        return self.pixels is other.pixels or bool(np.array_equal(self.image, other.image))

    def __hash__(self) -> int:
        return hash((self.name, self.index, self.time))

    def __reduce__(self) -> tuple[type[Frame], tuple[Image, int, float, str]]:
        return Frame, (self.image, self.index, self.time, self.name)  # a decoder's planes cannot be pickled

    def __repr__(self) -> str:
        return f"Frame({self.name!r}, {self.shape[1]} x {self.shape[0]}, index={self.index}, time={self.time:g})"


@dataclass(frozen=True)
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
class Quality:
    """How well a face can be seen; `faces.quality` measures it.

    Attributes:
        size: longer side of the box, in pixels.
        sharpness: fine detail of the 48x48 crop by its contrast, from 0; faces of FER2013 have 0.4 to 1.9.
        brightness: mean of the crop, in gray levels, 0..255.
        yaw: degrees by which the head is turned to the right of the image, or None without landmarks.
        pitch: degrees by which it looks down, or None.
        roll: degrees by which it is tilted clockwise in the image, or None; crops are level.
        inside: share of the box inside the image, 0..1.
    """

    size: float
    sharpness: float
    brightness: float
    yaw: float | None
    pitch: float | None
    roll: float | None
    inside: float

    def to_dict(self) -> dict[str, float | None]:
        """Return rounded floats for `json.dumps`."""
        values = {name: getattr(self, name) for name in QUALITY}
        return {name: None if value is None else round(float(value), 3) for name, value in values.items()}


QUALITY = ("size", "sharpness", "brightness", "yaw", "pitch", "roll", "inside")
"""Fields of `Quality`, and columns of tables."""


@dataclass(frozen=True, repr=False)
class Face:
    """One face: its place and, once classified, its expression. Comparable and hashable by value.

    Attributes:
        box: (x1, y1, x2, y2) in pixels; may exceed the image.
        score: score of the detector, 0..1.
        landmarks: five (x, y) in pixels: left eye, right eye, nose, left and right mouth corner, as seen in the image;
            () when the detector has none.
        probabilities: emotion -> probability, read-only; empty before classification.
        confidence_threshold: a top probability below it makes the face `uncertain`, 0..1; above 1 all are.
        id: number of the person within a video, or None.
        label: the emotion that a tracker shows in place of the most probable one, or "".
        unsure: the tracker's decision on `uncertain`, or None.
        quality: how well the face can be seen, or None before classification.
        weaknesses: what of its quality makes the face `uncertain`: small, blurred, dark, bright, turned, cut off.
    """

    box: tuple[float, float, float, float]
    score: float = 1.0
    landmarks: tuple[tuple[float, float], ...] = ()
    probabilities: Mapping[str, float] = EMPTY
    confidence_threshold: float = 0.0
    id: int | None = None
    label: str = ""
    unsure: bool | None = None
    quality: Quality | None = None
    weaknesses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "probabilities", read_only(self.probabilities))
        if not isinstance(self.box, tuple):  # a detector of a user's own may give arrays
            object.__setattr__(self, "box", tuple(map(float, self.box)))
        if not isinstance(self.landmarks, tuple):
            object.__setattr__(self, "landmarks", tuple((float(x), float(y)) for x, y in self.landmarks))

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
        """`unsure`, else whether the top probability is below the threshold, or the quality is too poor."""
        if self.unsure is not None:
            return self.unsure
        if not self.probabilities:
            return False
        return bool(self.weaknesses) or max(self.probabilities.values()) < self.confidence_threshold

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
            "quality": self.quality and self.quality.to_dict(),
            "weaknesses": list(self.weaknesses),
        }

    def __str__(self) -> str:
        """Return the label and its probability, such as "happy 0.98"; "?" marks an uncertain one."""
        who = "" if self.id is None else f"#{self.id} "
        what = f"{self.emotion}{'?' * self.uncertain} {self.confidence:.2f}" if self.probabilities else "face"
        return who + what

    def __repr__(self) -> str:
        return f"Face({self}, box=({', '.join(f'{value:.0f}' for value in self.box)}), score={self.score:.2f})"


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The faces of one frame: iterate over it, index it, ask for its length. Without a face it is false.

    Results are equal when frames, faces and crops are. The hash leaves pixels and crops out. In a notebook a result
    shows its annotated image and a table.

    Attributes:
        frame: the frame itself.
        faces: largest first.
        crops: uint8 gray (N, 48, 48), the input of the network, in the order of `faces`.
        shot: number of the shot within a video, from 1, or None for an image.
    """

    frame: Frame
    faces: tuple[Face, ...] = ()
    crops: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 48, 48), np.uint8))
    shot: int | None = None

    @property
    def name(self) -> str:
        """Path or another name of the frame."""
        return self.frame.name

    @property
    def index(self) -> int:
        """Number of the frame in its source, from 0."""
        return self.frame.index

    @property
    def time(self) -> float:
        """Seconds from the start of the source; 0 for a still image."""
        return self.frame.time

    def __len__(self) -> int:
        return len(self.faces)

    def __iter__(self) -> Iterator[Face]:
        return iter(self.faces)

    @overload
    def __getitem__(self, number: int) -> Face: ...

    @overload
    def __getitem__(self, number: slice) -> tuple[Face, ...]: ...

    def __getitem__(self, number: int | slice) -> Face | tuple[Face, ...]:
        return self.faces[number]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Result):
            return NotImplemented
        same = self.faces == other.faces and self.shot == other.shot and self.frame == other.frame
        return same and bool(np.array_equal(self.crops, other.crops))

    def __hash__(self) -> int:
        return hash((self.frame, self.faces))

    def __repr__(self) -> str:
        shown = ", ".join(map(str, self.faces[:5])) + (f", and {len(self) - 5} more" if len(self) > 5 else "")
        height, width = self.frame.shape[:2]
        count = f"{len(self) or 'no'} face{'s' * (len(self) != 1)}"
        return f"Result({self.name!r}, {width} x {height}, {count}{': ' * bool(self)}{shown})"

    def plot(self, *, rgb: bool = False, inset: bool = False) -> Image:
        """Return the image with boxes and labels, a new uint8 BGR array (H, W, 3); RGB with `rgb`.

        With `inset` each panel shows the 48x48 crop that the network saw.
        """
        from mien import rendering

        return rendering.plot(self, rgb, inset)

    def save(self, path: str | Path, *, inset: bool = False) -> Path:
        """Write the annotated image to a .jpg, .png or .webp file, whole or not at all, and return its path.

        Raises:
            ConfigError: the path is the source image or has another suffix.
            OutputError: it cannot be written.
        """
        from mien import rendering

        return rendering.save(self, path, inset)

    def show(self) -> None:
        """Show the annotated image in the notebook, or else in the system's image viewer."""
        from mien import rendering

        rendering.show(self)

    def to_dict(self) -> dict[str, Any]:
        """Return rounded floats, strings and lists for `json.dumps`."""
        height, width = self.frame.shape[:2]
        return {
            "name": self.name,
            "index": self.index,
            "time": round(float(self.time), 6),
            "shot": self.shot,
            "width": int(width),
            "height": int(height),
            "faces": [face.to_dict() for face in self.faces],
        }

    def to_json(self, indent: int | None = None) -> str:
        """Return `to_dict` as JSON text."""
        from mien import conversions

        return conversions.to_json(self, indent)

    def to_pandas(self) -> pandas.DataFrame:
        """Return a pandas table with a row a face and the columns of `mien.sinks.Csv`; needs pandas."""
        from mien import conversions

        return conversions.to_pandas([self])

    def to_fer(self) -> list[dict[str, Any]]:
        """Return the format of the `fer` package: box as [x, y, width, height], `emotions` by name."""
        from mien import conversions

        return conversions.to_fer(self)

    def to_hf(self) -> list[list[dict[str, Any]]]:
        """Return the image-classification format of Hugging Face: per face a list of label and score, best first."""
        from mien import conversions

        return conversions.to_hf(self)

    def to_supervision(self) -> Any:
        """Return `supervision.Detections`, or an object with the same attributes where supervision is not installed."""
        from mien import conversions

        return conversions.to_supervision(self)

    def _repr_png_(self) -> bytes:
        from mien import rendering

        return rendering.png(self)

    def _repr_html_(self) -> str:
        from mien import rendering

        return rendering.html(self)
