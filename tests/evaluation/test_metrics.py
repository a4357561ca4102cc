"""Oracles: small cases by hand, and scikit-learn."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]
from sklearn import metrics as oracle  # type: ignore[import-untyped]

from mien.errors import ConfigError, DataError
from mien.evaluation.bootstrap import mean_interval
from mien.evaluation.calibration import (
    UNREACHABLE,
    apply_temperature,
    fit_temperature,
    risk_coverage,
    threshold_for_accuracy,
)
from mien.evaluation.comparison import compare, mcnemar
from mien.evaluation.metrics import evaluate

P = np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.9, 0.1]])
T = np.array([0, 1, 1, 0])


def softmax(z: Any) -> Any:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def sample(n: int = 400, c: int = 5, seed: int = 3) -> tuple[Any, Any, Any]:
    """Logits, their probabilities, and truth drawn from exactly these probabilities."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 1.5, (n, c))
    p = softmax(z)
    return z, p, (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=c - 1)


def test_report_of_four_items_by_hand() -> None:
    r = evaluate(P, T, ("a", "b"), name="x")
    assert (r.name, r.n, r.labels, r.accuracy) == ("x", 4, ("a", "b"), 0.75)
    assert r.confusion == [[2, 0], [1, 1]]
    assert r.per_class["a"] == pytest.approx({"precision": 2 / 3, "recall": 1, "f1": 0.8, "support": 2})
    assert r.per_class["b"] == pytest.approx({"precision": 1, "recall": 0.5, "f1": 2 / 3, "support": 2})
    assert r.brier == pytest.approx(2 * (0.04 + 0.36 + 0.09 + 0.01) / 4)
    assert r.ece == pytest.approx((0.2 + 0.6 + 0.3 + 0.1) / 4)  # four different bins
    assert r.interval[0] <= 0.75 <= r.interval[1]


def test_metrics_agree_with_scikit_learn() -> None:
    _, p, t = sample()
    r, guess = evaluate(p, t, list("abcde")), p.argmax(axis=1)
    assert r.accuracy == pytest.approx(oracle.accuracy_score(t, guess))
    assert r.balanced_accuracy == pytest.approx(oracle.balanced_accuracy_score(t, guess))
    assert r.macro_f1 == pytest.approx(oracle.f1_score(t, guess, average="macro"))
    assert r.nll == pytest.approx(oracle.log_loss(t, p))
    assert r.confusion == oracle.confusion_matrix(t, guess).tolist()
    precision, recall, f1, support = oracle.precision_recall_fscore_support(t, guess)
    for i, name in enumerate("abcde"):
        expected = {"precision": precision[i], "recall": recall[i], "f1": f1[i], "support": support[i]}
        assert r.per_class[name] == pytest.approx(expected)


def test_absent_class_does_not_lower_the_means() -> None:
    r = evaluate(np.c_[P, np.zeros(4)], T, "abc")
    assert r.balanced_accuracy == pytest.approx(0.75)
    assert r.macro_f1 == pytest.approx((0.8 + 2 / 3) / 2)
    assert r.per_class["c"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}


def test_report_survives_json_with_a_probability_of_zero() -> None:
    d = evaluate(np.array([[1, 0], [1, 0]], np.float32), np.array([0, 1], np.uint8), "ab").to_dict()
    assert json.loads(json.dumps(d, allow_nan=False)) == d


def test_ece_by_hand() -> None:
    p = np.tile([0.7, 0.3], (10, 1))
    assert evaluate(p, [0] * 7 + [1] * 3, "ab").ece == pytest.approx(0, abs=1e-12)
    p = np.tile([0.95, 0.05], (10, 1))
    assert evaluate(p, [0] * 6 + [1] * 4, "ab").ece == pytest.approx(0.35)


