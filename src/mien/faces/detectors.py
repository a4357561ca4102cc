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


def load_detector(name: str, min_face: float | None = None, threads: int | None = None) -> Detector:
    """Load a detector with its default settings.

    Args:
        name: "yunet", "haar" or "mtcnn".
        min_face: side in pixels of the smallest wanted face. In large images a large value is faster and a small one
            slower. None downscales every image to a fixed size.
        threads: threads of one call; None for all cores that the process may use. Haar ignores it: OpenCV has one
            setting for the whole process (`cv2.setNumThreads`).
    """
    if name not in DETECTORS:
        raise ConfigError(f"no detector named {name!r}; choose one of {', '.join(DETECTORS)}")
    settings: dict[str, Any] = {} if threads is None or name == "haar" else {"threads": threads}
    return DETECTORS[name](min_face=min_face, **settings)
