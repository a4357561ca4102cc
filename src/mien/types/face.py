"""Face: its place, its quality and its expression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mien.types.probabilities import EMPTY, read_only


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
