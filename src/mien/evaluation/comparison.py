"""Paired comparison of two models on the same items."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mien.errors import DataError
from mien.evaluation.bootstrap import percentile_interval, resample


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
    sums = resample(np.column_stack([a.astype(np.float64) - b, np.ones(len(a))]), groups, bootstraps, seed)
    return Comparison(
        n=len(a),
        accuracy=float(a.mean()),
        other=float(b.mean()),
        difference=float((a.sum(dtype=np.int64) - b.sum(dtype=np.int64)) / len(a)),
        interval=percentile_interval(sums[:, 0] / sums[:, 1]),
        only_first=int((a & ~b).sum()),
        only_second=int((b & ~a).sum()),
        p=p,
    )


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
