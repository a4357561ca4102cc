"""Results at the size of a window."""

import numpy as np
import pytest

from mien.draw.scale import fit_size, transform
from mien.types import Face, Frame, Result


def result() -> Result:
    image = np.zeros((60, 120, 3), np.uint8)
    image[:, :60] = (255, 0, 0)
    return Result(Frame(image), (Face((10, 20, 40, 50)),))


@pytest.mark.parametrize(("room", "size"), [((240, 300), (240, 120)), ((60, 300), (60, 30)), ((120, 60), (120, 60))])
def test_image_fits_the_room_in_its_aspect_ratio(room: tuple[int, int], size: tuple[int, int]) -> None:
    assert fit_size(result().frame.image, room) == size


def test_boxes_follow_the_image() -> None:
    scaled = transform(result(), (240, 180))
    assert scaled.frame.image.shape == (180, 240, 3)
    assert scaled.faces[0].box == (20, 60, 80, 150)
    assert (scaled.frame.image[:, 10] == (255, 0, 0)).all()


def test_mirror_swaps_left_and_right_of_image_and_boxes() -> None:
    original = result()
    mirrored = transform(original, (120, 60), mirror=True)
    assert mirrored.faces[0].box == (80, 20, 110, 50)
    assert (mirrored.frame.image == original.frame.image[:, ::-1]).all()
    assert transform(mirrored, (120, 60), mirror=True).faces == original.faces
    assert (original.frame.image[:, 0] == (255, 0, 0)).all()
