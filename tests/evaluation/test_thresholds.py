"""Thresholds of "uncertain" and intervals of few items keep what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from mien.evaluation.calibration import RELIABLE, UNREACHABLE, calibrate, threshold_for_accuracy
from mien.evaluation.metrics import evaluate


@pytest.mark.parametrize("seed", range(40))
def test_answered_share_reaches_its_accuracy_after_rounding(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(5, 0.4), 400)
    truth = np.array([rng.choice(5, p=row) for row in p])
    _, threshold = calibrate(p, truth, temperature=1.0)
    answered = p.max(1) >= threshold
    assert threshold == float(f"{threshold:.4f}")
    assert answered.any() and (p.argmax(1) == truth)[answered].mean() >= RELIABLE


def test_certain_but_wrong_predictions_stay_unanswered() -> None:
    p = np.eye(2)[np.zeros(10, np.int64)]
    assert threshold_for_accuracy(p, np.ones(10, np.int64), RELIABLE) == UNREACHABLE > p.max()


def test_all_right_on_few_items_has_a_wide_interval() -> None:
    truth = np.arange(24) % 2
    report = evaluate(np.eye(2)[truth], truth, ("a", "b"))
    assert report.accuracy == 1 and report.interval == pytest.approx((0.862, 1.0), abs=1e-3)
    report = evaluate(np.eye(2)[1 - truth], truth, ("a", "b"))
    assert report.interval == pytest.approx((0.0, 0.138), abs=1e-3)
