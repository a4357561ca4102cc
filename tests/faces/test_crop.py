"""Crops: the face cut out whole, upright and without aliasing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mien.faces import crop
from mien.types import Face

RAMP = np.repeat(np.tile(np.arange(0, 240, 4, dtype=np.uint8), (40, 1))[:, :, None], 3, axis=2)  # (40, 60, 3)


def test_network_input_averages_when_it_shrinks() -> None:
    checks = (np.indices((480, 480)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert np.abs(crop.to_network_input(checks).astype(int) - 128).max() <= 1
    assert crop.to_network_input(RAMP).shape == (48, 48)


def test_a_48_pixel_box_is_cut_out_exactly() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (100, 120), dtype=np.uint8)
    out = crop.crop(noise, Face((30, 20, 78, 68)))
    np.testing.assert_array_equal(out, noise[20:68, 30:78])


def test_a_large_face_does_not_alias() -> None:
    checks = (np.indices((1000, 1000)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert crop.crop(checks, Face((100, 100, 876, 876))).std() < 20


@pytest.mark.parametrize("factor", [3, 5, 8, 17])
def test_an_enlarged_image_gives_the_same_crop(factor: int) -> None:
    small = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (90, 80), dtype=np.uint8), (0, 0), 2)
    large = np.kron(small, np.ones((factor, factor), np.uint8))[: 90 * factor - 1]  # an odd side, where it is halved
    x, y = 10.3, 15.6
    box, eyes = np.array([x, y, x + 60, y + 58]), np.array([[x + 15, y + 20], [x + 40, y + 29]])
    faces = [Face(tuple(scale * box), 1.0, tuple(map(tuple, scale * eyes))) for scale in (1, factor)]
    off = crop.crop(large, faces[1]).astype(int) - crop.crop(small, faces[0])
    assert np.abs(off).mean() < 1.5 and abs(off.mean()) < 0.3


def test_margin_widens_the_square() -> None:
    white = np.zeros((200, 200, 3), np.uint8)
    white[76:124, 76:124] = 255
    face = Face((76, 76, 124, 124))
    assert crop.crop(white, face).min() == 255
    assert crop.crop(white, face, margin=1.0).mean() == pytest.approx(255 / 4, abs=4)


def test_align_levels_the_eyes() -> None:
    picture = np.zeros((200, 200, 3), np.uint8)
    eyes = ((80.0, 80.0), (120.0, 120.0))
    for x, y in eyes:
        cv2.circle(picture, (int(x), int(y)), 6, (255, 255, 255), -1)
    face = Face((60, 60, 140, 140), landmarks=eyes)
    rows = np.flatnonzero(crop.crop(picture, face).max(axis=1) > 128)
    assert rows[-1] - rows[0] < 9
    rows = np.flatnonzero(crop.crop(picture, face, align=False).max(axis=1) > 128)
    assert rows[-1] - rows[0] > 24


@pytest.mark.parametrize("box", [(-50, -50, 30, 30), (500, 500, 600, 600), (-900, 0, -800, 9), (5, 5, 5, 5)])
def test_boxes_over_the_border_repeat_the_edge(box: tuple[float, float, float, float]) -> None:
    assert (crop.crop(np.full((60, 60, 3), 77, np.uint8), Face(box)) == 77).all()


def test_crops_keep_order_and_may_be_none() -> None:
    picture = np.hstack([np.full((50, 50, 3), v, np.uint8) for v in (10, 200)])
    out = crop.crops(picture, [Face((60, 10, 90, 40)), Face((10, 10, 40, 40))])
    assert out.mean(axis=(1, 2)).tolist() == [200, 10]
    assert crop.crops(picture, []).shape == (0, 48, 48)
