"""Results in the forms of other packages."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import ConfigError
from mien.sinks.base import COLUMNS, rows
from mien.types import Result

if TYPE_CHECKING:
    import pandas


def to_json(results: Result | Iterable[Result], indent: int | None = None) -> str:
    """Return a result as a JSON object, several as a list of them."""
    values = results.to_dict() if isinstance(results, Result) else [result.to_dict() for result in results]
    text = json.dumps(values, ensure_ascii=False, indent=indent)
    return text.encode("utf-8", "backslashreplace").decode()  # of a file name that is not UTF-8


def to_pandas(results: Iterable[Result]) -> pandas.DataFrame:
    """Return a table with a row a face and the columns of `mien.sinks.Csv` without `error`.

    Raises:
        ConfigError: pandas is not installed.
    """
    library = _needed("pandas", "to_pandas")
    kept = [result for result in results if result.faces]
    labels = list(dict.fromkeys(name for result in kept for face in result for name in face.probabilities))
    table = [row for result in kept for row in rows(result, labels)]
    frame: pandas.DataFrame = library.DataFrame(table, columns=[*COLUMNS, *labels])
    return frame.astype({"id": "Int64", "shot": "Int64"})


def to_fer(result: Result) -> list[dict[str, Any]]:
    """Return the format of the `fer` package: box as [x, y, width, height], `emotions` by name."""
    return [
        {
            "box": [round(x1), round(y1), round(x2 - x1), round(y2 - y1)],
            "emotions": {name: round(float(p), 4) for name, p in face.probabilities.items()},
        }
        for face in result
        for x1, y1, x2, y2 in [face.box]
    ]


def to_hf(result: Result) -> list[list[dict[str, Any]]]:
    """Return the image-classification format of Hugging Face: per face a list of label and score, best first."""
    return [
        [{"label": name, "score": float(p)} for name, p in sorted(face.probabilities.items(), key=lambda it: -it[1])]
        for face in result
    ]


@dataclass
class Detections:
    """The attributes of `supervision.Detections`, for N faces.

    Attributes:
        xyxy: float32 (N, 4), pixels.
        mask: None.
        confidence: float32 (N,), the emotion's probability; the detector's score before classification.
        class_id: int64 (N,), number of the emotion among the model's labels; None before classification.
        tracker_id: int64 (N,), or None unless all faces have an id.
        data: arrays of N: `class_name` (the emotion), `score` (the detector's) and `uncertain`.
        metadata: empty.
    """

    xyxy: NDArray[np.float32]
    mask: None = None
    confidence: NDArray[np.float32] | None = None
    class_id: NDArray[np.int64] | None = None
    tracker_id: NDArray[np.int64] | None = None
    data: dict[str, NDArray[Any]] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.xyxy)


def to_supervision(result: Result) -> Any:
    """Return `supervision.Detections`, or `Detections` with the same attributes if supervision is not installed."""
    try:
        kind: Any = importlib.import_module("supervision").Detections
    except ImportError:
        kind = Detections
    faces = result.faces
    known = all(face.probabilities for face in faces)
    classes = [list(face.probabilities).index(face.emotion) for face in faces] if known else []
    confidences = [face.confidence if face.probabilities else face.score for face in faces]
    ids = [face.id for face in faces if face.id is not None]
    return kind(
        xyxy=np.array([face.box for face in faces], np.float32).reshape(-1, 4),
        confidence=np.array(confidences, np.float32),
        class_id=np.array(classes, np.int64) if known else None,
        tracker_id=np.array(ids, np.int64) if ids and len(ids) == len(faces) else None,
        data={
            "class_name": np.array([face.emotion for face in faces], str),
            "score": np.array([face.score for face in faces], np.float32),
            "uncertain": np.array([face.uncertain for face in faces], bool),
        },
    )


def _needed(package: str, method: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(f"{method} needs {package}: pip install {package}") from error
