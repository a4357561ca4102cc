"""Temperature scaling, calibration error and risk-coverage; all in float64.

Probabilities are (N, C), rows sum to 1; truth is integer (N,), 0..C-1. Other shapes and values raise `DataError`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mien.errors import ConfigError, DataError
from mien.types import Floats

Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]

BINS = 15
"""Equal-width bins of the expected calibration error."""

_LOG_T = math.log(20.0)

UNREACHABLE = 1.0001
"""Threshold that no probability reaches: every prediction is uncertain."""

RELIABLE = 0.85
"""Accuracy on PublicTest of the predictions that are not marked uncertain, at least."""


def calibrate(probabilities: Floats, truth: NDArray[np.int64], temperature: float | None = None) -> tuple[float, float]:
    """Return a model's temperature and its threshold of "uncertain", from its predictions without either.

    If all predictions are right, as may happen with few images, the best temperature would be the smallest one and the
    model sure of everything; it stays at 1. A given temperature is kept.
    """
    raw = np.log(np.clip(probabilities, 1e-12, 1))
    if temperature is None:
        temperature = 1.0 if (raw.argmax(1) == truth).all() else fit_temperature(raw, truth)
    threshold = threshold_for_accuracy(apply_temperature(np.exp(raw), temperature), truth, RELIABLE)
    return round(temperature, 4), threshold


def risk_coverage(probabilities: ArrayLike, truth: ArrayLike) -> tuple[Doubles, Doubles]:
    """Return (coverage, risk), float64 (K,), at each distinct top probability.

    Coverage rises to 1; risk is the share of wrong predictions among those covered.
    """
    p, t = check_probabilities(probabilities, truth)
    return risk_curve(p.max(axis=1), p.argmax(axis=1) == t)


def fit_temperature(logits: ArrayLike, truth: ArrayLike) -> float:
    """Return the T in 0.05..20 for which softmax(logits / T) has the least negative log-likelihood.

    `logits` are finite float (N, C), logits or log-probabilities.
    """
    z, t = _check_shapes(logits, truth)
    if not np.isfinite(z).all():
        raise DataError("the logits are not all finite: clip probabilities of 0 before taking the logarithm")

    def loss(log_t: float) -> float:
        return float(-_log_softmax(z / math.exp(log_t))[np.arange(len(t)), t].mean())

    ratio = (math.sqrt(5.0) - 1.0) / 2.0  # golden section: the loss is convex in 1 / T, so it has one valley in log T
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
    """Soften probabilities, float (N, C), with a temperature above 1, or sharpen them below 1; N may be 0."""
    if not (math.isfinite(temperature) and temperature > 0):
        raise ConfigError(f"temperature is {temperature}: give a number above 0")
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2:
        raise DataError(f"probabilities have shape {p.shape}: give (N, C)")
    _check_rows(p)
    with np.errstate(divide="ignore"):
        scaled: Doubles = np.exp(_log_softmax(np.log(p) / temperature))
    return scaled


def threshold_for_accuracy(probabilities: ArrayLike, truth: ArrayLike, accuracy: float) -> float:
    """Return the least threshold of four decimals for which the predictions at or above it reach `accuracy`.

    It is 0 when all predictions together reach it, and `UNREACHABLE` when no threshold does.
    """
    p, t = check_probabilities(probabilities, truth)
    top = _floor(p.max(axis=1))  # a threshold of four decimals covers p exactly if it covers p rounded down
    coverage, risk = risk_curve(top, p.argmax(axis=1) == t)
    good = np.flatnonzero(1 - risk >= accuracy)
    if not len(good):
        return UNREACHABLE
    if good[-1] == len(coverage) - 1:
        return 0.0
    return round(float(np.sort(top)[::-1][round(coverage[good[-1]] * len(top)) - 1]), 4)


def _floor(values: Doubles) -> Doubles:
    """Round down to four decimals, exact also where a value is the number nearest to four decimals."""
    steps = np.round(values * 10_000)
    steps -= steps / 10_000 > values
    floored: Doubles = steps / 10_000
    return floored


def check_probabilities(probabilities: ArrayLike, truth: ArrayLike) -> tuple[Doubles, Integers]:
    """Return probabilities as float64 and truth as int64, or raise `DataError`."""
    p, t = _check_shapes(probabilities, truth)
    _check_rows(p)
    return p, t


def _check_shapes(values: ArrayLike, truth: ArrayLike) -> tuple[Doubles, Integers]:
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


def _log_softmax(z: Doubles) -> Doubles:
    z = z - z.max(axis=1, keepdims=True)
    result: Doubles = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return result


def _bins(top: Doubles) -> Integers:
    """Return the bin of each top probability, 0..BINS-1; bin k is (k / BINS, (k + 1) / BINS]."""
    return np.clip(np.ceil(top * BINS).astype(np.int64) - 1, 0, BINS - 1)


def calibration_error(top: Doubles, right: NDArray[np.bool_]) -> float:
    """Return the mean |accuracy - confidence| over the bins, weighted by their items."""
    return float(np.abs(np.bincount(_bins(top), right - top, BINS)).sum() / len(top))


def reliability_bins(top: Doubles, right: NDArray[np.bool_]) -> list[dict[str, float]]:
    bins = _bins(top)
    rows: list[dict[str, float]] = []
    for k in np.unique(bins).tolist():
        here = bins == k
        means = {"confidence": float(top[here].mean()), "accuracy": float(right[here].mean())}
        rows.append({"low": k / BINS, "high": (k + 1) / BINS, "count": int(here.sum()), **means})
    return rows


def risk_curve(top: Doubles, right: NDArray[np.bool_]) -> tuple[Doubles, Doubles]:
    order = np.argsort(-top, kind="stable")
    wrong = np.cumsum(~right[order])
    last = np.flatnonzero(np.append(np.diff(top[order]) != 0, True))
    return (last + 1) / len(top), wrong[last] / (last + 1)


def thin_curve(coverage: Doubles, risk: Doubles) -> dict[str, list[float]]:
    """Keep the points of a risk-coverage curve that first reach 1 %, 2 %, ... of the items."""
    points = np.unique(np.searchsorted(coverage, np.arange(1, 101) / 100 - 1e-12))
    return {"coverage": coverage[points].tolist(), "risk": risk[points].tolist()}
