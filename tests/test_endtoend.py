from __future__ import annotations

import json

import numpy as np
import pytest

from mien.pipeline import Pipeline
from mien.train.data import Faces
from mien.train.endtoend import Placed, end_to_end, place
from mien.types import ConfigError, DataError, Face

LABELS = ("angry", "happy")
WHITE = np.full((48, 48), 255, np.uint8)


class Whites:
    """Finds the white square, if it is large enough, and always something in the corner as well."""

    name = "whites"

    def __init__(self, least: int) -> None:
        self.least = least

    def __call__(self, image: np.ndarray) -> list[Face]:
        y, x = np.nonzero(image[:, :, 0] == 255)
        box = (float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1))
        corner = Face((0.0, 0.0, 5.0, 5.0))
        return [Face(box), corner] if box[2] - box[0] >= self.least else [corner]


class Happy:
    labels = ("happy", "angry")
    uncertain_below = 0.0

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        return np.tile(np.array([0.8, 0.2], np.float32), (len(crops), 1))


def faces(n: int = 4) -> Faces:
    names = np.array([str(i) for i in range(n)])
    targets = np.array([1, 1, 1, 0][:n], np.int64)
    return Faces(np.repeat(WHITE[None], n, 0), targets, np.ones(n, np.int8), names, LABELS)


def test_recall_accuracy_and_false_boxes_of_a_detector_with_known_answers() -> None:
    rows = end_to_end(Pipeline(Whites(least=100), Happy()), faces(), sides=(48, 160), angles=(0, 45))
    assert [(row.side, row.angle) for row in rows] == [(48, 0), (48, 45), (160, 0), (160, 45)]
    assert rows[0] == Placed(48, 0, 4, 0.0, 0.0, 4)
    assert rows[0].accuracy_found == 0
    for row in rows[2:]:
        # Three of four are happy; the corner is one false box a picture. At 45 degrees the white square's own box has
        # twice the area of the upright square: an overlap of a half.
        assert (row.recall, row.accuracy, row.accuracy_found, row.false_boxes) == (1.0, 0.75, 0.75, 4)
    assert json.loads(json.dumps(rows[2].to_dict()))["accuracy_found"] == 0.75


@pytest.mark.parametrize("side", [48, 96, 240])
@pytest.mark.parametrize("angle", [0, 30])
def test_the_face_lies_where_the_box_says_and_has_the_size_asked_for(side: int, angle: int) -> None:
    for seed in range(5):
        image, box = place(WHITE, side, angle, np.random.default_rng(seed))
        assert image.shape == (480, 640, 3) and image.dtype == np.uint8
        y, x = np.nonzero(image[:, :, 0] == 255)
        assert len(y) == pytest.approx(side * side, rel=0.02)
        assert (x.mean() + 0.5, y.mean() + 0.5) == pytest.approx(
            ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), abs=0.6
        )
        assert box[2] - box[0] == box[3] - box[1] == side
        if not angle:
            edges = (x.min(), y.min(), x.max() + 1, y.max() + 1)
            assert edges == pytest.approx(box, abs=1)


def test_a_generator_in_the_same_state_gives_the_same_picture_and_another_one_another() -> None:
    crop = np.random.default_rng(0).integers(0, 256, (48, 48), np.uint8)
    (first, box), (again, same), (other, _) = (place(crop, 96, 15, np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(first, again) and box == same
    assert not np.array_equal(first, other)


def test_an_unturned_face_of_48_pixels_is_copied() -> None:
    crop = np.random.default_rng(0).integers(0, 256, (48, 48), np.uint8)

    class Middle:
        """Draws no background noise and the place of whole pixels."""

        def uniform(self, low: float, high: float, size: tuple[int, ...]) -> np.ndarray:
            return np.full(size, 128.0)

        normal = uniform

        def choice(self, values: list[float]) -> float:
            return values[0]

        def random(self, n: int) -> np.ndarray:
            return np.full(n, 0.5)

    image, box = place(crop, 48, 0, Middle())
    assert box == (296, 216, 344, 264)
    assert np.array_equal(image[216:264, 296:344, 0], crop)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ConfigError, match="400 pixels at 45 degrees"):
        place(WHITE, 400, 45, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="0 pixels"):
        place(WHITE, 0, 0, np.random.default_rng(0))
    with pytest.raises(DataError, match="at least one"):
        end_to_end(Pipeline(Whites(1), Happy()), faces(0))


def test_a_model_without_the_class_is_refused() -> None:
    class Sad(Happy):
        labels = ("sad", "angry")

    with pytest.raises(ConfigError, match="no class happy"):
        end_to_end(Pipeline(Whites(1), Sad()), faces())
