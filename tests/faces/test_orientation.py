"""Turned images give the answer of the upright image; close faces are found; upright images cost nothing more."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from conftest import SHARED
from mien.faces import orientation
from mien.faces.onnx import ASSETS
from mien.faces.yunet import YuNet
from mien.media.image import decode
from mien.pipeline import Pipeline
from mien.types import Face, Frame, Image

MEDIA = sorted(path for kind in ("*.jpg", "*.png") for path in (SHARED / "media").glob(kind))


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline()


def read(path: Path) -> Image:
    return decode(path.read_bytes(), path.name)


@pytest.mark.parametrize("path", [ASSETS / "portrait.jpg", *MEDIA], ids=lambda path: path.stem)
def test_turned_image_gives_the_answer_of_the_upright_image(pipeline: Pipeline, path: Path) -> None:
    image = read(path)
    upright = pipeline.process(Frame(image))
    for turns in (1, 2, 3):
        turned = pipeline.process(Frame(np.ascontiguousarray(np.rot90(image, turns))))
        assert [face.emotion for face in turned.faces] == [face.emotion for face in upright.faces]
        assert [face.probabilities for face in turned.faces] == [face.probabilities for face in upright.faces]
        np.testing.assert_array_equal(turned.crops, upright.crops)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_boxes_and_landmarks_lie_in_the_turned_image(turns: int) -> None:
    image = read(ASSETS / "portrait.jpg")[:, 40:]  # not a square
    height, width = image.shape[:2]
    (upright,) = orientation.detect(YuNet(), image)
    (turned,) = orientation.detect(YuNet(), np.ascontiguousarray(np.rot90(image, turns)))

    def turn(x: float, y: float) -> tuple[float, float]:
        return {1: (y, width - x), 2: (width - x, height - y), 3: (height - y, x)}[turns]

    points = [turn(*point) for point in upright.landmarks]
    np.testing.assert_allclose(turned.landmarks, points, atol=1e-6)
    corners = np.array([turn(*upright.box[:2]), turn(*upright.box[2:])])
    np.testing.assert_allclose(turned.box, [*corners.min(axis=0), *corners.max(axis=0)], atol=1e-6)
    assert turned.score == upright.score


def test_close_face_with_a_mask_is_found() -> None:
    image = read(ASSETS / "portrait.jpg")
    x1, y1, x2, y2 = (int(value) for value in YuNet()(image)[0].box)
    close = cv2.resize(image[y1:y2, x1:x2], (1000, 1250), interpolation=cv2.INTER_CUBIC)
    close[725:] = (200, 190, 170)
    assert YuNet()(np.asarray(close, np.uint8)) == []
    (face,) = orientation.detect(YuNet(), np.asarray(close, np.uint8))
    assert face.score > 0.9 and face.box[2] - face.box[0] > 800


@dataclass
class Counting:
    """A detector that answers with the same faces each time, and counts."""

    faces: list[Face]
    sure_score: float = 0.9
    name: str = "counting"
    shapes: list[tuple[int, ...]] = field(default_factory=list)

    def __call__(self, image: Image) -> list[Face]:
        self.shapes.append(image.shape)
        return self.faces


def test_sure_face_needs_one_detection() -> None:
    face = Face((5, 5, 25, 25), 0.95)
    detector = Counting([face])
    assert orientation.detect(detector, np.zeros((40, 60, 3), np.uint8)) == [face]
    assert detector.shapes == [(40, 60, 3)]


def test_detector_without_a_sure_score_is_believed() -> None:
    class Plain:
        name = "plain"
        calls = 0

        def __call__(self, image: Image) -> list[Face]:
            self.calls += 1
            return [Face((5, 5, 25, 25), 0.3)]

    detector = Plain()
    assert len(orientation.detect(detector, np.zeros((40, 60, 3), np.uint8))) == 1
    assert detector.calls == 1


def test_image_without_a_face_is_turned_three_times() -> None:
    detector = Counting([])
    assert orientation.detect(detector, np.zeros((40, 60, 3), np.uint8)) == []
    assert detector.shapes == [(40, 60, 3), (60, 40, 3), (40, 60, 3), (60, 40, 3)]


def test_unsure_face_that_is_clearly_upright_is_judged_in_no_other_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[int] = []
    verify = orientation._verifier()

    def record(patches: Any) -> Any:
        judged.append(len(patches))
        return verify(patches)

    monkeypatch.setattr(orientation, "_verifier", lambda: record)
    portrait = read(ASSETS / "portrait.jpg")
    face = replace(YuNet()(portrait)[0], score=0.7)
    detector = Counting([face])
    assert orientation.detect(detector, portrait) == [face]
    assert (judged, len(detector.shapes)) == ([1], 1)
    noise = np.random.default_rng(0).integers(0, 256, portrait.shape, dtype=np.uint8)
    judged.clear()
    orientation.detect(detector, noise)
    assert judged[:2] == [1, 3]


def test_weak_answer_stays_when_no_other_is_better() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    face = Face((5, 5, 65, 65), 0.7)
    assert orientation.detect(Counting([face]), noise) == [face]


def test_profile_of_a_turned_face_is_cropped_upright(pipeline: Pipeline) -> None:
    """Eyes that coincide give no angle; eyes and mouth give the quarter turn."""
    image = np.random.default_rng(1).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    profile = Face((10, 16, 58, 64), 1.0, ((30, 30), (31, 30), (28, 40), (30, 55), (31, 55)))
    turned = Face((16, 22, 64, 70), 1.0, tuple((y, 80 - x) for x, y in profile.landmarks))
    upright, other = pipeline.crop(image, [profile]), pipeline.crop(np.ascontiguousarray(np.rot90(image)), [turned])
    np.testing.assert_array_equal(upright, other)
    np.testing.assert_array_equal(upright[0], cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[16:64, 10:58])


def test_small_image_is_not_searched_twice_at_the_same_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def searches(side: int) -> list[int]:
        seen: list[int] = []
        search = YuNet._rows

        def record(self: YuNet, image: Image, *given: Any) -> Any:
            seen.append(max(image.shape))
            return search(self, image, *given)

        with monkeypatch.context() as patch:
            patch.setattr(YuNet, "_rows", record)
            assert orientation.detect(YuNet(), np.full((side, side, 3), 127, np.uint8)) == []
        return seen

    assert searches(96) == [96] * 4  # upright and turned
    assert searches(640) == [640, 320, 224, 160] * 4
