"""Faces of a data set pasted into larger images, through detector, crop and classifier: a missed face is an error.

FER2013's crops are tight and coarse: 48 pixels, a square edge, no hair, neck or shoulders. Detectors learned from
photographs, in which faces are easier to find, so this recall compares sizes, angles and detectors with each other;
it is no estimate for photographs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.data.faces import Faces
from mien.errors import ConfigError, DataError
from mien.pipeline import Pipeline
from mien.types import Frame, Image, label_columns

Box = tuple[float, float, float, float]
WIDTH, HEIGHT = 640, 480
SIDES = (48, 96, 160, 240)
ANGLES = (0, 15, 30, 45)

OVERLAP = 0.3
"""Intersection over union with the upright square from which on a box counts as the face."""


@dataclass(frozen=True, slots=True)
class Placed:
    """The results for n faces, one an image, at one size and angle; shares are 0..1.

    Attributes:
        side: of the face, in pixels.
        angle: in degrees, half of the faces to the left, half to the right.
        recall: share of the faces that were detected.
        accuracy: share of the faces that were detected and classified right.
        false_boxes: number of boxes without a face or with a face that has a better box.
    """

    side: int
    angle: float
    n: int
    recall: float
    accuracy: float
    false_boxes: int

    @property
    def accuracy_found(self) -> float:
        """Accuracy on the detected faces; 0 when there are none."""
        return self.accuracy / self.recall if self.recall else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers for JSON."""
        return {**asdict(self), "accuracy_found": self.accuracy_found}


def end_to_end(
    pipeline: Pipeline, faces: Faces, sides: Sequence[int] = SIDES, angles: Sequence[float] = ANGLES, seed: int = 0
) -> list[Placed]:
    """Measure recall and accuracy for each side and angle, sides outermost.

    Each face keeps its background and its direction of rotation over all sides and angles.
    """
    if not len(faces):
        raise DataError("there is nothing to evaluate: give at least one face")
    label_columns(pipeline.classifier.labels, faces.labels)
    counts = {(side, angle): np.zeros(3, np.int64) for side in sides for angle in angles}
    for number, (crop, target) in enumerate(zip(faces.images, faces.targets, strict=True)):
        for side, angle in counts:
            image, box = place(crop, side, angle, np.random.default_rng([seed, number]))
            detected = pipeline.process(Frame(image)).faces
            best = max(detected, key=lambda face: _overlap(face.box, box), default=None)
            hit = best is not None and _overlap(best.box, box) >= OVERLAP
            right = (
                hit
                and best is not None
                and max(faces.labels, key=best.probabilities.__getitem__) == faces.labels[target]
            )
            counts[side, angle] += (hit, right, len(detected) - hit)
    n = len(faces)
    return [
        Placed(side, angle, n, int(hits) / n, int(rights) / n, int(false))
        for (side, angle), (hits, rights, false) in counts.items()
    ]


def place(crop: NDArray[np.uint8], side: int, angle: float, rng: np.random.Generator) -> tuple[Image, Box]:
    """Paste a crop, uint8 gray (48, 48), into a random background of smooth gray shades and a little noise.

    `side` is in pixels and `angle` in degrees; `rng` draws background, place and direction. Returns a uint8 BGR image
    (480, 640, 3) and the upright square of that side around the centre of the face.
    """
    shades = rng.uniform(40, 215, (6, 8)).astype(np.float32)
    back = cv2.resize(shades, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    back = back + rng.normal(0, 4, (HEIGHT, WIDTH))
    turn = angle * rng.choice([-1.0, 1.0])
    reach = side / 2 * (abs(np.cos(np.radians(turn))) + abs(np.sin(np.radians(turn))))
    if side < 1 or 2 * reach > min(WIDTH, HEIGHT):
        raise ConfigError(f"a face of {side} pixels at {angle} degrees does not fit into {WIDTH} x {HEIGHT} pixels")
    # The place is drawn as a share of the free space, so that one state puts every size in about the same place; it is
    # a whole pixel, because a fraction would also blur.
    spare = np.array([WIDTH, HEIGHT]) - 2 * reach
    left, top = (float(v) for v in np.rint(reach + rng.random(2) * spare - side / 2))
    matrix = np.asarray(cv2.getRotationMatrix2D((23.5, 23.5), turn, side / 48), np.float64)
    matrix[:, 2] += np.array([left, top]) + side / 2 - 24  # pixel centres lie at +0.5
    size = (WIDTH, HEIGHT)
    face = cv2.warpAffine(crop.astype(np.float32), matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpAffine(np.ones((48, 48), np.float32), matrix, size, flags=cv2.INTER_NEAREST)
    gray = np.clip(np.rint(np.where(mask > 0, face, back)), 0, 255).astype(np.uint8)
    return np.repeat(gray[:, :, None], 3, axis=2), (left, top, left + side, top + side)


def _overlap(a: Box, b: Box) -> float:
    """Return the intersection over union, 0..1."""
    common = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return common / (both - common) if common else 0.0
