"""The detectors by name."""

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
    """A detector with its default settings.

    Args:
        name: "yunet", "haar" or "mtcnn".
        min_face: side in pixels of the smallest face that is wanted: large pictures take less time when it is large,
            and more when it is small. None looks at the picture shrunk to a fixed size.
        threads: for one search, where several run at the same time; None for all cores that the process may use. Haar
            has OpenCV's, one setting for the whole process (`cv2.setNumThreads`).

    Raises:
        ConfigError: no such detector, or a smallest face that is not possible.
        ModelError: its weights cannot be loaded.
    """
    if name not in DETECTORS:
        raise ConfigError(f"no detector named {name!r}; choose one of {', '.join(DETECTORS)}")
    settings: dict[str, Any] = {} if threads is None or name == "haar" else {"threads": threads}
    return DETECTORS[name](**settings) if min_face is None else DETECTORS[name](min_face=min_face, **settings)
