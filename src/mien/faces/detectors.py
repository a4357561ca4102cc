"""Detectors by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mien.errors import ConfigError
from mien.faces.haar import Haar
from mien.faces.mtcnn import Mtcnn
from mien.faces.yunet import YuNet
from mien.types import Detector

DETECTORS: dict[str, Callable[..., Detector]] = {"yunet": YuNet, "haar": Haar, "mtcnn": Mtcnn}


def load_detector(
    name: str, min_face: float | None = None, threads: int | None = None, min_score: float | None = None
) -> Detector:
    """Load a detector with its default settings.

    Args:
        name: "yunet", "haar" or "mtcnn".
        min_face: side in pixels of the smallest wanted face. In large images a large value is faster and a small one
            slower. None downscales every image to a fixed size.
        threads: threads of one call; None for all cores that the process may use. Haar ignores it: OpenCV has one
            setting for the whole process (`cv2.setNumThreads`).
        min_score: lowest score of a face, 0..1; None for the detector's own, 0.7 for YuNet and 0.8 for MTCNN. Haar
            gives no scores.
    """
    if name not in DETECTORS:
        raise ConfigError(f"no detector named {name!r}; choose one of {', '.join(DETECTORS)}")
    settings: dict[str, Any] = {} if threads is None or name == "haar" else {"threads": threads}
    if min_score is not None:
        if name == "haar":
            raise ConfigError("haar gives no scores; leave out the lowest score, or use yunet or mtcnn")
        if not 0 < min_score < 1:
            raise ConfigError(f"the lowest score is {min_score}; give a number between 0 and 1")
        settings |= {"score": min_score} if name == "yunet" else {"thresholds": (0.6, 0.7, min_score)}
    return DETECTORS[name](min_face=min_face, **settings)
