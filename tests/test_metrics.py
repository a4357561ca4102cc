"""Oracles: small cases by hand, and scikit-learn."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as oracle  # type: ignore[import-untyped]

from mien.metrics import apply_temperature, evaluate, fit_temperature, mcnemar, reliable_from, risk_coverage
from mien.types import ConfigError, DataError

P = np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.9, 0.1]])
T = np.array([0, 1, 1, 0])


def softmax(z: Any) -> Any:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def made(n: int = 400, c: int = 5, seed: int = 3) -> tuple[Any, Any, Any]:
    """Logits, their probabilities, and truth drawn from exactly these probabilities."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 1.5, (n, c))
    p = softmax(z)
    return z, p, (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=c - 1)


def test_by_hand() -> None:
    r = evaluate(P, T, ("a", "b"), name="x")
    assert (r.name, r.n, r.labels, r.accuracy) == ("x", 4, ("a", "b"), 0.75)
    assert r.confusion == [[2, 0], [1, 1]]
    assert r.per_class["a"] == pytest.approx({"precision": 2 / 3, "recall": 1, "f1": 0.8, "support": 2})
    assert r.per_class["b"] == pytest.approx({"precision": 1, "recall": 0.5, "f1": 2 / 3, "support": 2})
    assert r.brier == pytest.approx(2 * (0.04 + 0.36 + 0.09 + 0.01) / 4)
    assert r.ece == pytest.approx((0.2 + 0.6 + 0.3 + 0.1) / 4)  # four different bins
    assert r.interval[0] <= 0.75 <= r.interval[1]


def test_scikit_learn_agrees() -> None:
    _, p, t = made()
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


def test_absent_class_does_not_drag_the_means() -> None:
    r = evaluate(np.c_[P, np.zeros(4)], T, "abc")
    assert r.balanced_accuracy == pytest.approx(0.75)
    assert r.macro_f1 == pytest.approx((0.8 + 2 / 3) / 2)
    assert r.per_class["c"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}


def test_json_round_trip_even_with_a_probability_of_zero() -> None:
    d = evaluate(np.array([[1, 0], [1, 0]], np.float32), np.array([0, 1], np.uint8), "ab").to_dict()
    assert json.loads(json.dumps(d, allow_nan=False)) == d


def test_ece() -> None:
    p = np.tile([0.7, 0.3], (10, 1))
    assert evaluate(p, [0] * 7 + [1] * 3, "ab").ece == pytest.approx(0, abs=1e-12)
    p = np.tile([0.95, 0.05], (10, 1))
    assert evaluate(p, [0] * 6 + [1] * 4, "ab").ece == pytest.approx(0.35)


def test_groups_widen_the_interval_of_duplicates() -> None:
    _, p, t = made()
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


def test_risk_coverage() -> None:
    coverage, risk = risk_coverage(P, T)
    assert coverage == pytest.approx([0.25, 0.5, 0.75, 1])
    assert risk == pytest.approx([0, 0, 0, 0.25])
    coverage, risk = risk_coverage([[0.6, 0.4]] * 3 + [[0.1, 0.9]], [0, 1, 0, 1])  # ties stay together
    assert coverage == pytest.approx([0.25, 1]) and risk == pytest.approx([0, 0.25])


def test_temperature_is_recovered() -> None:
    z, p, t = made(4000)
    base = fit_temperature(z, t)
    assert base == pytest.approx(1, abs=0.08)
    assert fit_temperature(3 * z, t) == pytest.approx(3 * base, rel=1e-4)
    assert fit_temperature(np.log(softmax(3 * z)), t) == pytest.approx(3 * base, rel=1e-4)
    sharp = softmax(3 * z)
    assert np.allclose(apply_temperature(sharp, 3), p)
    before, after = evaluate(sharp, t, "abcde", bootstraps=1), evaluate(p, t, "abcde", bootstraps=1)
    assert after.nll < before.nll and after.ece < before.ece


def test_apply_temperature_edges() -> None:
    assert apply_temperature([[1.0, 0.0]], 2.0).tolist() == [[1.0, 0.0]]
    assert apply_temperature(np.zeros((0, 5)), 2.0).shape == (0, 5)
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="temperature"):
            apply_temperature(P, bad)
    with pytest.raises(DataError, match="shape"):
        apply_temperature([0.5, 0.5], 1.0)


def test_mcnemar() -> None:
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
def test_errors(p: Any, t: Any, labels: str, match: str) -> None:
    with pytest.raises(DataError, match=match):
        evaluate(p, t, labels)


def test_other_errors() -> None:
    with pytest.raises(DataError, match="groups"):
        evaluate(P, T, "ab", groups=[1, 2])
    with pytest.raises(ConfigError, match="bootstraps"):
        evaluate(P, T, "ab", bootstraps=0)
    with pytest.raises(DataError, match="finite"):
        fit_temperature([[0.0, -np.inf]], [0])


def test_the_uncertain_threshold_is_the_lowest_that_is_reliable() -> None:
    top = np.array([0.9, 0.8, 0.7, 0.6])
    p = np.stack([top, 1 - top], axis=1)
    truth = np.array([0, 0, 0, 1])  # only the least confident answer is wrong
    assert reliable_from(p, truth, 0.9) == pytest.approx(0.7)
    assert reliable_from(p, truth, 0.75) == 0
    assert reliable_from(p, np.array([1, 1, 1, 1]), 0.5) == 1
