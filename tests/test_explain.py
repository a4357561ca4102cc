from __future__ import annotations

import cv2
import numpy as np
import pytest

from mien import cli, search
from mien.train.explain import STRIDE, WINDOW, explain
from mien.types import ConfigError


class Patch:
    """Happy in so far as one patch is bright, sad where another one is, and blind for everything else."""

    labels = ("sad", "happy", "neutral")
    uncertain_below = 0.0

    def __init__(self, happy: tuple[int, int], sad: tuple[int, int]) -> None:
        self.happy, self.sad = happy, sad

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        def bright(at: tuple[int, int]) -> np.ndarray:
            return crops[:, at[0] : at[0] + 6, at[1] : at[1] + 6].mean((1, 2)) / 255

        happy, sad = 0.7 * bright(self.happy), 0.3 * bright(self.sad)
        return np.stack([sad, happy, 1 - sad - happy], 1).astype(np.float32)


def lit(*places: tuple[int, int]) -> np.ndarray:
    crop = np.zeros((48, 48), np.uint8)
    for y, x in places:
        crop[y : y + 6, x : x + 6] = 255
    return crop


@pytest.mark.parametrize("at", [(6, 6), (30, 12), (21, 39), (39, 0)])
def test_the_map_peaks_at_the_patch_that_the_classifier_looks_at(at: tuple[int, int]) -> None:
    values = explain(Patch(at, (0, 42)), lit(at))
    assert values.shape == (48, 48) and values.dtype == np.float32
    y, x = np.unravel_index(values.argmax(), values.shape)
    assert abs(y - at[0] - 2.5) <= STRIDE and abs(x - at[1] - 2.5) <= STRIDE
    far = np.ones((48, 48), bool)
    far[max(at[0] - WINDOW, 0) : at[0] + 6 + WINDOW, max(at[1] - WINDOW, 0) : at[1] + 6 + WINDOW] = False
    assert np.abs(values[far]).max() < 1e-6


def test_the_peak_is_the_probability_lost() -> None:
    at = (18, 18)
    crop = lit(at)
    values = explain(Patch(at, (0, 0)), crop)
    full = 0.7 * (1 - np.float32(crop.mean()).round() / 255)  # the gray of the square is left
    assert 0.6 * full < values.max() <= full + 1e-6


def test_a_pixel_at_the_border_counts_no_more_than_its_neighbours() -> None:
    values = explain(Patch((9, 9), (0, 42)), lit((9, 9)))
    assert values[0, 0] < 0.3 * values.max()


def test_another_label_has_its_own_map_and_what_speaks_against_it_is_negative() -> None:
    happy, sad = (9, 9), (33, 33)
    model, crop = Patch(happy, sad), lit(happy, sad)
    assert np.array_equal(explain(model, crop), explain(model, crop, "happy"))
    assert np.unravel_index(explain(model, crop, "sad").argmax(), (48, 48))[0] >= 32  # a step of 4 begins there
    neutral = explain(model, crop, "neutral")
    assert neutral.min() < -0.3 and neutral.max() < 1e-6
    assert np.array_equal(crop, lit(happy, sad))


def test_bad_arguments_are_named() -> None:
    model = Patch((0, 0), (9, 9))
    with pytest.raises(ConfigError, match="no class 'joy'"):
        explain(model, lit(), "joy")
    for crop in (lit().astype(float), lit()[None], lit()[:40]):
        with pytest.raises(ConfigError, match="48, 48"):
            explain(model, crop)


def test_command(tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    portrait = str(search.ASSETS / "portrait.jpg")
    assert cli.app(["explain", portrait, "--out", str(tmp_path / "e.png")], result_action="return_value") == 0
    assert cv2.imread(str(tmp_path / "e.png")).shape[1] > 800
    cv2.imwrite(str(tmp_path / "empty.png"), np.full((90, 90, 3), 120, np.uint8))
    words = ["explain", str(tmp_path / "empty.png"), "--out", str(tmp_path / "f.png")]
    assert cli.app(words, result_action="return_value") == 1
    assert "no face found" in capsys.readouterr().err
    assert not (tmp_path / "f.png").exists()
