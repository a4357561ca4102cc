"""`analyze` of the package deepface for emotions, run by mien: change `from deepface import DeepFace` to
`from mien.compat.deepface import DeepFace`.

Differences: only the emotion action exists and is the default, the model is mien's (`mien-s-7`, with the same seven
emotions), and nothing is downloaded.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from mien.compat.inputs import read
from mien.errors import ConfigError, Error
from mien.media.inputs import is_many
from mien.pipeline import Pipeline
from mien.pipeline import load as load_pipeline
from mien.types import Face, Frame, Result

MODEL = "mien-s-7"

_DETECTORS = {"opencv": "yunet", "mtcnn": "mtcnn", "skip": "skip"}
_OTHERS = ("age", "gender", "race")
_lock = threading.Lock()


class FaceNotDetected(Error, ValueError):
    """No face was found in an image, and `enforce_detection` is set."""


def analyze(
    img_path: Any,
    actions: str | Sequence[str] = ("emotion",),
    enforce_detection: bool = True,
    detector_backend: str = "opencv",
    align: bool = True,
    expand_percentage: int = 0,
    silent: bool = False,
    anti_spoofing: bool = False,
) -> list[dict[str, Any]] | list[list[dict[str, Any]]]:
    """Return a dictionary a face, the largest first; for a list of images or a batch (N, H, W, 3) a list of such lists.

    Each has `emotion` (name -> per cent), `dominant_emotion`, `region` (x, y, w, h, and the person's left_eye and
    right_eye, or None) and `face_confidence`, 0..1.

    Args:
        img_path: path, BGR array, binary file or data URL as in deepface, or another image that a pipeline takes.
        actions: "emotion" or ["emotion"].
        enforce_detection: raise an error where there is no face. Without it such an image is taken for a face, with
            `face_confidence` 0.
        detector_backend: "mtcnn"; "skip" takes the image for a face; all other names of deepface stand for YuNet.
        align: turn crops until the eyes are level.
        expand_percentage: share of the box's side to add around a face, in per cent.
        silent: ignored; nothing is printed.
        anti_spoofing: not supported; refused.

    Raises:
        FaceNotDetected: a ValueError; see `enforce_detection`.
        ConfigError: another action, or `anti_spoofing`.
        SourceError: an image cannot be read.
    """
    wanted = [actions] if isinstance(actions, str) else list(actions)
    if others := [action for action in wanted if action != "emotion"]:
        known = "mien does not estimate" if set(others) <= set(_OTHERS) else "there is no action"
        raise ConfigError(f"{known} {', '.join(map(str, others))}; give actions=['emotion']")
    if not wanted:
        raise ValueError("actions is empty; give actions=['emotion']")
    if anti_spoofing:
        raise ConfigError("mien has no anti-spoofing; leave anti_spoofing out")
    pipeline = _pipeline(_DETECTORS.get(detector_backend, "yunet"), align, expand_percentage / 100)
    skip = detector_backend == "skip"
    if is_many(img_path) or getattr(img_path, "ndim", 0) == 4:
        return [_analyze(pipeline, read(image), enforce_detection, skip) for image in img_path]
    return _analyze(pipeline, read(img_path), enforce_detection, skip)


class DeepFace:
    """The name under which deepface's functions are called."""

    analyze = staticmethod(analyze)


def _pipeline(detector: str, align: bool, margin: float) -> Pipeline:
    with _lock:  # two threads must not load the same model
        return _load(detector, align, margin)


@lru_cache(8)
def _load(detector: str, align: bool, margin: float) -> Pipeline:
    loaded = load_pipeline(MODEL, "yunet" if detector == "skip" else detector)
    return Pipeline(loaded.detector, loaded.classifier, margin, align)


def _analyze(pipeline: Pipeline, frame: Frame, enforce: bool, skip: bool) -> list[dict[str, Any]]:
    result = Result(frame) if skip else pipeline.process(frame)
    if not result:
        if enforce and not skip:
            raise FaceNotDetected(f"{frame.name}: no face found; give another image, or enforce_detection=False")
        height, width = frame.shape[:2]
        [result] = pipeline.process_batch([frame], [[Face((0.0, 0.0, float(width), float(height)), score=0.0)]])
    return [_to_dict(face) for face in result]


def _to_dict(face: Face) -> dict[str, Any]:
    x1, y1, x2, y2 = face.box
    # deepface names the eyes from the person's side, and mien from the image's.
    right, left = [tuple(map(round, point)) for point in face.landmarks[:2]] or (None, None)
    return {
        "emotion": {name: 100 * value for name, value in face.probabilities.items()},
        "dominant_emotion": face.emotion,
        "region": {
            "x": round(x1), "y": round(y1), "w": round(x2 - x1), "h": round(y2 - y1),
            "left_eye": left, "right_eye": right,
        },
        "face_confidence": round(float(face.score), 2),
    }  # fmt: skip
