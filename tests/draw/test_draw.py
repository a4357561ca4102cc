"""Placement and painting of the overlay."""

import itertools
from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from mien.draw import COLOURS, Overlay, Status, annotator, draw, palette, panel
from mien.draw.panel import Panel, face_panel, ordered
from mien.errors import ConfigError
from mien.types import EMOTIONS, EMOTIONS7, Face, Frame, Image, Result

Box = tuple[float, float, float, float]
P = dict(zip(EMOTIONS, (0.02, 0.9, 0.01, 0.03, 0.04), strict=True))
EVEN = dict(zip(EMOTIONS, (0.25, 0.3, 0.2, 0.15, 0.1), strict=True))


def result(height: int, width: int, *boxes: Box, value: int = 128) -> Result:
    faces = tuple(Face(box, probabilities=P) for box in boxes)
    return Result(Frame(np.full((height, width, 3), value, np.uint8)), faces)


def one(face: Face, value: int = 0, crop: int | None = None) -> Result:
    """Return a face in an image of 640 x 480, with or without a crop."""
    crops = np.zeros((0, 48, 48), np.uint8) if crop is None else np.full((1, 48, 48), crop, np.uint8)
    return Result(Frame(np.full((480, 640, 3), value, np.uint8)), (face,), crops)


def count(image: Image, color: Sequence[int]) -> int:
    """Return the number of pixels of exactly this colour."""
    return int((image == np.array(color, np.uint8)).all(axis=-1).sum())


def panels(
    monkeypatch: pytest.MonkeyPatch, seen: Result, status: Status | None = None
) -> list[tuple[int, int, int, int]]:
    """Return the places of the panels of a result, the status line first."""
    spots: list[tuple[int, int, int, int]] = []
    paint = panel.paint

    def spy(image: Image, shown: Panel, at: tuple[int, int], accent: palette.Colour) -> None:
        spots.append((*at, at[0] + shown.size[0], at[1] + shown.size[1]))
        paint(image, shown, at, accent)

    with monkeypatch.context() as patch:
        patch.setattr(annotator, "paint", spy)
        draw(seen, status=status)
    return spots


def test_draw_returns_a_changed_copy() -> None:
    seen = result(320, 320, (40, 40, 120, 120))
    before = seen.frame.image.copy()
    drawn = draw(seen)
    assert np.array_equal(seen.frame.image, before)
    assert drawn.shape == before.shape
    assert drawn.dtype == np.uint8
    assert not np.array_equal(drawn, before)


BORDER = [(-30, -30, 60, 60), (280, 200, 400, 300), (0, 0, 320, 240), (100, -50, 200, 20), (500, 500, 600, 600)]


