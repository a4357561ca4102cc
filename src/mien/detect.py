"""Face detectors: YuNet (the default), Haar and Mtcnn; detector(name)."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien import runtime
from mien.image import halved
from mien.types import ConfigError, Detector, Face, Floats, Image, ModelError

ASSETS = Path(__file__).parent / "assets"

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
        self._scale = _scale(min_face, _SMALLEST)
        self._net = _session(_asset("face_detection_yunet_2023mar.onnx"), threads)

    def __call__(self, image: Image) -> list[Face]:
        """Faces in a uint8 BGR image (H, W, 3), the largest first."""
        return self._search(image)

    def find(self, image: Image, min_face: float) -> list[Face]:
        """The same for faces of at least `min_face` pixels: in less time where they are large, never in more."""
        return self._search(image, _scale(min_face, _SMALLEST))

    def _search(self, image: Image, most: float | None = None) -> list[Face]:
        small, ratio = _shrink(image, self._max_side, self._scale, most, _STEP)
        below, beside = (-side % _STEP for side in small.shape[:2])
        small = np.asarray(cv2.copyMakeBorder(small, 0, below, 0, beside, cv2.BORDER_CONSTANT), np.uint8)
        planes = np.ascontiguousarray(small.transpose(2, 0, 1)[None], np.float32)
        rows = _pick(_yunet_rows(self._net(planes), small.shape[1], self._score), self._nms)
        factors = np.array(ratio)
        return _largest_first(
            _face(row[:4] * np.tile(factors, 2), float(row[4]), row[5:].reshape(5, 2) * factors) for row in rows
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
        self._scale = _scale(min_face, min_size)
        self._local = threading.local()
        self._cascade()

    def __call__(self, image: Image) -> list[Face]:
        """Faces in a uint8 BGR image (H, W, 3), the largest first."""
        return self._search(image)

    def find(self, image: Image, min_face: float) -> list[Face]:
        """The same for faces of at least `min_face` pixels: in less time where they are large, never in more."""
        return self._search(image, _scale(min_face, self._min_size))

    def _search(self, image: Image, most: float | None = None) -> list[Face]:
        small, ratio = _shrink(image, self._max_side, self._scale, most)
        gray = cv2.equalizeHist(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY))
        size = (self._min_size, self._min_size)
        found = self._cascade().detectMultiScale(gray, scaleFactor=1.1, minNeighbors=self._neighbours, minSize=size)
        sx, sy = ratio
        return _largest_first(
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


class Mtcnn:
    """The three-stage cascade with landmarks: slow, good on small faces.

    Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks", 2016.
    """

    def __init__(
        self,
        max_side: int = 1024,
        min_size: int = 20,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.8),
        min_face: float | None = None,
        threads: int | None = None,
    ) -> None:
        """Load the three networks.

        Args:
            max_side: larger pictures are shrunk to this many pixels.
            min_size: side of the smallest face, in pixels after shrinking.
            thresholds: confidence, 0..1, that a box needs to pass each stage.
            min_face: side in pixels of the smallest face that is wanted, in place of `max_side`: the picture is shrunk
                until such a face has `min_size` pixels, which takes less time where only large faces count.
            threads: for one search; None for all cores that the process may use.

        Raises:
            ConfigError: a smallest face that is not possible.
            ModelError: the weights are missing or damaged.
        """
        self.name = "mtcnn"
        self._max_side, self._min_size, self._thresholds = max_side, min_size, thresholds
        self._scale = _scale(min_face, min_size)
        self._pnet, self._rnet, self._onet = (
            _session(_asset(f"mtcnn_{n}.onnx"), threads) for n in ("pnet", "rnet", "onet")
        )

    def __call__(self, image: Image) -> list[Face]:
        """Faces in a uint8 BGR image (H, W, 3), the largest first."""
        return self._search(image)

    def find(self, image: Image, min_face: float) -> list[Face]:
        """The same for faces of at least `min_face` pixels: in less time where they are large, never in more."""
        return self._search(image, _scale(min_face, self._min_size))

    def _search(self, image: Image, most: float | None = None) -> list[Face]:
        small, (sx, sy) = _shrink(image, self._max_side, self._scale, most)
        rgb = np.ascontiguousarray(small[:, :, ::-1])
        boxes = self._refine(rgb, self._propose(rgb))
        boxes, points = self._finish(rgb, boxes)
        factors = np.array([sx, sy])
        return _largest_first(
            _face(box[:4] * np.tile(factors, 2), float(box[4]), marks * factors)
            for box, marks in zip(boxes, points, strict=True)
        )

    def _propose(self, rgb: Image) -> NDArray[np.float64]:
        """Stage 1: a pyramid of the picture -> square boxes with scores, (N, 5)."""
        scale, found = 12 / self._min_size, [np.zeros((0, 9))]
        # P-Net sees 12 pixels; each step of 0.709 halves the area.
        while min(rgb.shape[:2]) * scale >= 12:
            size = (int(np.ceil(rgb.shape[1] * scale)), int(np.ceil(rgb.shape[0] * scale)))
            level = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
            shift, heat = self._pnet(_blob(level[None]))
            found.append(_pick(_heat_boxes(heat[0, :, :, 1], shift[0], scale, self._thresholds[0]), 0.5))
            scale *= 0.709
        boxes = _pick(np.concatenate(found), 0.7)
        return _square(_shifted(boxes[:, :5], boxes[:, 5:]))

    def _refine(self, rgb: Image, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Stage 2: most false boxes go; (N, 5) -> (M, 5), square."""
        if not len(boxes):
            return boxes
        shift, score = self._rnet(_blob(_patches(rgb, boxes, 24)))
        boxes, keep = _scored(boxes, score[:, 1], self._thresholds[1])
        both = _pick(np.hstack([boxes, shift[keep]]), 0.7)
        return _square(_shifted(both[:, :5], both[:, 5:]))

    def _finish(self, rgb: Image, boxes: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Stage 3: the final boxes (M, 5) and their landmarks (M, 5, 2)."""
        if not len(boxes):
            return boxes, np.zeros((0, 5, 2))
        shift, marks, score = self._onet(_blob(_patches(rgb, boxes, 48)))
        boxes, keep = _scored(boxes, score[:, 1], self._thresholds[2])
        # The network gives five x, then five y, as shares of the square.
        shares = marks[keep].reshape(-1, 2, 5).transpose(0, 2, 1)
        points = boxes[:, None, :2] + shares * (boxes[:, 2:4] - boxes[:, :2])[:, None]
        both = _pick(np.hstack([_shifted(boxes, shift[keep]), points.reshape(-1, 10)]), 0.7, smaller=True)
        return both[:, :5], both[:, 5:].reshape(-1, 5, 2)


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


def _asset(name: str) -> Path:
    path = ASSETS / name
    if not path.is_file():
        raise ModelError(f"{path}: the detector's weights are missing; install mien again")
    return path


def _session(path: Path, threads: int | None) -> Callable[[Floats], list[Floats]]:
    session = runtime.session(path, "install mien again", threads)
    name = session.get_inputs()[0].name
    return lambda blob: list(session.run(None, {name: blob}))


def _scale(min_face: float | None, size: int) -> float | None:
    """The factor that leaves `size` pixels of a face of `min_face`."""
    if min_face is not None and not (math.isfinite(min_face) and min_face > 0):
        raise ConfigError(f"the smallest face is {min_face} pixels; give a finite number above 0")
    return None if min_face is None else size / min_face


def _shrink(
    image: Image, max_side: int, scale: float | None, most: float | None = None, step: int = 1
) -> tuple[Image, tuple[float, float]]:
    """The picture by that scale, or else with its longest side at most `max_side`, and the (x, y) factors back to it.

    It is never enlarged, and with `most` shrunk at least by that factor, until the longer side is a multiple of `step`.
    It is halved as long as it goes, which takes a fraction of the time, then averaged; with `most` interpolated, which
    takes less.
    """
    height, width = image.shape[:2]
    scale = max_side / max(height, width) if scale is None else scale
    if most is not None:
        longest = max(height, width)
        scale = min(scale, most)
        scale = max(int(longest * min(scale, 1.0)) // step, 1) * step / longest
    if scale >= 1:
        return np.ascontiguousarray(image), (1.0, 1.0)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    small, times = image, 0
    while small.shape[0] >= 2 * size[1] and small.shape[1] >= 2 * size[0]:
        small, times = np.asarray(halved(small), np.uint8), times + 1
    ratio = ((small.shape[1] << times) / size[0], (small.shape[0] << times) / size[1])
    kind = cv2.INTER_AREA if most is None else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(small, size, interpolation=kind), np.uint8), ratio


def _largest_first(faces: Iterable[Face]) -> list[Face]:
    return sorted(faces, key=lambda face: (face.box[0] - face.box[2]) * (face.box[3] - face.box[1]))


def _face(box: NDArray[np.float64], score: float, points: NDArray[np.float64]) -> Face:
    x1, y1, x2, y2 = (float(value) for value in box)
    return Face((x1, y1, x2, y2), min(max(score, 0.0), 1.0), tuple((float(x), float(y)) for x, y in points))


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


def _blob(pictures: NDArray[np.uint8]) -> Floats:
    """uint8 RGB (N, H, W, 3) -> float32 (N, W, H, 3) in -1..1; the weights come from Matlab: columns first."""
    return np.ascontiguousarray((pictures.transpose(0, 2, 1, 3).astype(np.float32) - 127.5) / 128)


def _heat_boxes(heat: Floats, shift: Floats, scale: float, threshold: float) -> NDArray[np.float64]:
    """P-Net's map (W, H) and shifts (W, H, 4) -> boxes, score and shifts, (N, 9), in pixels of the picture."""
    cells = np.argwhere(heat >= threshold)
    score = heat[cells[:, 0], cells[:, 1], None]
    # The net steps by 2 pixels and each cell sees 12.
    return np.hstack([2 * cells / scale, (2 * cells + 12) / scale, score, shift[cells[:, 0], cells[:, 1]]])


def _scored(
    boxes: NDArray[np.float64], score: Floats, threshold: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The boxes whose score is above the threshold, with that score, and which ones they are."""
    keep = np.asarray(score > threshold)
    return np.hstack([boxes[keep, :4], score[keep, None]]), keep


def _shifted(boxes: NDArray[np.float64], shift: NDArray[Any]) -> NDArray[np.float64]:
    """Move each corner by a share of the box's sides: bounding box regression."""
    sides = np.tile(boxes[:, 2:4] - boxes[:, :2], 2)
    return np.hstack([boxes[:, :4] + shift * sides, boxes[:, 4:5]])


def _square(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    centre = (boxes[:, :2] + boxes[:, 2:4]) / 2
    half = (boxes[:, 2:4] - boxes[:, :2]).max(axis=1, keepdims=True, initial=0) / 2
    return np.hstack([np.rint(centre - half), np.rint(centre + half), boxes[:, 4:5]])


def _patches(rgb: Image, boxes: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """Square boxes -> uint8 (N, size, size, 3); black outside the picture, as in training."""
    out = np.zeros((len(boxes), size, size, 3), np.uint8)
    height, width = rgb.shape[:2]
    for i, (x1, y1, x2, y2) in enumerate(boxes[:, :4].astype(int)):
        patch = np.zeros((max(y2 - y1, 1), max(x2 - x1, 1), 3), np.uint8)
        left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
        if right > left and bottom > top:
            patch[top - y1 : bottom - y1, left - x1 : right - x1] = rgb[top:bottom, left:right]
        out[i] = cv2.resize(patch, (size, size), interpolation=cv2.INTER_AREA)
    return out


def _pick(boxes: NDArray[np.float64], threshold: float, smaller: bool = False) -> NDArray[np.float64]:
    """Non-maximum suppression on rows (x1, y1, x2, y2, score, ...).

    The overlap is the intersection over the union, or over the smaller box when `smaller`.
    """
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.argsort(-boxes[:, 4], kind="stable")
    picked: list[int] = []
    while order.size:
        best, rest = order[0], order[1:]
        picked.append(int(best))
        sides = np.minimum(boxes[best, 2:4], boxes[rest, 2:4]) - np.maximum(boxes[best, :2], boxes[rest, :2])
        common = np.prod(np.maximum(sides, 0), axis=1)
        whole = np.minimum(area[best], area[rest]) if smaller else area[best] + area[rest] - common
        order = rest[common <= threshold * whole]
    return np.asarray(boxes[np.array(picked, int)], np.float64)
