"""Faces of a data set put back into larger pictures, through detector, crop and classifier: a missed face is an error.

FER2013's crops are tight and coarse: 48 pixels, a square edge, nothing of the hair, neck and shoulders around a face
in a photograph. Detectors learnt from photographs, so the recall here compares sizes, angles and detectors with each
other; it is no estimate for faces in photographs, which are found more easily.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.pipeline import Pipeline
from mien.train.data import Faces
from mien.train.robustness import columns
from mien.types import ConfigError, DataError, Face, Frame, Image

Box = tuple[float, float, float, float]

WIDTH, HEIGHT = 640, 480
SIDES = (48, 96, 160, 240)
ANGLES = (0, 15, 30, 45)
OVERLAP = 0.3
"""Intersection over union with the upright square, from which on a box counts as this face."""


@dataclass(frozen=True, slots=True)
class Placed:
    """What happened to all faces at one size and angle. All shares are 0..1.

    Attributes:
        side: of the face, in pixels.
        angle: in degrees, half of the faces to the left, half to the right.
        n: number of faces, one a picture.
        recall: share of the faces that the detector found.
        accuracy: share of the faces that were found and got the right label.
        false_boxes: boxes that are no face, or a second one for the same face; a count over all pictures.
    """

    side: int
    angle: float
    n: int
    recall: float
    accuracy: float
    false_boxes: int

    @property
    def accuracy_found(self) -> float:
        """Share of the right labels among the faces found; 0 when there are none."""
        return self.accuracy / self.recall if self.recall else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers: safe for `json.dumps`."""
        return {**asdict(self), "accuracy_found": self.accuracy_found}


def end_to_end(
    pipeline: Pipeline, faces: Faces, sides: Sequence[int] = SIDES, angles: Sequence[float] = ANGLES, seed: int = 0
) -> list[Placed]:
    """Recall and accuracy for each side and angle, sides outermost.

    Each face keeps its background and the direction of its turn over all sides and angles.

    Raises:
        ConfigError: the classifier lacks a class of `faces`, or a face does not fit into the picture.
        DataError: there are no faces.
    """
    if not len(faces):
        raise DataError("there is nothing to evaluate: give at least one face")
    columns(pipeline.classifier, faces.labels)
    counts = {(side, angle): np.zeros(3, np.int64) for side in sides for angle in angles}
    for number, (crop, target) in enumerate(zip(faces.images, faces.targets, strict=True)):
        for side, angle in counts:
            image, box = place(crop, side, angle, np.random.default_rng([seed, number]))
            seen = pipeline.process(Frame(image)).faces
            best = max(seen, key=lambda face: _overlap(face.box, box), default=None)
            hit = best is not None and _overlap(best.box, box) >= OVERLAP
            right = hit and best is not None and _choice(best, faces.labels) == faces.labels[target]
            counts[side, angle] += (hit, right, len(seen) - hit)
    n = len(faces)
    return [
        Placed(side, angle, n, int(hits) / n, int(rights) / n, int(false))
        for (side, angle), (hits, rights, false) in counts.items()
    ]


def place(crop: NDArray[np.uint8], side: int, angle: float, rng: np.random.Generator) -> tuple[Image, Box]:
    """Put a face somewhere into a picture of smooth gray shades and a little noise.

    Args:
        crop: uint8 (48, 48), gray.
        side: of the face in the picture, pixels.
        angle: degrees; the direction is drawn.
        rng: draws background, place and direction.

    Returns:
        uint8 BGR (480, 640, 3), and the upright square of that side around the middle of the face.

    Raises:
        ConfigError: a turned face of this side does not fit.
    """
    shades = rng.uniform(40, 215, (6, 8)).astype(np.float32)
    back = cv2.resize(shades, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    back = back + rng.normal(0, 4, (HEIGHT, WIDTH))
    turn = angle * rng.choice([-1.0, 1.0])
    reach = side / 2 * (abs(np.cos(np.radians(turn))) + abs(np.sin(np.radians(turn))))
    if side < 1 or 2 * reach > min(WIDTH, HEIGHT):
        raise ConfigError(f"a face of {side} pixels at {angle} degrees does not fit into {WIDTH} x {HEIGHT} pixels")
    # Drawn as shares, so that a generator in the same state puts every size in much the same place; the upright square
    # begins at a whole pixel, because a fraction would also blur.
    spare = np.array([WIDTH, HEIGHT]) - 2 * reach
    left, top = (float(v) for v in np.rint(reach + rng.random(2) * spare - side / 2))
    matrix = np.asarray(cv2.getRotationMatrix2D((23.5, 23.5), turn, side / 48), np.float64)
    matrix[:, 2] += np.array([left, top]) + side / 2 - 24  # pixel centres lie at +0.5
    size = (WIDTH, HEIGHT)
    face = cv2.warpAffine(crop.astype(np.float32), matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpAffine(np.ones((48, 48), np.float32), matrix, size, flags=cv2.INTER_NEAREST)
    gray = np.clip(np.rint(np.where(mask > 0, face, back)), 0, 255).astype(np.uint8)
    return np.repeat(gray[:, :, None], 3, axis=2), (left, top, left + side, top + side)


def _choice(face: Face, labels: Sequence[str]) -> str:
    return max(labels, key=face.probabilities.__getitem__)


def _overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0..1."""
    common = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return common / (both - common) if common else 0.0
