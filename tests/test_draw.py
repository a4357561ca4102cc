"""Draw: where panels go, and what must never change."""

import itertools

import cv2
import numpy as np
import pytest

from mien import draw as module
from mien.draw import EMOTION_COLORS, draw
from mien.types import EMOTIONS, EMOTIONS7, Face, Frame, Image, Result

P = dict(zip(EMOTIONS, (0.02, 0.9, 0.01, 0.03, 0.04), strict=True))


def result(height: int, width: int, *boxes: tuple[float, float, float, float], value: int = 128) -> Result:
    faces = tuple(Face(box, probabilities=P) for box in boxes)
    return Result(Frame(np.full((height, width, 3), value, np.uint8)), faces)


def panels(monkeypatch: pytest.MonkeyPatch, seen: Result) -> list[tuple[int, int, int, int]]:
    """Where the panels of a result are drawn."""
    spots: list[tuple[int, int, int, int]] = []
    paint = module._paint

    def spy(image: Image, panel: module._Panel, at: tuple[int, int], accent: module.Color) -> None:
        spots.append((*at, at[0] + panel.size[0], at[1] + panel.size[1]))
        paint(image, panel, at, accent)

    monkeypatch.setattr(module, "_paint", spy)
    draw(seen)
    return spots


def test_the_input_is_not_changed_and_the_copy_is() -> None:
    seen = result(320, 320, (40, 40, 120, 120))
    before = seen.frame.image.copy()
    drawn = draw(seen)
    assert np.array_equal(seen.frame.image, before)
    assert drawn.shape == before.shape
    assert drawn.dtype == np.uint8
    assert not np.array_equal(drawn, before)


BORDER = [(-30, -30, 60, 60), (280, 200, 400, 300), (0, 0, 320, 240), (100, -50, 200, 20), (500, 500, 600, 600)]


@pytest.mark.parametrize("box", BORDER)
def test_panels_stay_inside_for_faces_at_the_border(
    monkeypatch: pytest.MonkeyPatch, box: tuple[float, float, float, float]
) -> None:
    ((x1, y1, x2, y2),) = panels(monkeypatch, result(240, 320, box))
    assert 0 <= x1 < x2 <= 320
    assert 0 <= y1 < y2 <= 240


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (40, 40), (320, 320), (2160, 3840)])
def test_any_size_of_picture(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    height, width = size
    box = (width * 0.2, height * 0.2, width * 0.8, height * 0.8)
    for seen in (result(height, width, box), result(height, width)):
        for x1, y1, x2, y2 in panels(monkeypatch, seen):
            assert 0 <= x1 <= x2 <= width
            assert 0 <= y1 <= y2 <= height


def test_the_panel_goes_right_then_left_then_below(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        assert panels(patch, result(400, 600, (100, 100, 200, 200)))[0][0] > 200
    with monkeypatch.context() as patch:
        assert panels(patch, result(400, 600, (480, 100, 580, 200)))[0][2] < 480
    with monkeypatch.context() as patch:
        assert panels(patch, result(600, 200, (20, 100, 180, 260)))[0][1] > 260


def test_panels_avoid_other_faces_and_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = [(150, 300, 300, 450), (340, 300, 490, 450), (530, 300, 680, 450)]
    spots = panels(monkeypatch, result(800, 900, *boxes))
    assert all(module._overlap(spot, box) == 0 for spot in spots for box in boxes)
    assert all(module._overlap(a, b) == 0 for a, b in itertools.combinations(spots, 2))


def test_a_crowd_gets_compact_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = [(x, y, x + 30, y + 30) for x in range(20, 600, 100) for y in (50, 200, 350)]
    lone = panels(monkeypatch, result(480, 640, (100, 100, 130, 130)))[0]
    many = panels(monkeypatch, result(480, 640, *crowd))
    assert len(many) == len(crowd)
    assert max(x2 - x1 for x1, _, x2, _ in many) < lone[2] - lone[0]


def test_the_order_of_bars_is_fixed() -> None:
    image = np.full((320, 480, 3), 200, np.uint8)
    orders = [dict(P), dict(reversed(P.items())), dict(sorted(P.items()))]
    drawn = [draw(Result(Frame(image), (Face((50, 50, 150, 150), probabilities=p),))) for p in orders]
    assert np.array_equal(drawn[0], drawn[1])
    assert np.array_equal(drawn[0], drawn[2])
    seven = module._ordered(dict.fromkeys(EMOTIONS7, 1 / 7))
    assert [name for name, _ in seven] == [*EMOTIONS, "disgust", "fear"]
    assert set(EMOTION_COLORS) == set(EMOTIONS7)
    assert len(set(EMOTION_COLORS.values())) == 7


@pytest.mark.parametrize("value", [0, 255])
def test_bright_text_on_a_dark_panel_on_any_ground(monkeypatch: pytest.MonkeyPatch, value: int) -> None:
    seen = result(480, 640, (100, 100, 250, 250), value=value)
    x1, y1, x2, y2 = panels(monkeypatch, seen)[0]
    patch = cv2.cvtColor(draw(seen)[y1:y2, x1:x2], cv2.COLOR_BGR2GRAY)
    assert np.median(patch) < 100
    assert patch.max() > 230


def test_uncertain_is_muted_and_unclassified_has_only_a_box(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.zeros((320, 480, 3), np.uint8)
    unsure = Face((50, 50, 150, 150), probabilities=P, uncertain_below=0.95)
    assert module._panel(unsure, 10, compact=False).title == "uncertain"
    assert module._panel(Face((0, 0, 9, 9), probabilities=P, id=3), 10, compact=False).title == "#3 happy 90 %"
    sure = draw(Result(Frame(image), (Face((50, 50, 150, 150), probabilities=P),)))
    assert not np.array_equal(draw(Result(Frame(image), (unsure,))), sure)
    assert panels(monkeypatch, Result(Frame(image), (Face((50, 50, 150, 150)),))) == []


def test_no_face_gets_a_small_note(monkeypatch: pytest.MonkeyPatch) -> None:
    ((x1, y1, x2, y2),) = panels(monkeypatch, result(480, 640))
    assert 0 < (x2 - x1) * (y2 - y1) < 0.05 * 480 * 640
