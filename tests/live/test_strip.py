"""The strip of the last seconds."""

import numpy as np

from mien.draw import COLOURS
from mien.draw.palette import MUTED
from mien.live.strip import SECONDS, Strip
from mien.types import Face, Frame, Image, Result


def result(time: float, **people: str) -> Result:
    """Return a result with a face for each of p1="happy", p2="sad?", ..."""
    faces = tuple(
        Face(
            (0, 0, 9, 9),
            probabilities={emotion.strip("?"): 1.0},
            id=int(name[1:]),
            confidence_threshold=2.0 if emotion.endswith("?") else 0.0,
        )
        for name, emotion in people.items()
    )
    return Result(Frame(np.zeros((9, 9, 3), np.uint8), time=time), faces)


def columns(image: Image, colour: tuple[int, int, int], row: slice = slice(None)) -> np.ndarray:
    """Return the columns that contain a colour."""
    return np.flatnonzero((image[row] == np.array(colour)).all(axis=-1).sum(axis=0) > 5)


def test_time_runs_to_the_right_in_the_colours_of_the_emotions() -> None:
    strip = Strip()
    for k in range(101):
        strip.add(result(k / 5, p1="happy" if k < 50 else "sad" if k < 75 else "sad?"))
    image = strip.draw(630, 20)
    assert image.shape == (20, 630, 3)
    happy, sad, gray = (columns(image, c) for c in (COLOURS["happy"], COLOURS["sad"], MUTED))
    assert happy.max() < sad.min() and sad.max() < gray[gray > 60].min()
    assert gray.max() == 629
    assert 195 <= len(happy) <= 210 and 95 <= len(sad) <= 106  # 10 s and 5 s of 30 s


def test_people_have_rows_and_the_newest_four_are_shown() -> None:
    strip = Strip()
    strip.add(result(0.0, p1="happy", p2="sad"))
    strip.add(result(0.2, p2="sad", p7="angry"))
    image = strip.draw(300, 20)
    assert len(image) == 60
    for row, emotion in enumerate(("happy", "sad", "angry")):
        assert len(columns(image, COLOURS[emotion], slice(20 * row, 20 * row + 20)))
    strip.add(result(0.4, p8="happy", p9="happy", p10="happy", p11="happy"))
    assert len(strip.draw(300, 20)) == 80


def test_old_moments_and_gaps_are_left_out() -> None:
    strip = Strip()
    for time in (0.0, 0.2, 0.4, 10.0, 10.2):
        strip.add(result(time, p1="happy"))
    assert 2 <= len(columns(strip.draw(630, 20), COLOURS["happy"])) < 60
    strip.add(result(10.2 + SECONDS, p2="sad"))
    assert not len(columns(strip.draw(630, 20), COLOURS["happy"], slice(0, 20))[2:])
    strip.add(result(0.0, p3="angry"))  # the file starts again
    assert len(strip.draw(630, 20)) == 20


def test_empty_strip_is_dark() -> None:
    assert Strip().draw(100, 20).max() < 60
    strip = Strip()
    strip.add(result(0.0))
    assert strip.draw(3, 20).shape == (20, 3, 3)
