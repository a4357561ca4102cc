"""Boxes that overlap better ones."""

from __future__ import annotations

import numpy as np

from mien.faces.boxes import drop_doubtful

BEST = (100, 100, 200, 220, 0.93)


def kept(*rows: tuple[float, ...]) -> list[int]:
    boxes = np.array(rows, float)
    found = drop_doubtful(boxes, 0.8, 0.25)
    return [k for k, row in enumerate(boxes) if (found == row).all(axis=1).any()]


def test_low_score_box_on_a_better_one_is_dropped() -> None:
    assert kept(BEST, (150, 150, 260, 280, 0.75)) == [0]  # a shoulder
    assert kept(BEST, (120, 60, 160, 110, 0.74)) == [0, 1]  # touches only
    assert kept(BEST, (90, 90, 260, 320, 0.71)) == [0]  # around it


def test_two_good_faces_close_together_stay() -> None:
    assert kept(BEST, (150, 150, 260, 280, 0.85)) == [0, 1]
    assert kept(BEST, (300, 100, 360, 170, 0.71)) == [0, 1]


def test_dropped_box_drops_no_other() -> None:
    chain = (BEST, (170, 100, 270, 220, 0.78), (240, 100, 340, 220, 0.72))
    assert kept(*chain) == [0, 2]
    assert drop_doubtful(np.zeros((0, 15)), 0.8, 0.25).shape == (0, 15)
