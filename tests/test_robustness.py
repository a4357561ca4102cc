from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien import cli
from mien.train.data import Faces
from mien.train.robustness import CORRUPTIONS, EYES, MOUTH, SEVERITIES, columns, corrupt, evaluate_robustness
from mien.types import EMOTIONS, ConfigError, DataError

LABELS = ("angry", "happy", "sad")


def pictures(n: int = 12) -> np.ndarray:
    """Smooth shades of middle brightness with some detail, as photographs have."""
    rng = np.random.default_rng(1)
    images = []
    for _ in range(n):
        shades = cv2.resize(rng.uniform(70, 190, (9, 9)), (48, 48), interpolation=cv2.INTER_CUBIC)
        images.append(np.clip(shades + rng.normal(0, 6, (48, 48)), 0, 255))
    return np.array(images).astype(np.uint8)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b).mean())


class Bright:
    """Says happy for a picture whose middle is bright and angry for the rest; knows a class that no picture has."""

    labels = ("fear", "happy", "angry", "sad")
    uncertain_below = 0.0

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        bright = crops[:, 16:32, 16:32].mean((1, 2)) > 127
        rows = np.where(bright[:, None], [0.6, 0.3, 0.1, 0.0], [0.6, 0.1, 0.3, 0.0])
        return rows.astype(np.float32)


def faces(images: np.ndarray, targets: list[int]) -> Faces:
    n = len(images)
    return Faces(images, np.array(targets, np.int64), np.ones(n, np.int8), np.array([str(i) for i in range(n)]), LABELS)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_shape_type_determinism_and_the_original_is_kept(name: str) -> None:
    images = pictures()
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
    images = pictures()
    furthest = np.abs(corrupt(images, name, 0).astype(int) - images).max()
    assert furthest <= (2 if name == "jpeg" else 0)  # JPEG rounds even at quality 100


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_distance_from_the_original_grows_with_the_severity(name: str) -> None:
    images = pictures(64)
    grown = [distance(corrupt(images, name, severity), images) for severity in (0, *SEVERITIES)]
    assert all(b > a for a, b in pairwise(grown)), grown


@pytest.mark.parametrize("name", ["brightness", "side-light", "rotation", "shift", "motion", "noise"])
def test_another_seed_draws_other_sides_angles_and_noise(name: str) -> None:
    assert not np.array_equal(corrupt(pictures(), name, 3, seed=0), corrupt(pictures(), name, 3, seed=1))


def test_both_sides_are_drawn() -> None:
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


def test_zoom_and_rotation_keep_the_middle_and_move_the_rest_by_the_amount() -> None:
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
def test_blur_keeps_the_brightness_of_a_point_and_spreads_it_by_the_amount(name: str) -> None:
    point = np.zeros((20, 48, 48), np.uint8)
    point[:, 24, 24] = 255
    spread = corrupt(point, name, 5).astype(int)
    assert spread.sum((1, 2)) == pytest.approx(255, abs=20)  # each pixel is rounded
    furthest = [np.hypot(*(np.argwhere(image > 0) - 24).T).max() for image in spread]
    reach = CORRUPTIONS[name].levels[5] / (1 if name == "defocus" else 2)
    assert all(reach - 1 <= value <= reach + 1.5 for value in furthest)


def test_low_resolution_leaves_no_detail_finer_than_its_pixels() -> None:
    stripes = np.zeros((1, 48, 48), np.uint8)
    stripes[:, :, ::2] = 200
    assert corrupt(stripes, "low-resolution", 2).std() == 0  # 24 pixels: each the mean of two stripes
    assert corrupt(stripes, "low-resolution", 2)[0, 0, 0] == 100


@pytest.mark.parametrize(("name", "row", "sides"), [("eyes-hidden", EYES, (15, 32)), ("mouth-hidden", MOUTH, (17, 31))])
def test_occlusion_covers_its_region_with_the_mean_and_nothing_else(
    name: str, row: int, sides: tuple[int, int]
) -> None:
    images = pictures()
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
        corrupt(pictures(), "fog", 1)
    for severity in (-1, 6):
        with pytest.raises(ConfigError, match=f"severity is {severity}"):
            corrupt(pictures(), "noise", severity)
    for images in (pictures().astype(float), pictures()[0], pictures()[:, :40]):
        with pytest.raises(DataError, match="uint8"):
            corrupt(images, "noise", 1)


def test_evaluation_of_a_classifier_with_known_answers() -> None:
    light, dark = np.full((6, 48, 48), 140, np.uint8), np.full((4, 48, 48), 60, np.uint8)
    set_ = faces(np.concatenate([light, dark]), [1] * 6 + [0] * 3 + [2])
    found = evaluate_robustness(Bright(), set_)
    assert found.n == 10
    assert found.clean == 0.9  # the sad one is called angry; `fear` is not to be chosen
    assert list(found.accuracy) == list(CORRUPTIONS)
    # 255 * (140/255)^1.3 = 117: all are dark from severity 1 on. (60/255)^e > 0.5 for e < 0.479: from severity 3 on.
    assert found.accuracy["gamma-dark"] == (0.3,) * 5
    assert found.accuracy["gamma-bright"] == (0.9, 0.9, 0.6, 0.6, 0.6)
    same = set(CORRUPTIONS) - {"gamma-dark", "gamma-bright", "brightness"}
    assert all(found.accuracy[name] == (0.9,) * 5 for name in same)
    lit = np.array([corrupt(set_.images, "brightness", severity)[:, 0, 0] > 127 for severity in SEVERITIES])
    wanted = np.array([True] * 6 + [False] * 4)  # the sad one is never right
    hits = (lit == wanted)[:, :9].sum(1) / 10
    assert found.accuracy["brightness"] == pytest.approx(tuple(hits.tolist()))
    assert found.worst == ("gamma-dark", "brightness" if hits.mean() < 0.72 else "gamma-bright")
    assert found.mean == pytest.approx((13 * 0.9 + 0.3 + 0.72 + hits.mean()) / 16)
    assert found.shares.shape == (10,) and found.shares.mean() == pytest.approx(found.mean)
    assert found.shares[9] == 0 and found.interval[0] < found.mean < found.interval[1]
    told = json.loads(json.dumps(found.to_dict()))
    assert told["worst"] == list(found.worst) and "shares" not in told


def test_evaluation_needs_pictures_and_the_classes() -> None:
    with pytest.raises(DataError, match="at least one"):
        evaluate_robustness(Bright(), faces(pictures(0).reshape(0, 48, 48), []))
    assert columns(Bright(), LABELS) == [2, 1, 3]
    with pytest.raises(ConfigError, match="no class disgust"):
        columns(Bright(), ("angry", "disgust"))


def test_flag_of_the_command(
    kaggle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Even:
        name, labels, uncertain_below, sha256 = "even", EMOTIONS, 0.0, "0" * 64

        def __call__(self, crops: np.ndarray) -> np.ndarray:
            return np.full((len(crops), 5), 0.2, np.float32)

    monkeypatch.setattr("mien.classify.model", lambda name: Even())
    words = ["evaluate", "--data", kaggle, "--robustness", "--json", tmp_path / "e.json", "--plots", tmp_path / "p"]
    assert cli.app([str(word) for word in words], result_action="return_value") == 0
    found = json.loads((tmp_path / "e.json").read_text())["robustness"]
    assert (found["n"], found["clean"], found["mean"]) == (10, 0.2, pytest.approx(0.2))  # always says angry
    shown = " ".join(capsys.readouterr().out.split())
    assert "under corruption: 20.00" in shown and "mouth-hidden" in shown
    assert (tmp_path / "p" / "robustness.png").exists()
