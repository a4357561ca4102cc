from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.cli import main
from mien.data.faces import Faces
from mien.errors import ConfigError, DataError
from mien.evaluation.corruptions import CORRUPTIONS, EYES, MOUTH, SEVERITIES, corrupt
from mien.evaluation.robustness import evaluate_robustness
from mien.types import EMOTIONS

LABELS = ("angry", "happy", "sad")


def crops(n: int = 12) -> np.ndarray:
    """Return smooth shades of middle brightness with some detail, like photographs."""
    rng = np.random.default_rng(1)
    images = []
    for _ in range(n):
        shades = cv2.resize(rng.uniform(70, 190, (9, 9)), (48, 48), interpolation=cv2.INTER_CUBIC)
        images.append(np.clip(shades + rng.normal(0, 6, (48, 48)), 0, 255))
    return np.array(images).astype(np.uint8)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b).mean())


class Bright:
    """Predicts happy if the middle of a crop is bright, else angry; knows a class that the data lack."""

    labels = ("fear", "happy", "angry", "sad")
    confidence_threshold = 0.0

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        bright = crops[:, 16:32, 16:32].mean((1, 2)) > 127
        rows = np.where(bright[:, None], [0.6, 0.3, 0.1, 0.0], [0.6, 0.1, 0.3, 0.0])
        return rows.astype(np.float32)


def faces(images: np.ndarray, targets: list[int]) -> Faces:
    n = len(images)
    return Faces(images, np.array(targets, np.int64), np.ones(n, np.int8), np.array([str(i) for i in range(n)]), LABELS)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruption_is_deterministic_and_keeps_its_input(name: str) -> None:
    images = crops()
    before = images.copy()
    for severity in SEVERITIES:
        out = corrupt(images, name, severity)
        assert out.shape == images.shape and out.dtype == np.uint8
        assert np.array_equal(out, corrupt(images, name, severity))
        assert not np.array_equal(out, images)
    assert np.array_equal(images, before)
    assert corrupt(images[:0], name, 3).shape == (0, 48, 48)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severity_0_changes_nothing(name: str) -> None:
    images = crops()
    furthest = np.abs(corrupt(images, name, 0).astype(int) - images).max()
    assert furthest <= (2 if name == "jpeg" else 0)  # JPEG rounds even at quality 100


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_distance_grows_with_severity(name: str) -> None:
    images = crops(64)
    grown = [distance(corrupt(images, name, severity), images) for severity in (0, *SEVERITIES)]
    assert all(b > a for a, b in pairwise(grown)), grown


@pytest.mark.parametrize("name", ["brightness", "side-light", "rotation", "shift", "motion", "noise"])
def test_another_seed_draws_other_sides_angles_and_noise(name: str) -> None:
    assert not np.array_equal(corrupt(crops(), name, 3, seed=0), corrupt(crops(), name, 3, seed=1))


def test_side_light_comes_from_both_sides() -> None:
    flat = np.full((40, 48, 48), 128, np.uint8)
    lit = corrupt(flat, "side-light", 3)
    left = lit[:, :, 0].astype(int).mean(1) > lit[:, :, -1].astype(int).mean(1)
    assert 5 < left.sum() < 35
    assert lit[:, :, [0, -1]].max() == 192 and lit[:, :, [0, -1]].min() == 64  # 128 * (1 +- 0.5)


def test_gamma_and_contrast_by_hand() -> None:
    image = np.full((1, 48, 48), 51, np.uint8)  # 0.2
    assert corrupt(image, "gamma-dark", 4)[0, 0, 0] == 2  # 255 * 0.2^3 = 2.04
    assert corrupt(image, "gamma-bright", 3)[0, 0, 0] == 124  # 255 * 0.2^0.45 = 123.6
    image[:, :24] = 151  # mean 101
    assert set(np.unique(corrupt(image, "contrast", 2)).tolist()) == {76, 126}  # half of +-50


def test_shift_moves_by_the_amount_and_repeats_the_border() -> None:
    images = np.zeros((30, 48, 48), np.uint8)
    images[:, 24, 24] = 255
    for image in corrupt(images, "shift", 5):
        ((y, x),) = np.argwhere(image == 255)
        assert abs(np.hypot(y - 24, x - 24) - 11) < 0.75  # whole pixels
    edge = np.zeros((30, 48, 48), np.uint8)
    edge[:, 0] = edge[:, -1] = edge[:, :, 0] = edge[:, :, -1] = 200
    assert all((image == 200).sum() > 188 for image in corrupt(edge, "shift", 5))


def test_zoom_and_rotation_by_the_amount() -> None:
    y, x = np.mgrid[:48, :48] - 23.5
    square = np.where(np.maximum(abs(x), abs(y)) < 8, 255, 0).astype(np.uint8)[None]  # 16 pixels wide
    width = (corrupt(square, "zoom-in", 4)[0, 24] > 127).sum()
    assert width == 24  # 16 * 1.5
    width = (corrupt(square, "zoom-out", 4)[0, 24] > 127).sum()
    assert width == 10  # 16 * 0.67 = 10.7, of even width
    turned = corrupt(square, "rotation", 5)[0]
    assert (turned[24] > 127).sum() in (22, 23, 24)  # the diagonal of a square of 16
    assert turned.sum() == pytest.approx(square.sum(), rel=0.02)