@pytest.mark.parametrize("box", BORDER)
def test_panels_of_border_faces_stay_inside(
    monkeypatch: pytest.MonkeyPatch, box: tuple[float, float, float, float]
) -> None:
    ((x1, y1, x2, y2),) = panels(monkeypatch, result(240, 320, box))
    assert 0 <= x1 < x2 <= 320
    assert 0 <= y1 < y2 <= 240


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (40, 40), (320, 320), (2160, 3840)])
def test_panels_stay_inside_images_of_any_size(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    height, width = size
    box = (width * 0.2, height * 0.2, width * 0.8, height * 0.8)
    for seen in (result(height, width, box), result(height, width)):
        for x1, y1, x2, y2 in panels(monkeypatch, seen):
            assert 0 <= x1 <= x2 <= width
            assert 0 <= y1 <= y2 <= height


@pytest.mark.parametrize("width", [320, 640, 1920, 3840])
@pytest.mark.parametrize("value", [10, 245])
def test_text_is_never_cut_off(monkeypatch: pytest.MonkeyPatch, width: int, value: int) -> None:
    height = width * 3 // 4
    side = width / 4
    places = [(x, y) for x in (-0.4 * side, width / 2, width - 0.6 * side) for y in (-0.4 * side, height - 0.6 * side)]
    for x, y in places:
        seen = result(height, width, (x, y, x + side, y + side), value=value)
        ((x1, y1, x2, y2),) = panels(monkeypatch, seen)
        assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
        drawn = draw(seen)
        ground = 0.2 * value + 9 + 25
        # text beyond the edge of the panel would leave bright pixels in its last columns and rows
        assert drawn[y1:y2, x2 - 2 : x2].max() < ground
        assert drawn[y1 : y1 + 2, x1 + width // 100 : x2].max() < ground
        assert drawn[y2 - 2 : y2, x1 + width // 100 : x2].max() < ground
        assert all(count(drawn[y1:y2, x1:x2], COLOURS[name]) > 0 for name in ("happy", "neutral"))


def test_panel_prefers_right_then_left_then_below(monkeypatch: pytest.MonkeyPatch) -> None:
    assert panels(monkeypatch, result(400, 600, (100, 100, 200, 200)))[0][0] > 200
    assert panels(monkeypatch, result(400, 600, (480, 100, 580, 200)))[0][2] < 480
    assert panels(monkeypatch, result(600, 200, (20, 100, 180, 260)))[0][1] > 260


def test_panels_avoid_faces_and_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = [(150, 300, 300, 450), (340, 300, 490, 450), (530, 300, 680, 450)]
    spots = panels(monkeypatch, result(800, 900, *boxes))
    assert all(annotator.overlap(spot, box) == 0 for spot in spots for box in boxes)
    assert all(annotator.overlap(a, b) == 0 for a, b in itertools.combinations(spots, 2))


def test_crowd_gets_compact_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = [(x, y, x + 30, y + 30) for x in range(20, 600, 100) for y in (50, 200, 350)]
    lone = panels(monkeypatch, result(480, 640, (100, 100, 130, 130)))[0]
    many = panels(monkeypatch, result(480, 640, *crowd))
    assert len(many) == len(crowd)
    assert max(x2 - x1 for x1, _, x2, _ in many) < lone[2] - lone[0]


def test_bars_have_a_fixed_order() -> None:
    image = np.full((320, 480, 3), 200, np.uint8)
    orders = [dict(P), dict(reversed(P.items())), dict(sorted(P.items()))]
    drawn = [draw(Result(Frame(image), (Face((50, 50, 150, 150), probabilities=p),))) for p in orders]
    assert np.array_equal(drawn[0], drawn[1])
    assert np.array_equal(drawn[0], drawn[2])
    seven = ordered(dict.fromkeys(EMOTIONS7, 1 / 7))
    assert [name for name, _ in seven] == [*EMOTIONS, "disgust", "fear"]
    assert set(COLOURS) == set(EMOTIONS7)
    assert len(set(COLOURS.values())) == 7


@pytest.mark.parametrize("value", [0, 255])
def test_text_has_contrast_on_any_background(monkeypatch: pytest.MonkeyPatch, value: int) -> None:
    seen = result(480, 640, (100, 100, 250, 250), value=value)
    x1, y1, x2, y2 = panels(monkeypatch, seen)[0]
    patch = cv2.cvtColor(draw(seen)[y1:y2, x1:x2], cv2.COLOR_BGR2GRAY)
    assert np.median(patch) < 100
    assert patch.max() > 230


def test_bar_length_is_proportional_to_probability() -> None:
    drawn = draw(one(Face((100, 100, 250, 250), probabilities=EVEN)))
    drawn[95:255, 95:255] = 0  # erases the box
    area = {name: count(drawn, COLOURS[name]) for name in EMOTIONS}
    for name in ("angry", "sad", "surprise", "neutral"):  # the accent of the panel adds to happy
        assert area[name] / area["angry"] == pytest.approx(EVEN[name] / EVEN["angry"], rel=0.08)


# Machado, Oliveira and Fernandes 2009, severity 1: linear RGB as seen by the red-, green- and blue-blind
BLIND = {
    "none": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.mark.parametrize("eyes", BLIND)
def test_colours_differ_for_the_colour_blind(eyes: str) -> None:
    seen = []
    for name in EMOTIONS:
        rgb = np.array(COLOURS[name][::-1]) / 255
        linear = np.clip(
            np.array(BLIND[eyes]) @ np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4), 0, 1
        )
        back = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
        seen.append(cv2.cvtColor(back.astype(np.float32)[None, None], cv2.COLOR_RGB2LAB)[0, 0])
    # 2.3 is a just noticeable difference
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 15


def test_uncertain_face_is_gray_with_question_mark() -> None:
    unsure = Face((100, 100, 250, 250), probabilities=P, confidence_threshold=0.95)
    assert face_panel(unsure, 10, "full", None).title == ("happy? 90 %",)
    drawn, sure = draw(one(unsure)), draw(one(Face(unsure.box, probabilities=P)))
    assert drawn[150:200, 99:102].max() == 0  # only the corners of the box
    assert sure[150:200, 99:102].max() > 200
    assert count(sure, COLOURS["happy"]) > 1000
    assert count(drawn, COLOURS["happy"]) == 0


def test_tracker_label_is_shown_with_its_probability() -> None:
    held = Face((0, 0, 9, 9), probabilities=EVEN, id=3, label="angry")
    assert face_panel(held, 10, "full", None).title == ("#3 angry 25 %",)
    assert palette.face_colour(held) == COLOURS["angry"]


def test_unclassified_face_shows_only_box_and_id(monkeypatch: pytest.MonkeyPatch) -> None:
    assert panels(monkeypatch, one(Face((50, 50, 150, 150)))) == []
    ((x1, y1, x2, y2),) = panels(monkeypatch, one(Face((50, 50, 150, 150), id=3)))
    assert 0 < (x2 - x1) * (y2 - y1) < 40 * 30


def test_inset_shows_the_crop() -> None:
    seen = one(Face((100, 100, 250, 250), probabilities=P), value=30, crop=77)
    seen.crops[0, :, 24:] = 201
    assert count(draw(seen), (77, 77, 77)) < 50  # the soft edges of text
    drawn = draw(seen, inset=True)
    left, right = (np.argwhere((drawn == value).all(axis=-1)) for value in (77, 201))
    assert len(left) > 24 * 48
    assert abs(len(left) - len(right)) <= 0.05 * len(left)
    assert np.median(left[:, 1]) < np.median(right[:, 1])
    plain = one(Face((100, 100, 250, 250), probabilities=P), value=30)  # a result without crops
    assert np.array_equal(draw(plain, inset=True), draw(plain))


@pytest.mark.parametrize("width", [100, 320, 640, 3840])
def test_status_line_stays_inside_and_clear_of_panels(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    status = Status(30.0, 14.5, 65.0, True, "yunet")
    height = width * 3 // 4
    seen = result(height, width, (width * 0.05, height * 0.6, width * 0.3, height * 0.8))
    line, *beside = panels(monkeypatch, seen, status)
    for x1, y1, x2, y2 in (line, *beside):
        assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
    assert len(beside) == (width >= 320)  # a thumbnail has no room for both
    assert all(annotator.overlap(line, panel) == 0 for panel in beside)
    line, *notes = panels(monkeypatch, result(height, width), status)
    assert len(notes) == (width >= 320)
    assert all(annotator.overlap(line, note) == 0 for note in notes)


def test_status_lists_known_values() -> None:
    assert Status().parts == ()
    assert Status(29.97, 9.0, detector="haar").parts == ("camera 30.0 fps", "inference 9.0 fps", "haar")
    assert Status(25.0, kind="file", dropped=1234, source="a.mp4").parts == ("file 25.0 fps", "1,234 dropped", "a.mp4")
    assert Status(recording=125.9, paused=True).parts == ("REC 2:05", "paused")
    seen = result(240, 320, (100, 20, 200, 120))
    assert np.array_equal(draw(seen, status=Status()), draw(seen))
    assert count(draw(seen, status=Status(recording=0.0))[200:], COLOURS["angry"]) > 10


def test_panel_keeps_its_side_of_a_shaking_face() -> None:
    def side(drawn: Image, face: Face) -> int:
        """Return which half of the image has the bars: 0 left, 1 right."""
        bar = (drawn == np.array(COLOURS["happy"])).all(axis=-1)
        x1, y1, x2, y2 = map(int, face.box)
        bar[y1 - 6 : y2 + 7, x1 - 6 : x2 + 7] = False  # erases the box
        return int(np.argmax([bar[:, :320].sum(), bar[:, 320:].sum()]))

    def sides(overlay: Overlay | None, offsets: Sequence[float]) -> list[int]:
        faces = [Face((240.0 + x, 180, 390.0 + x, 330), probabilities=P, id=7) for x in offsets]
        other = Face((600, 150, 639, 350), probabilities={}, id=None)  # a neighbour that the panel must not hide
        results = [Result(Frame(np.zeros((480, 640, 3), np.uint8)), (face, other)) for face in faces]
        return [side((overlay or Overlay())(result), result.faces[0]) for result in results]

    shaking = [40 * (-1) ** k for k in range(8)]
    assert len(set(sides(None, shaking))) == 2
    assert len(set(sides(Overlay(), shaking))) == 1
    assert sides(Overlay(), [-60, 150])[0] != sides(Overlay(), [-60, 150])[1]  # but it moves when it must


def test_panels_of_24_faces_do_not_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = [(x, y, x + 70, y + 90) for x in range(40, 1900, 320) for y in (60, 320, 580, 840)]
    spots = panels(monkeypatch, result(1080, 1920, *crowd))
    assert len(spots) == len(crowd) == 24
    assert all(annotator.overlap(a, b) == 0 for a, b in itertools.combinations(spots, 2))
    assert all(annotator.overlap(spots[i], crowd[j]) == 0 for i in range(24) for j in range(24) if i != j)


def test_panels_shrink_before_they_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = [(x, y, x + 58, y + 72) for x in (0, 124, 262) for y in (0, 84, 184) if (x, y) != (124, 84)]
    spots = panels(monkeypatch, result(240, 320, *crowd))
    assert len(spots) == 8
    assert all(annotator.overlap(a, b) == 0 for a, b in itertools.combinations(spots, 2))
    assert len({y2 - y1 for _, y1, _, y2 in spots}) > 1


def test_panel_never_hides_another_face_or_panel(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    for _ in range(30):
        corners = rng.uniform(0, (560, 400), (int(rng.integers(2, 30)), 2))
        crowd = [
            (x, y, x + side, y + 1.2 * side) for (x, y), side in zip(corners, rng.uniform(16, 120, 99), strict=False)
        ]
        spots = panels(monkeypatch, result(480, 640, *crowd))
        assert all(annotator.overlap(a, b) == 0 for a, b in itertools.combinations(spots, 2))
        hidden = [sum(annotator.overlap(spot, tuple(map(round, box))) > 40 for box in crowd) for spot in spots]
        assert max(hidden, default=0) <= 1  # at most a corner of the panel's own face


def test_crowds_get_labels_without_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = [(x, y, x + 70, y + 90) for x in range(40, 1900, 320) for y in (60, 320, 580, 840)]
    heights = {y2 - y1 for _, y1, _, y2 in panels(monkeypatch, result(1080, 1920, *crowd))}
    few = {y2 - y1 for _, y1, _, y2 in panels(monkeypatch, result(1080, 1920, *crowd[:6]))}
    assert max(heights) < min(few)


def test_styles_show_less_and_less(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = one(Face((100, 100, 250, 250), probabilities=P, id=3))
    titles = []
    for style in ("panels", "labels", "minimal"):
        with monkeypatch.context() as patch:
            shown: list[Panel] = []
            patch.setattr(annotator, "paint", lambda image, panel, *_, shown=shown: shown.append(panel))
            draw(seen, style=style)
        titles.append((shown[0].title[0], len(shown[0].bars)))
    assert titles == [("#3 happy 90 %", 5), ("#3 happy 90 %", 0), ("#3 happy", 0)]
    with pytest.raises(ConfigError, match="choose panels, labels, minimal"):
        Overlay(style="fancy")  # type: ignore[arg-type]


def test_names_with_accents_are_legible() -> None:
    plain, accented = (draw(one(Face((100, 100, 250, 250), probabilities={name: 1.0}))) for name in ("uber", "über"))
    assert np.array_equal(plain, accented)


def test_image_without_face_gets_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    ((x1, y1, x2, y2),) = panels(monkeypatch, result(480, 640))
    assert 0 < (x2 - x1) * (y2 - y1) < 0.05 * 480 * 640
