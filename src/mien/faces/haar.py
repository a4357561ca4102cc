"""Haar, OpenCV's cascade."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import cv2

from mien.errors import ModelError
from mien.faces.boxes import sort_by_area
from mien.faces.resize import downscale, scale_for
from mien.types import Face, Image, Pixels


class Haar:
    """OpenCV's frontal-face cascade, without landmarks and with a score of 1. Viola and Jones, 2001."""

    def __init__(
        self, max_side: int = 640, min_size: int = 24, neighbours: int = 5, min_face: float | None = None
    ) -> None:
        """Prepare the detector.

        Args:
            max_side: larger pictures are shrunk to this many pixels.
            min_size: side of the smallest face, in pixels after shrinking.
            neighbours: how many windows must agree; more means fewer false faces.
            min_face: side in pixels of the smallest face that is wanted, in place of `max_side`: the picture is shrunk
                until such a face has `min_size` pixels, which takes less time where only large faces count.

        Raises:
            ConfigError: a smallest face that is not possible.
            ModelError: this OpenCV has no cascades (OpenCV 5).
        """
        self.name = "haar"
        self._max_side, self._min_size, self._neighbours = max_side, min_size, neighbours
        self._scale = scale_for(min_face, min_size)
        self._local = threading.local()
        self._cascade()

    def __call__(self, image: Image) -> list[Face]:
        """Faces in a uint8 BGR image (H, W, 3), the largest first."""
        return self._search(image)

    def find(self, pixels: Image | Pixels, min_face: float | None = None) -> list[Face]:
        """The same for faces of at least `min_face` pixels: in less time where they are large, never in more."""
        return self._search(pixels, None if min_face is None else scale_for(min_face, self._min_size))

    def _search(self, image: Image | Pixels, most: float | None = None) -> list[Face]:
        small, ratio = downscale(image, self._max_side, self._scale, most)
        gray = cv2.equalizeHist(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY))
        size = (self._min_size, self._min_size)
        found = self._cascade().detectMultiScale(gray, scaleFactor=1.1, minNeighbors=self._neighbours, minSize=size)
        sx, sy = ratio
        return sort_by_area(
            Face((float(x * sx), float(y * sy), float((x + w) * sx), float((y + h) * sy))) for x, y, w, h in found
        )

    def _cascade(self) -> Any:
        if not hasattr(self._local, "cascade"):
            make, data = getattr(cv2, "CascadeClassifier", None), getattr(cv2, "data", None)
            if make is None or data is None:
                raise ModelError(
                    "this OpenCV has no Haar cascades; install 'opencv-python-headless<5' or use the detector yunet"
                )
            self._local.cascade = make(str(Path(data.haarcascades) / "haarcascade_frontalface_default.xml"))
            if self._local.cascade.empty():
                raise ModelError("OpenCV's frontal-face cascade is missing; install opencv-python-headless again")
        return self._local.cascade
