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
        intervals: the same of balanced_accuracy, macro_f1, nll and brier, by name.
        temperature: by which the logits behind the probabilities were divided.
        ece_before: `ece` of the probabilities without that temperature.
        reliability: the bins of `ece` that hold items: low and high (edges), count, confidence (mean) and accuracy.
        risk_coverage: `coverage` and `risk` of the most confident answers, at up to 100 points of the whole curve.
        aurc: area under the whole risk-coverage curve, the mean error over all coverages.
        uncertain_below: top probability below which an answer counts as uncertain.
        answered: share of answers that are not uncertain.
        answered_accuracy: share of right ones among them, or None when there is none.
        index: sha256 of the sorted file names joined by newlines, so that others can tell whether they have the same
            pictures; "" when not known.
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
    intervals: dict[str, tuple[float, float]]
    temperature: float
    ece_before: float
    reliability: list[dict[str, float]]
    risk_coverage: dict[str, list[float]]
    aurc: float
    uncertain_below: float
    answered: float
    answered_accuracy: float | None
    index: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain floats, strings and lists: safe for `json.dumps`."""
        intervals = {name: list(pair) for name, pair in self.intervals.items()}
        lists = {"labels": list(self.labels), "interval": list(self.interval), "intervals": intervals}
        return asdict(self) | lists


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same items. All shares are 0..1.

    Attributes:
        n: number of items.
        accuracy: of the first model.
        other: accuracy of the second.
        difference: the first minus the second.
        interval: (low, high), 95 % bootstrap interval of the difference; both models are resampled together.
        only_first: items where only the first is right.
        only_second: items where only the second is.
        p: exact two-sided p value of `mcnemar`, which takes the items as independent, duplicates too.
    """

    n: int
    accuracy: float
    other: float
    difference: float
    interval: tuple[float, float]
    only_first: int
    only_second: int
    p: float

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists: safe for `json.dumps`."""
        return {**asdict(self), "interval": list(self.interval)}


def evaluate(
    probabilities: ArrayLike,
    truth: ArrayLike,
    labels: Sequence[str],
    name: str = "",
    groups: ArrayLike | None = None,
    bootstraps: int = 1000,
    seed: int = 0,
    temperature: float = 1.0,
    uncertain_below: float = 0.0,
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
        temperature: by which the logits behind the probabilities were divided, above 0.
        uncertain_below: the model's threshold on the top probability, 0..1.

    Raises:
        DataError: nothing to evaluate, shapes or labels that do not fit, or rows that are not probabilities.
        ConfigError: fewer than one bootstrap, or an impossible temperature.
    """
    p, t = _checked(probabilities, truth)
    if len(labels) != p.shape[1] or len(set(labels)) != len(labels):
        raise DataError(f"{len(labels)} labels for {p.shape[1]} columns: give one distinct name for each column")
    guess, top = p.argmax(axis=1), p.max(axis=1)
    right, sure = guess == t, top >= uncertain_below
    before = p if temperature == 1 else apply_temperature(p, 1 / temperature if temperature else 0.0)
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (t, guess), 1)
    precision, recall, f1 = _scores(confusion)
    support = confusion.sum(axis=1)
    balanced, macro = _means(confusion[None])
    losses = -_log(p)[np.arange(len(t)), t]
    squares = ((p - np.eye(p.shape[1])[t]) ** 2).sum(axis=1)
    sums = _resampled(np.column_stack([_cells(t, guess, len(labels)), losses, squares]), groups, bootstraps, seed)
    intervals = _intervals(sums, len(labels))
    coverage, risk = _curve(top, right)
    return Report(
        name=name,
        n=len(t),
        labels=tuple(labels),
        accuracy=float(right.mean()),
        balanced_accuracy=float(balanced[0]),
        macro_f1=float(macro[0]),
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
        nll=float(losses.mean()),
        brier=float(squares.mean()),
        ece=_ece(top, right),
        interval=intervals.pop("accuracy"),
        intervals=intervals,
        temperature=temperature,
        ece_before=_ece(before.max(axis=1), right),
        reliability=_reliability(top, right),
        risk_coverage=_thinned(coverage, risk),
        aurc=float((np.diff(coverage, prepend=0.0) * risk).sum()),
        uncertain_below=uncertain_below,
        answered=float(sure.mean()),
        answered_accuracy=float(right[sure].mean()) if sure.any() else None,
    )


