"""How good a classifier is: one report with every number of the benchmark, calibration and paired comparison.

Probabilities are (N, C) floats whose rows sum to 1, truth is (N,) integers 0..C-1. Everything is computed in float64,
every function is pure, and the bootstrap is deterministic for a given seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mien.types import ConfigError, DataError

Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]

BINS = 15
"""Equal-width bins of the expected calibration error."""

_LOG_T = math.log(20.0)


@dataclass(frozen=True, slots=True)
class Report:
    """What one evaluation found. All shares are 0..1.

    Attributes:
        name: of the model or the view, to show to a person.
        n: number of items.
        labels: names of the classes, in the order of the columns.
        accuracy: share of right answers.
        balanced_accuracy: mean recall of the classes that occur in the truth.
        macro_f1: mean F1 of the classes that occur in truth or prediction.
        per_class: name -> precision, recall, f1 (0 where undefined) and support (a count).
        confusion: counts (C, C), rows are the truth, columns the prediction.
        nll: mean negative log-likelihood in nats.
        brier: mean of the squared error summed over the classes, 0..2.
        ece: expected calibration error of the top probability, `BINS` equal-width bins.
        interval: (low, high), 95 % bootstrap interval of the accuracy.
    """

    name: str
    n: int
    labels: tuple[str, ...]
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    per_class: dict[str, dict[str, float]]
    confusion: list[list[int]]
    nll: float
    brier: float
    ece: float
    interval: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain floats, strings and lists: safe for `json.dumps`."""
        return {**asdict(self), "labels": list(self.labels), "interval": list(self.interval)}


def evaluate(
    probabilities: ArrayLike,
    truth: ArrayLike,
    labels: Sequence[str],
    name: str = "",
    groups: ArrayLike | None = None,
    bootstraps: int = 1000,
    seed: int = 0,
) -> Report:
    """Every metric of the benchmark for one set of answers.

    Args:
        probabilities: float (N, C), rows sum to 1 (within 1e-3).
        truth: int (N,), 0..C-1.
        labels: C distinct names.
        name: shown in the report.
        groups: int (N,), items of one number are duplicates and are resampled together; None: each item by itself.
        bootstraps: number of resamples, 1 or more.
        seed: of the bootstrap.

    Raises:
        DataError: nothing to evaluate, shapes or labels that do not fit, or rows that are not probabilities.
        ConfigError: fewer than one bootstrap.
    """
    p, t = _checked(probabilities, truth)
    if len(labels) != p.shape[1] or len(set(labels)) != len(labels):
        raise DataError(f"{len(labels)} labels for {p.shape[1]} columns: give one distinct name for each column")
    if bootstraps < 1:
        raise ConfigError(f"bootstraps is {bootstraps}: give 1 or more")
    guess = p.argmax(axis=1)
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (t, guess), 1)
    precision, recall, f1 = _scores(confusion)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    return Report(
        name=name,
        n=len(t),
        labels=tuple(labels),
        accuracy=float((guess == t).mean()),
        balanced_accuracy=float(recall[support > 0].mean()),
        macro_f1=float(f1[(support + predicted) > 0].mean()),
        per_class={
            label: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "support": int(support[i]),
            }
            for i, label in enumerate(labels)
        },
        confusion=confusion.tolist(),
        nll=_nll(np.log(np.clip(p, np.finfo(np.float64).eps, 1.0)), t),
        brier=float(((p - np.eye(p.shape[1])[t]) ** 2).sum(axis=1).mean()),
        ece=_ece(p.max(axis=1), guess == t),
        interval=_interval(guess == t, _group_numbers(groups, len(t)), bootstraps, seed),
    )


def risk_coverage(probabilities: ArrayLike, truth: ArrayLike) -> tuple[Doubles, Doubles]:
    """Error among the most confident answers, for every share of them that a threshold can select.

    Args:
        probabilities: float (N, C), rows sum to 1.
        truth: int (N,), 0..C-1.

    Returns:
        coverage: float64 (K,), rising to 1; K is the number of distinct top probabilities.
        risk: float64 (K,), share of wrong answers among those covered, 0..1.

    Raises:
        DataError: as `evaluate`.
    """
    p, t = _checked(probabilities, truth)
    top = p.max(axis=1)
    order = np.argsort(-top, kind="stable")
    wrong = np.cumsum((p.argmax(axis=1) != t)[order])
    last = np.flatnonzero(np.append(np.diff(top[order]) != 0, True))
    return (last + 1) / len(t), wrong[last] / (last + 1)