def test_groups_widen_the_interval_of_duplicates() -> None:
    _, p, t = sample()
    twice, truth, group = np.repeat(p, 2, axis=0), np.repeat(t, 2), np.repeat(np.arange(len(t)), 2) * 7 - 5
    plain, grouped = evaluate(twice, truth, "abcde"), evaluate(twice, truth, "abcde", groups=group)
    width = grouped.interval[1] - grouped.interval[0]
    assert width > 1.2 * (plain.interval[1] - plain.interval[0])  # in theory sqrt(2)
    single = evaluate(p, t, "abcde")
    assert grouped.interval == pytest.approx(single.interval)
    error = (single.accuracy * (1 - single.accuracy) / len(t)) ** 0.5
    assert width == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert evaluate(twice, truth, "abcde", groups=group) == grouped
    assert evaluate(twice, truth, "abcde", groups=group, seed=1).interval != grouped.interval


def test_intervals_agree_with_scipy_and_by_hand() -> None:
    _, p, t = sample()
    r = evaluate(p, t, "abcde")
    items = {"nll": -np.log(p[np.arange(len(t)), t]), "brier": ((p - np.eye(5)[t]) ** 2).sum(axis=1)}
    for name, values in items.items():
        low, high = stats.bootstrap((values,), np.mean, n_resamples=999, method="percentile", rng=1).confidence_interval
        assert r.intervals[name] == pytest.approx((low, high), abs=0.15 * (high - low))
    guess, rng = p.argmax(axis=1), np.random.default_rng(1)
    recalls, scores = [], []
    for pick in rng.integers(len(t), size=(999, len(t))):
        true, said = (np.eye(5, dtype=bool)[values[pick]] for values in (t, guess))
        hits = (true & said).sum(axis=0)
        recalls.append((hits / true.sum(axis=0)).mean())
        scores.append((2 * hits / (true.sum(axis=0) + said.sum(axis=0))).mean())
    for name, values in (("balanced_accuracy", recalls), ("macro_f1", scores)):
        low, high = np.quantile(values, [0.025, 0.975])
        assert r.intervals[name] == pytest.approx((low, high), abs=0.15 * (high - low))


def test_one_group_has_no_spread() -> None:
    r = evaluate(P, T, "ab", groups=[7, 7, 7, 7])
    assert r.interval == (0.75, 0.75)
    assert r.intervals["macro_f1"] == pytest.approx((r.macro_f1, r.macro_f1))
    assert r.intervals["brier"] == pytest.approx((r.brier, r.brier))


def test_ece_before_undoes_the_temperature() -> None:
    z, p, t = sample()
    r = evaluate(softmax(z / 2), t, "abcde", bootstraps=1, temperature=2.0)
    assert r.ece_before == pytest.approx(evaluate(p, t, "abcde", bootstraps=1).ece)
    assert abs(r.ece_before - r.ece) > 0.05
    plain = evaluate(p, t, "abcde", bootstraps=1)
    assert plain.ece_before == plain.ece and plain.temperature == 1


def test_reliability_by_hand() -> None:
    p = np.array([[0.95, 0.05], [0.97, 0.03], [0.6, 0.4]])
    last, first = {"low": 14 / 15, "high": 1.0}, {"low": 8 / 15, "high": 0.6}
    r = evaluate(p, [0, 1, 0], "ab", bootstraps=1)
    assert r.reliability[0] == pytest.approx({**first, "count": 1, "confidence": 0.6, "accuracy": 1.0})
    assert r.reliability[1] == pytest.approx({**last, "count": 2, "confidence": 0.96, "accuracy": 0.5})
    assert len(r.reliability) == 2
    assert r.ece == pytest.approx(sum(b["count"] * abs(b["accuracy"] - b["confidence"]) for b in r.reliability) / 3)


def test_threshold_trades_coverage_for_accuracy() -> None:
    r = evaluate(P, T, "ab", confidence_threshold=0.7)  # top probabilities 0.8, 0.6 (wrong), 0.7, 0.9
    assert (r.coverage, r.covered_accuracy, r.confidence_threshold) == (0.75, 1.0, 0.7)
    none = evaluate(P, T, "ab", confidence_threshold=0.95)
    assert (none.coverage, none.covered_accuracy) == (0.0, None)
    assert evaluate(P, T, "ab").coverage == 1


