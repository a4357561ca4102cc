"""Haar: OpenCV's cascade detector."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.errors import ModelError
from mien.faces.base import DownscalingDetector
from mien.types import Face, Image


class Haar(DownscalingDetector):
    """OpenCV's frontal-face cascade, without landmarks and with a score of 1. Viola and Jones, 2001."""

    name = "haar"

    def __init__(
        self, max_side: int = 640, min_size: int = 24, neighbours: int = 5, min_face: float | None = None
    ) -> None:
        """Load the cascade; `neighbours` windows must agree, more means fewer false positives."""
        super().__init__(max_side, min_size, min_face)
        self._neighbours = neighbours
        self._local = threading.local()
        self._cascade()

    def _detect(self, image: Image, ratio: NDArray[np.float64]) -> Iterable[Face]:
        gray = cv2.equalizeHist(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
        size = (self._min_size, self._min_size)
        boxes = self._cascade().detectMultiScale(gray, scaleFactor=1.1, minNeighbors=self._neighbours, minSize=size)
        sx, sy = ratio.tolist()
        for x, y, w, h in boxes:
            yield Face((float(x * sx), float(y * sy), float((x + w) * sx), float((y + h) * sy)))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._local = threading.local()

    def _cascade(self) -> Any:
        """Return this thread's cascade."""
        if not hasattr(self._local, "cascade"):
            cascade, data = getattr(cv2, "CascadeClassifier", None), getattr(cv2, "data", None)
            if cascade is None or data is None:
                raise ModelError(
                    "this OpenCV has no Haar cascades; install 'opencv-python-headless<5' or use the detector yunet"
                )
            self._local.cascade = cascade(str(Path(data.haarcascades) / "haarcascade_frontalface_default.xml"))
            if self._local.cascade.empty():
                raise ModelError("OpenCV's frontal-face cascade is missing; install opencv-python-headless again")
        return self._local.cascade