def fit_temperature(logits: ArrayLike, truth: ArrayLike) -> float:
    """The temperature T in 0.05..20 for which softmax(logits / T) has the least negative log-likelihood.

    Args:
        logits: finite float (N, C), logits or log-probabilities (clip probabilities of 0 before the logarithm).
        truth: int (N,), 0..C-1.

    Raises:
        DataError: empty input, shapes or labels that do not fit, or values that are not finite.
    """
    z, t = _shaped(logits, truth)
    if not np.isfinite(z).all():
        raise DataError("the logits are not all finite: clip probabilities of 0 before taking the logarithm")

    def loss(log_t: float) -> float:
        return _nll(_log_softmax(z / math.exp(log_t)), t)

    ratio = (math.sqrt(5.0) - 1.0) / 2.0  # the loss is convex in 1 / T, hence has one valley in log T
    low, high = -_LOG_T, _LOG_T
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    at_a, at_b = loss(a), loss(b)
    while high - low > 1e-6:
        if at_a <= at_b:
            high, b, at_b = b, a, at_a
            a = high - ratio * (high - low)
            at_a = loss(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + ratio * (high - low)
            at_b = loss(b)
    return math.exp((low + high) / 2.0)


def apply_temperature(probabilities: ArrayLike, temperature: float) -> Doubles:
    """Probabilities softened (temperature above 1) or sharpened (below 1); the order within a row stays.

    Args:
        probabilities: float (N, C), rows sum to 1; N may be 0.
        temperature: above 0.

    Returns:
        float64 (N, C), rows sum to 1.

    Raises:
        ConfigError: the temperature is not a positive number.
        DataError: not of shape (N, C), or rows that are not probabilities.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise ConfigError(f"temperature is {temperature}: give a number above 0")
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2:
        raise DataError(f"probabilities have shape {p.shape}: give (N, C)")
    _check_rows(p)
    with np.errstate(divide="ignore"):
        scaled: Doubles = np.exp(_log_softmax(np.log(p) / temperature))
    return scaled


def reliable_from(probabilities: ArrayLike, truth: ArrayLike, accuracy: float) -> float:
    """The least top probability from which answers are right at the wanted rate: the threshold of "uncertain".

    Args:
        probabilities: float (N, C), rows sum to 1, calibrated.
        truth: int (N,), 0..C-1.
        accuracy: wanted share of right answers among those at or above the threshold, 0..1.

    Returns:
        0..1: 0 when all answers together reach it, 1 when no threshold does.

    Raises:
        DataError: as `evaluate`.
    """
    coverage, risk = risk_coverage(probabilities, truth)
    good = np.flatnonzero(1 - risk >= accuracy)
    if not len(good):
        return 1.0
    if good[-1] == len(coverage) - 1:
        return 0.0
    top = np.sort(np.asarray(probabilities, np.float64).max(axis=1))[::-1]
    return float(top[round(coverage[good[-1]] * len(top)) - 1])


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> float:
    """Exact two-sided McNemar test: p value of two models being equally often right on the same items.

    Args:
        correct_a: bool (N,), where the first model is right.
        correct_b: bool (N,), where the second is.

    Returns:
        0..1; 1 when they never differ.

    Raises:
        DataError: empty, or of different shapes.
    """
    a, b = np.asarray(correct_a, np.bool_), np.asarray(correct_b, np.bool_)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise DataError(f"shapes {a.shape} and {b.shape}: give two filled (N,) arrays about the same items")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    n = only_a + only_b
    tail = sum(math.comb(n, k) for k in range(min(only_a, only_b) + 1))
    return min(1.0, 2 * tail / (1 << n))


def _shaped(values: ArrayLike, truth: ArrayLike) -> tuple[Doubles, Integers]:
    """`values` as float64 (N, C) and `truth` as int64 (N,), or DataError."""
    v, t = np.asarray(values, np.float64), np.asarray(truth)
    if v.ndim != 2 or t.shape != v.shape[:1]:
        raise DataError(f"shapes {v.shape} and {t.shape}: give (N, C) values and (N,) truth")
    if not v.size:
        raise DataError("there is nothing to evaluate: the input is empty")
    if not np.issubdtype(t.dtype, np.integer):
        raise DataError(f"truth is {t.dtype}: give integers")
    if t.min() < 0 or t.max() >= v.shape[1]:
        raise DataError(f"truth lies in {t.min()}..{t.max()}: with {v.shape[1]} columns it must be 0..{v.shape[1] - 1}")
    return v, t.astype(np.int64)


def _check_rows(p: Doubles) -> None:
    good = np.isfinite(p).all(axis=1) & (p >= 0).all(axis=1) & (np.abs(p.sum(axis=1) - 1) <= 1e-3)
    if not good.all():
        row = int(np.argmin(good))
        raise DataError(f"row {row} is no probability (its sum is {p[row].sum():.4g}): give values 0..1 that sum to 1")


def _checked(probabilities: ArrayLike, truth: ArrayLike) -> tuple[Doubles, Integers]:
    p, t = _shaped(probabilities, truth)
    _check_rows(p)
    return p, t


def _scores(confusion: Integers) -> tuple[Doubles, Doubles, Doubles]:
    """Precision, recall and F1 of each class, float64 (C,), 0 where undefined."""
    hit, support, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    return hit / np.maximum(predicted, 1), hit / np.maximum(support, 1), 2 * hit / np.maximum(support + predicted, 1)


def _log_softmax(z: Doubles) -> Doubles:
    z = z - z.max(axis=1, keepdims=True)
    result: Doubles = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return result


def _nll(log_p: Doubles, truth: Integers) -> float:
    return float(-log_p[np.arange(len(truth)), truth].mean())


def _ece(top: Doubles, correct: NDArray[np.bool_]) -> float:
    """Mean |accuracy - confidence| over the bins (low, high], weighted by their items."""
    bins = np.clip(np.ceil(top * BINS).astype(np.int64) - 1, 0, BINS - 1)
    return float(np.abs(np.bincount(bins, correct - top, BINS)).sum() / len(top))


def _group_numbers(groups: ArrayLike | None, n: int) -> Integers:
    """Group of each item, numbered from 0 without gaps: int64 (n,)."""
    if groups is None:
        return np.arange(n, dtype=np.int64)
    g = np.asarray(groups)
    if g.shape != (n,):
        raise DataError(f"groups have shape {g.shape}: give ({n},), one number for each item")
    return np.unique(g, return_inverse=True)[1].reshape(n).astype(np.int64)


def _interval(correct: NDArray[np.bool_], groups: Integers, bootstraps: int, seed: int) -> tuple[float, float]:
    """95 % percentile interval of the accuracy, whole groups resampled with replacement."""
    hits, sizes = np.bincount(groups, correct), np.bincount(groups)
    rng = np.random.default_rng(seed)
    values = np.empty(bootstraps)
    for i in range(bootstraps):
        pick = rng.integers(len(sizes), size=len(sizes))
        values[i] = hits[pick].sum() / sizes[pick].sum()
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