def test_risk_coverage_in_the_report() -> None:
    r = evaluate(P, T, "ab")
    assert r.risk_coverage == {"coverage": [0.25, 0.5, 0.75, 1.0], "risk": [0.0, 0.0, 0.0, 0.25]}
    assert r.aurc == pytest.approx(0.25 / 4)
    _, p, t = sample(4000)
    long, (coverage, risk) = evaluate(p, t, "abcde", bootstraps=1), risk_coverage(p, t)
    assert len(long.risk_coverage["coverage"]) == 100
    assert long.risk_coverage["coverage"] == pytest.approx(np.arange(1, 101) / 100)
    assert long.risk_coverage["risk"] == pytest.approx(risk[39::40])
    assert long.aurc == pytest.approx(risk.mean())  # the items differ in their top probability
    assert len(coverage) == 4000


def test_comparison_by_hand() -> None:
    a = np.array([1] * 1 + [0] * 9 + [1] * 5 + [0] * 5, bool)
    b = np.array([0] * 1 + [1] * 9 + [1] * 5 + [0] * 5, bool)
    c = compare(a, b)
    assert (c.n, c.only_first, c.only_second) == (20, 1, 9)
    assert (c.accuracy, c.other, c.difference) == pytest.approx((6 / 20, 14 / 20, -8 / 20))
    assert c.p == pytest.approx(2 * (1 + 10) / 2**10)
    assert c.interval[0] < -0.4 < c.interval[1] < 0
    back = compare(b, a)
    assert back.difference == -c.difference and back.interval == pytest.approx((-c.interval[1], -c.interval[0]))
    assert json.loads(json.dumps(c.to_dict())) == c.to_dict()


def test_comparison_with_itself_finds_no_difference() -> None:
    c = compare([1, 0, 1], [1, 0, 1])
    assert (c.difference, c.interval, c.p) == (0, (0, 0), 1)


def test_comparison_agrees_with_scipy() -> None:
    rng = np.random.default_rng(5)
    a = rng.random(2000) < 0.8
    b = np.where(rng.random(2000) < 0.2, rng.random(2000) < 0.7, a)  # mostly the same answers
    c = compare(a, b)
    expected = stats.bootstrap(
        (a.astype(float), b.astype(float)), lambda x, y, axis: (x - y).mean(axis=axis), paired=True,
        vectorized=True, n_resamples=2000, method="percentile", rng=0,
    ).confidence_interval  # fmt: skip
    width = c.interval[1] - c.interval[0]
    assert c.interval == pytest.approx((expected.low, expected.high), abs=0.15 * width)
    assert width == pytest.approx(2 * 1.96 * (a.astype(float) - b).std() / 2000**0.5, rel=0.1)
    assert c.p == pytest.approx(stats.binomtest(c.only_first, c.only_first + c.only_second).pvalue)
    apart = sum(share * (1 - share) / 2000 for share in (c.accuracy, c.other)) ** 0.5
    assert width < 0.6 * 2 * 1.96 * apart  # what pairing is for


def test_comparison_resamples_duplicates_together() -> None:
    rng = np.random.default_rng(6)
    a, b, group = rng.random(500) < 0.8, rng.random(500) < 0.7, np.repeat(np.arange(500), 2)
    once = compare(a, b)
    assert compare(np.repeat(a, 2), np.repeat(b, 2), group).interval == pytest.approx(once.interval)
    assert compare(a, b, seed=1).interval != once.interval
    with pytest.raises(DataError, match="groups"):
        compare(a, b, group)
    with pytest.raises(DataError, match="same items"):
        compare(a, b[1:])
    with pytest.raises(ConfigError, match="bootstraps"):
        compare(a, b, bootstraps=0)


def test_risk_coverage_by_hand() -> None:
    coverage, risk = risk_coverage(P, T)
    assert coverage == pytest.approx([0.25, 0.5, 0.75, 1])
    assert risk == pytest.approx([0, 0, 0, 0.25])
    coverage, risk = risk_coverage([[0.6, 0.4]] * 3 + [[0.1, 0.9]], [0, 1, 0, 1])  # ties stay together
    assert coverage == pytest.approx([0.25, 1]) and risk == pytest.approx([0, 0.25])