def compare(
    first: ArrayLike, second: ArrayLike, groups: ArrayLike | None = None, bootstraps: int = 1000, seed: int = 0
) -> Comparison:
    """Whether one model is more often right than another on the same items.

    Args:
        first: bool (N,), where the first model is right.
        second: bool (N,), where the second is.
        groups: int (N,), items of one number are duplicates and are resampled together; None: each item by itself.
        bootstraps: number of resamples, 1 or more.
        seed: of the bootstrap.

    Raises:
        DataError: empty, or of different shapes.
        ConfigError: fewer than one bootstrap.
    """
    p = mcnemar(first, second)
    a, b = np.asarray(first, np.bool_), np.asarray(second, np.bool_)
    sums = _resampled(np.column_stack([a.astype(np.float64) - b, np.ones(len(a))]), groups, bootstraps, seed)
    return Comparison(
        n=len(a),
        accuracy=float(a.mean()),
        other=float(b.mean()),
        difference=float((a.sum(dtype=np.int64) - b.sum(dtype=np.int64)) / len(a)),
        interval=_spread(sums[:, 0] / sums[:, 1]),
        only_first=int((a & ~b).sum()),
        only_second=int((b & ~a).sum()),
        p=p,
    )


def mean_interval(
    values: ArrayLike, groups: ArrayLike | None = None, bootstraps: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of a mean.

    Args:
        values: float (N,), one for each item; differences of two models give the interval of their paired difference.
        groups: int (N,), as of `compare`.
        bootstraps: number of resamples, 1 or more.
        seed: of the bootstrap.

    Raises:
        DataError: empty, or of another shape.
        ConfigError: fewer than one bootstrap.
    """
    v = np.asarray(values, np.float64)
    if v.ndim != 1 or not len(v):
        raise DataError(f"values have shape {v.shape}: give (N,), at least one")
    sums = _resampled(np.column_stack([v, np.ones(len(v))]), groups, bootstraps, seed)
    return _spread(sums[:, 0] / sums[:, 1])


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
    return _curve(p.max(axis=1), p.argmax(axis=1) == t)


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


def _scores(confusion: NDArray[Any]) -> tuple[Doubles, Doubles, Doubles]:
    """Precision, recall and F1 of each class, float64 (..., C), 0 where undefined, of counts (..., C, C)."""
    hit, support, predicted = np.diagonal(confusion, 0, -2, -1), confusion.sum(axis=-1), confusion.sum(axis=-2)
    return hit / np.maximum(predicted, 1), hit / np.maximum(support, 1), 2 * hit / np.maximum(support + predicted, 1)


def _means(confusions: NDArray[Any]) -> tuple[Doubles, Doubles]:
    """Balanced accuracy and macro-F1, float64 (B,), of counts (B, C, C), over the classes that occur."""
    _, recall, f1 = _scores(confusions)
    true, seen = confusions.sum(axis=-1) > 0, confusions.sum(axis=-1) + confusions.sum(axis=-2) > 0
    return (recall * true).sum(axis=-1) / true.sum(axis=-1), (f1 * seen).sum(axis=-1) / seen.sum(axis=-1)


def _log(p: Doubles) -> Doubles:
    """Finite even where p is 0."""
    return np.log(np.clip(p, np.finfo(np.float64).eps, 1.0))


def _log_softmax(z: Doubles) -> Doubles:
    z = z - z.max(axis=1, keepdims=True)
    result: Doubles = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return result


def _nll(log_p: Doubles, truth: Integers) -> float:
    return float(-log_p[np.arange(len(truth)), truth].mean())


def _bins(top: Doubles) -> Integers:
    """Bin of each top probability, 0..BINS-1; bin k is (k / BINS, (k + 1) / BINS]."""
    return np.clip(np.ceil(top * BINS).astype(np.int64) - 1, 0, BINS - 1)


def _ece(top: Doubles, right: NDArray[np.bool_]) -> float:
    """Mean |accuracy - confidence| over the bins, weighted by their items."""
    return float(np.abs(np.bincount(_bins(top), right - top, BINS)).sum() / len(top))


def _reliability(top: Doubles, right: NDArray[np.bool_]) -> list[dict[str, float]]:
    bins = _bins(top)
    rows: list[dict[str, float]] = []
    for k in np.unique(bins).tolist():
        here = bins == k
        means = {"confidence": float(top[here].mean()), "accuracy": float(right[here].mean())}
        rows.append({"low": k / BINS, "high": (k + 1) / BINS, "count": int(here.sum()), **means})
    return rows


def _curve(top: Doubles, right: NDArray[np.bool_]) -> tuple[Doubles, Doubles]:
    """Coverage and risk, float64 (K,), at each distinct top probability, the highest first."""
    order = np.argsort(-top, kind="stable")
    wrong = np.cumsum(~right[order])
    last = np.flatnonzero(np.append(np.diff(top[order]) != 0, True))
    return (last + 1) / len(top), wrong[last] / (last + 1)


def _thinned(coverage: Doubles, risk: Doubles) -> dict[str, list[float]]:
    """The points of the curve that first reach 1 %, 2 %, ... of the items."""
    places = np.unique(np.searchsorted(coverage, np.arange(1, 101) / 100 - 1e-12))
    return {"coverage": coverage[places].tolist(), "risk": risk[places].tolist()}


def _resampled(values: Doubles, groups: ArrayLike | None, bootstraps: int, seed: int) -> Doubles:
    """Sums of the columns of (n, K) values over resamples of whole groups with replacement: (bootstraps, K)."""
    if bootstraps < 1:
        raise ConfigError(f"bootstraps is {bootstraps}: give 1 or more")
    g = np.arange(len(values)) if groups is None else np.asarray(groups)
    if g.shape != values.shape[:1]:
        raise DataError(f"groups have shape {g.shape}: give ({len(values)},), one number for each item")
    numbers = np.unique(g, return_inverse=True)[1].reshape(len(values))
    size = int(numbers.max()) + 1
    sums = np.zeros((size, values.shape[1]))
    np.add.at(sums, numbers, values)
    rng = np.random.default_rng(seed)
    found = np.empty((bootstraps, values.shape[1]))
    for i in range(bootstraps):
        found[i] = np.bincount(rng.integers(size, size=size), minlength=size) @ sums
    return found


def _cells(truth: Integers, guess: Integers, classes: int) -> Doubles:
    """(n, C * C): 1 in the cell of the confusion matrix into which an item falls."""
    cells: Doubles = np.eye(classes * classes)[truth * classes + guess]
    return cells


def _intervals(sums: Doubles, classes: int) -> dict[str, tuple[float, float]]:
    """95 % intervals from resampled sums (B, C * C + 2): cells of the confusion matrix, losses, squared errors."""
    drawn = sums[:, :-2].reshape(-1, classes, classes)
    count = drawn.sum(axis=(1, 2))
    balanced, macro = _means(drawn)
    values = {"accuracy": np.trace(drawn, axis1=1, axis2=2) / count, "balanced_accuracy": balanced, "macro_f1": macro}
    values |= {"nll": sums[:, -2] / count, "brier": sums[:, -1] / count}
    return {name: _spread(each) for name, each in values.items()}


def _spread(values: Doubles) -> tuple[float, float]:
    """95 % percentile interval."""
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
