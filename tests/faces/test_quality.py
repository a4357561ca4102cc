"""Quality of faces of known size, light and pose."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from mien.evaluation.corruptions import corrupt
from mien.faces import quality
from mien.faces.tracker import Tracker
from mien.types import QUALITY, Face, Quality

HEAD = np.array([(-0.5, 0.0, 0.0), (0.5, 0.0, 0.0), (0.0, 0.58, 0.45), (-0.41, 1.0, 0.05), (0.41, 1.0, 0.05)])
GOOD = Quality(100.0, 0.5, 120.0, 0.0, 0.0, 0.0, 1.0)


def landmarks(yaw: float, pitch: float, roll: float, side: float = 60.0) -> tuple[tuple[float, float], ...]:
    """Return the landmarks of a head turned by degrees, as a far camera sees it."""
    y, p, r = np.radians([yaw, pitch, roll])
    about_vertical = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_ears = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    in_image = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    points = HEAD @ (in_image @ about_ears @ about_vertical).T * side + 200
    return tuple((float(x), float(y)) for x, y, _ in points)


def noise_crops(count: int) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(40, 216, (count, 12, 12), np.uint8)
    return np.stack([cv2.resize(each, (48, 48), interpolation=cv2.INTER_CUBIC) for each in coarse]).astype(np.uint8)


@pytest.mark.parametrize(
    ("yaw", "pitch", "roll"),
    [(0, 0, 0), (30, 0, 0), (-30, 0, 0), (0, 20, 0), (0, -20, 0), (0, 0, 25), (0, 0, -90), (25, 0, 40), (0, 0, 170)],
)
def test_pose_of_a_turned_head(yaw: float, pitch: float, roll: float) -> None:
    assert quality.pose(landmarks(yaw, pitch, roll)) == pytest.approx((yaw, pitch, roll), abs=3)


def test_pose_needs_five_landmarks() -> None:
    assert quality.pose(()) == quality.pose(((1.0, 2.0), (3.0, 4.0))) == (None, None, None)
    assert quality.pose(((5.0, 5.0),) * 5)[0] == 0.0


def test_size_and_share_inside_the_image() -> None:
    found = quality.measure([Face((-20, 10, 60, 110)), Face((50, 50, 50, 50))], noise_crops(2), (200, 300, 3))
    assert (found[0].size, found[0].inside) == (100, 0.75)
    assert (found[1].size, found[1].inside) == (0, 0)


def test_blur_lowers_sharpness_and_light_does_not() -> None:
    crops = noise_crops(4)
    sharp, bright = quality.sharpness_and_brightness(crops)
    blurred, _ = quality.sharpness_and_brightness(corrupt(crops, "defocus", 5))
    darker, dark = quality.sharpness_and_brightness(np.asarray(crops // 2, np.uint8))
    assert (blurred < 0.8 * sharp).all()
    assert darker == pytest.approx(sharp, rel=0.1)
    assert dark == pytest.approx(bright / 2, abs=1)


def test_good_face_has_no_weakness_and_each_limit_counts() -> None:
    assert quality.weaknesses(GOOD) == ()
    assert quality.weaknesses(replace(GOOD, yaw=None, pitch=None, roll=None)) == ()
    assert quality.weaknesses(replace(GOOD, size=quality.MIN_SIZE - 1)) == ("small",)
    assert quality.weaknesses(replace(GOOD, sharpness=quality.MIN_SHARPNESS / 2)) == ("blurred",)
    assert quality.weaknesses(replace(GOOD, brightness=quality.BRIGHTNESS[0] - 1)) == ("dark",)
    assert quality.weaknesses(replace(GOOD, brightness=quality.BRIGHTNESS[1] + 1)) == ("bright",)
    assert quality.weaknesses(replace(GOOD, yaw=-quality.MAX_YAW - 1)) == ("turned",)
    assert quality.weaknesses(replace(GOOD, inside=quality.MIN_INSIDE - 0.1)) == ("cut off",)
    assert quality.weaknesses(replace(GOOD, roll=90.0)) == ()  # crops are level


def test_weak_face_is_uncertain_however_probable() -> None:
    face = Face((0, 0, 9, 9), probabilities={"happy": 0.95, "sad": 0.05}, confidence_threshold=0.5)
    weak = Face((0, 0, 9, 9), probabilities=face.probabilities, confidence_threshold=0.5, weaknesses=("small",))
    assert not face.uncertain and weak.uncertain
    assert Tracker().update([weak], 0.0)[0].uncertain


def test_lasting_weakness_makes_a_tracked_face_uncertain_and_a_brief_one_does_not() -> None:
    def shown(weak: range) -> list[bool]:
        tracker = Tracker()
        return [
            tracker.update(
                [
                    Face(
                        (0, 0, 50, 50),
                        probabilities={"happy": 0.95, "sad": 0.05},
                        confidence_threshold=0.5,
                        weaknesses=("blurred",) if k in weak else (),
                    )
                ],
                k / 25,
            )[0].uncertain
            for k in range(80)
        ]

    assert not any(shown(range(20, 25)))
    assert shown(range(20, 80))[-1]


def test_quality_is_plain_values_in_json() -> None:
    face = Face((0, 0, 9, 9), quality=GOOD, weaknesses=("small",))
    plain = json.loads(json.dumps(face.to_dict()))
    assert tuple(plain["quality"]) == QUALITY
    assert (plain["quality"]["size"], plain["weaknesses"]) == (100.0, ["small"])
    assert Face((0, 0, 9, 9)).to_dict()["quality"] is None