def test_fit_temperature_recovers_a_known_temperature() -> None:
    z, p, t = sample(4000)
    base = fit_temperature(z, t)
    assert base == pytest.approx(1, abs=0.08)
    assert fit_temperature(3 * z, t) == pytest.approx(3 * base, rel=1e-4)
    assert fit_temperature(np.log(softmax(3 * z)), t) == pytest.approx(3 * base, rel=1e-4)
    sharp = softmax(3 * z)
    assert np.allclose(apply_temperature(sharp, 3), p)
    before, after = evaluate(sharp, t, "abcde", bootstraps=1), evaluate(p, t, "abcde", bootstraps=1)
    assert after.nll < before.nll and after.ece < before.ece


def test_apply_temperature_accepts_zeros_and_empty_input() -> None:
    assert apply_temperature([[1.0, 0.0]], 2.0).tolist() == [[1.0, 0.0]]
    assert apply_temperature(np.zeros((0, 5)), 2.0).shape == (0, 5)
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="temperature"):
            apply_temperature(P, bad)
    with pytest.raises(DataError, match="shape"):
        apply_temperature([0.5, 0.5], 1.0)


def test_mcnemar_by_hand() -> None:
    a = np.array([1] * 1 + [0] * 9 + [1] * 5, bool)
    b = np.array([0] * 1 + [1] * 9 + [1] * 5, bool)
    assert mcnemar(a, b) == mcnemar(b, a) == pytest.approx(2 * (1 + 10) / 2**10)
    assert mcnemar(a, a) == 1
    assert mcnemar([1, 0], [0, 1]) == 1
    assert mcnemar(np.arange(3000) % 2 == 0, np.arange(3000) % 2 == 1) == 1  # no overflow
    for bad in (([], []), ([1], [1, 0])):
        with pytest.raises(DataError):
            mcnemar(*bad)


@pytest.mark.parametrize(
    ("p", "t", "labels", "match"),
    [
        (np.zeros((0, 2)), np.zeros(0, int), "ab", "empty"),
        (P, T[:3], "ab", "shapes"),
        (P[0], T, "ab", "shapes"),
        (P, T + 1, "ab", "truth lies"),
        (P, T - 1, "ab", "truth lies"),
        (P, T.astype(float), "ab", "integers"),
        (P, T, "abc", "labels"),
        (P, T, "aa", "labels"),
        (P * 1.01, T, "ab", "row 0"),
        (np.where(P == 0.7, np.nan, P), T, "ab", "row 2"),
        (np.array([[1.5, -0.5]]), [0], "ab", "row 0"),
    ],
)
def test_bad_probabilities_and_truth_are_refused(p: Any, t: Any, labels: str, match: str) -> None:
    with pytest.raises(DataError, match=match):
        evaluate(p, t, labels)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(DataError, match="groups"):
        evaluate(P, T, "ab", groups=[1, 2])
    with pytest.raises(ConfigError, match="bootstraps"):
        evaluate(P, T, "ab", bootstraps=0)
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="temperature"):
            evaluate(P, T, "ab", temperature=bad)
    with pytest.raises(DataError, match="finite"):
        fit_temperature([[0.0, -np.inf]], [0])


def test_threshold_is_the_lowest_that_reaches_the_accuracy() -> None:
    top = np.array([0.9, 0.8, 0.7, 0.6])
    p = np.stack([top, 1 - top], axis=1)
    truth = np.array([0, 0, 0, 1])  # only the least confident answer is wrong
    assert threshold_for_accuracy(p, truth, 0.9) == pytest.approx(0.7)
    assert threshold_for_accuracy(p, truth, 0.75) == 0
    assert threshold_for_accuracy(p, np.array([1, 1, 1, 1]), 0.5) == UNREACHABLE > 1


def test_mean_interval_equals_the_paired_one_and_keeps_duplicates_together() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(400) < 0.8, rng.random(400) < 0.7
    groups = np.arange(400) // 2
    off = first.astype(float) - second
    assert mean_interval(off, groups) == compare(first, second, groups).interval
    twice = np.repeat(rng.normal(size=200), 2)
    wide, narrow = (np.ptp(mean_interval(twice, numbers)) for numbers in (groups, None))
    assert wide == pytest.approx(np.sqrt(2) * narrow, rel=0.15)
    with pytest.raises(DataError, match="at least one"):
        mean_interval([])