@pytest.mark.parametrize("name", ["defocus", "motion"])
def test_blur_keeps_brightness_and_spreads_by_the_amount(name: str) -> None:
    point = np.zeros((20, 48, 48), np.uint8)
    point[:, 24, 24] = 255
    spread = corrupt(point, name, 5).astype(int)
    assert spread.sum((1, 2)) == pytest.approx(255, abs=20)  # each pixel is rounded
    furthest = [np.hypot(*(np.argwhere(image > 0) - 24).T).max() for image in spread]
    reach = CORRUPTIONS[name].levels[5] / (1 if name == "defocus" else 2)
    assert all(reach - 1 <= value <= reach + 1.5 for value in furthest)


def test_low_resolution_removes_fine_detail() -> None:
    stripes = np.zeros((1, 48, 48), np.uint8)
    stripes[:, :, ::2] = 200
    assert corrupt(stripes, "low-resolution", 2).std() == 0  # 24 pixels: each the mean of two stripes
    assert corrupt(stripes, "low-resolution", 2)[0, 0, 0] == 100


@pytest.mark.parametrize(("name", "row", "sides"), [("eyes-hidden", EYES, (15, 32)), ("mouth-hidden", MOUTH, (17, 31))])
def test_occlusion_covers_only_its_region_with_the_mean(name: str, row: int, sides: tuple[int, int]) -> None:
    images = crops()
    for severity in SEVERITIES:
        out = corrupt(images, name, severity)
        height = int(CORRUPTIONS[name].levels[severity])
        wider = 24 if name == "eyes-hidden" else 14
        inside = np.zeros((48, 48), bool)
        inside[row - height // 2 : row + height // 2, 24 - (height + wider) // 2 : 24 + (height + wider) // 2] = True
        assert np.array_equal(out[:, ~inside], images[:, ~inside])
        assert np.array_equal(out[:, inside], np.repeat(np.rint(images.mean((1, 2)))[:, None], inside.sum(), 1))
        assert all(inside[row, side] for side in sides)  # both eyes, both corners of the mouth
    other = MOUTH if name == "eyes-hidden" else EYES
    assert not inside[other].any()


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ConfigError, match="gamma-dark"):
        corrupt(crops(), "fog", 1)
    for severity in (-1, 6):
        with pytest.raises(ConfigError, match=f"severity is {severity}"):
            corrupt(crops(), "noise", severity)
    for images in (crops().astype(float), crops()[0], crops()[:, :40]):
        with pytest.raises(DataError, match="uint8"):
            corrupt(images, "noise", 1)


def test_robustness_of_a_known_classifier() -> None:
    light, dark = np.full((6, 48, 48), 140, np.uint8), np.full((4, 48, 48), 60, np.uint8)
    data = faces(np.concatenate([light, dark]), [1] * 6 + [0] * 3 + [2])
    result = evaluate_robustness(Bright(), data)
    assert result.n == 10
    assert result.clean == 0.9  # sad is predicted as angry; `fear` is ignored
    assert list(result.accuracy) == list(CORRUPTIONS)
    # 255 * (140/255)^1.3 = 117: all are dark from severity 1 on. (60/255)^e > 0.5 for e < 0.479: from severity 3 on.
    assert result.accuracy["gamma-dark"] == (0.3,) * 5
    assert result.accuracy["gamma-bright"] == (0.9, 0.9, 0.6, 0.6, 0.6)
    same = set(CORRUPTIONS) - {"gamma-dark", "gamma-bright", "brightness"}
    assert all(result.accuracy[name] == (0.9,) * 5 for name in same)
    lit = np.array([corrupt(data.images, "brightness", severity)[:, 0, 0] > 127 for severity in SEVERITIES])
    right = np.array([True] * 6 + [False] * 4)  # the sad one is never right
    hits = (lit == right)[:, :9].sum(1) / 10
    assert result.accuracy["brightness"] == pytest.approx(tuple(hits.tolist()))
    assert result.worst == ("gamma-dark", "brightness" if hits.mean() < 0.72 else "gamma-bright")
    assert result.mean == pytest.approx((13 * 0.9 + 0.3 + 0.72 + hits.mean()) / 16)
    assert result.shares.shape == (10,) and result.shares.mean() == pytest.approx(result.mean)
    assert result.shares[9] == 0 and result.interval[0] < result.mean < result.interval[1]
    values = json.loads(json.dumps(result.to_dict()))
    assert values["worst"] == list(result.worst) and "shares" not in values


def test_robustness_needs_images_and_their_classes() -> None:
    with pytest.raises(DataError, match="at least one"):
        evaluate_robustness(Bright(), faces(crops(0).reshape(0, 48, 48), []))
    unknown = replace(faces(crops(), [0] * 12), labels=("angry", "disgust"))
    with pytest.raises(ConfigError, match="no class disgust"):
        evaluate_robustness(Bright(), unknown)


def test_evaluate_measures_robustness_on_request(
    kaggle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Even:
        name, labels, confidence_threshold, sha256 = "even", EMOTIONS, 0.0, "0" * 64

        def __call__(self, crops: np.ndarray) -> np.ndarray:
            return np.full((len(crops), 5), 0.2, np.float32)

    monkeypatch.setattr("mien.faces.models.load_classifier", lambda name: Even())
    words = ["evaluate", "--data", kaggle, "--robustness", "--json", tmp_path / "e.json", "--plots", tmp_path / "p"]
    assert main.app([str(word) for word in words], result_action="return_value") == 0
    result = json.loads((tmp_path / "e.json").read_text())["robustness"]
    assert (result["n"], result["clean"], result["mean"]) == (10, 0.2, pytest.approx(0.2))  # always angry
    shown = " ".join(capsys.readouterr().out.split())
    assert "under corruption: 20.00" in shown and "mouth-hidden" in shown
    assert (tmp_path / "p" / "robustness.png").exists()
