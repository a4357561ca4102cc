"""Face detectors: YuNet (the default) and Haar; detector(name) gives these or Mtcnn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.mtcnn import Mtcnn
from mien.search import face_at, largest_first, network, pick, scale_for, shrink
from mien.types import ConfigError, Detector, Face, Floats, Image, ModelError

_SMALLEST = 24
"""Side in pixels that `min_face` leaves of a face for YuNet.

At 24 pixels it found all 7 faces of 3 photographs and the one in 9 frames of a video; at 20 it missed one. Tight
crops of FER2013 in a made background are another matter: of 150, 160 pixels wide and shrunk, it found 7 % at 24 pixels,
41 % at 32 and 69 % at 48 (92 % of 60 without shrinking). Ask for a smaller face than those that must not be missed.
"""


_STEP = 32
"""Pixels: YuNet halves the picture five times, so its sides are filled up to multiples of this."""


class YuNet:
    """OpenCV's YuNet: fast and small, with landmarks. Wu et al., "YuNet: a tiny millisecond-level detector", 2023.

    ONNX Runtime needs half of the time that OpenCV's own `FaceDetectorYN` needs for it.
    """

    def __init__(
        self,
        max_side: int = 640,
        score: float = 0.7,
        nms: float = 0.3,
        min_face: float | None = None,
        threads: int | None = None,
    ) -> None:
        """Load the network.

        Args:
            max_side: larger pictures are shrunk to this many pixels; more finds smaller faces and takes longer.
            score: faces below this confidence, 0..1, are dropped.
            nms: of two boxes that overlap by more than this, 0..1, the weaker one is dropped.
            min_face: side in pixels of the smallest face that is wanted, in place of `max_side`: the picture is shrunk
                until such a face has 24 pixels, which takes less time where only large faces count.
            threads: for one search; None for all cores that the process may use.

        Raises:
            ConfigError: a smallest face that is not possible.
            ModelError: the weights are missing or damaged.
        """
        self.name = "yunet"
        self._max_side, self._score, self._nms = max_side, score, nms
        self._scale = scale_for(min_face, _SMALLEST)
        self._net = network("face_detection_yunet_2023mar.onnx", threads)

    def __call__(self, image: Image) -> list[Face]:
        """Faces in a uint8 BGR image (H, W, 3), the largest first."""
        return self._search(image)

    def find(self, image: Image, min_face: float) -> list[Face]:
        """The same for faces of at least `min_face` pixels: in less time where they are large, never in more."""
        return self._search(image, scale_for(min_face, _SMALLEST))

    def _search(self, image: Image, most: float | None = None) -> list[Face]:
        small, ratio = shrink(image, self._max_side, self._scale, most, _STEP)
        below, beside = (-side % _STEP for side in small.shape[:2])
        small = np.asarray(cv2.copyMakeBorder(small, 0, below, 0, beside, cv2.BORDER_CONSTANT), np.uint8)
        planes = np.ascontiguousarray(small.transpose(2, 0, 1)[None], np.float32)
        rows = pick(_yunet_rows(self._net(planes), small.shape[1], self._score), self._nms)
        factors = np.array(ratio)
        return largest_first(
            face_at(row[:4] * np.tile(factors, 2), float(row[4]), row[5:].reshape(5, 2) * factors) for row in rows
        )


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

    def find(self, image: Image, min_face: float) -> list[Face]:
        """The same for faces of at least `min_face` pixels: in less time where they are large, never in more."""
        return self._search(image, scale_for(min_face, self._min_size))

    def _search(self, image: Image, most: float | None = None) -> list[Face]:
        small, ratio = shrink(image, self._max_side, self._scale, most)
        gray = cv2.equalizeHist(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY))
        size = (self._min_size, self._min_size)
        found = self._cascade().detectMultiScale(gray, scaleFactor=1.1, minNeighbors=self._neighbours, minSize=size)
        sx, sy = ratio
        return largest_first(
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


DETECTORS: dict[str, Callable[..., Detector]] = {"yunet": YuNet, "haar": Haar, "mtcnn": Mtcnn}


def detector(name: str, min_face: float | None = None, threads: int | None = None) -> Detector:
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


def _yunet_rows(maps: Sequence[Floats], width: int, threshold: float) -> NDArray[np.float64]:
    """YuNet's outputs -> box, score and five landmarks a row, (N, 15), in pixels of its input.

    The outputs are class, object, box and landmarks, each for the strides 8, 16 and 32, a row a cell: the centre's
    offset, the logarithm of the sides and the landmarks' offsets count in strides. Its "right eye" is the person's: on
    the left of the picture.
    """
    kind, thing, box, marks = (np.concatenate([each[0] for each in maps[part : part + 3]]) for part in (0, 3, 6, 9))
    score = kind[:, 0] * thing[:, 0]  # both of them 0..1
    keep = np.flatnonzero(score >= threshold**2)
    grid = _grid(maps[0].shape[1], width)[keep]
    cell, stride, box = grid[:, :2], grid[:, 2:], box[keep].astype(np.float64)
    centre, half = (cell + box[:, :2]) * stride, np.exp(box[:, 2:]) * stride / 2
    points = (np.tile(cell, 5) + marks[keep]) * stride
    return np.hstack([centre - half, centre + half, np.sqrt(score[keep, None]), points])


@lru_cache(8)
def _grid(cells: int, width: int) -> NDArray[np.float64]:
    """Column, row and stride of each cell of a picture of that width with so many cells at stride 8, (N, 3)."""
    columns = width // 8
    rows = cells // columns
    return np.concatenate(
        [
            np.stack(
                [*np.indices((rows // by, columns // by))[::-1].reshape(2, -1), np.full(cells // by**2, 8 * by)], 1
            )
            for by in (1, 2, 4)
        ]
    ).astype(np.float64)
