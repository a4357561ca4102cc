"""Paired comparison of two models on the same items."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mien.errors import DataError
from mien.evaluation.bootstrap import mean_interval


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same n items; shares are 0..1.

    Attributes:
        accuracy: of the first model.
        other: accuracy of the second model.
        difference: the first minus the second.
        interval: 95 % bootstrap interval of the difference; both models are resampled together.
        only_first: number of items on which only the first model is right.
        p: exact two-sided p value of `mcnemar`, which takes all items, duplicates too, as independent.
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
        """Return plain numbers and lists for JSON."""
        return {**asdict(self), "interval": list(self.interval)}


def compare(
    first: ArrayLike, second: ArrayLike, groups: ArrayLike | None = None, bootstraps: int = 1000, seed: int = 0
) -> Comparison:
    """Compare how often two models are right on the same items.

    `first` and `second` are bool (N,), True where the model is right; items with equal numbers in `groups`, int (N,),
    are duplicates and are resampled together.
    """
    p = mcnemar(first, second)
    a, b = np.asarray(first, np.bool_), np.asarray(second, np.bool_)
    return Comparison(
        n=len(a),
        accuracy=float(a.mean()),
        other=float(b.mean()),
        difference=float((a.sum(dtype=np.int64) - b.sum(dtype=np.int64)) / len(a)),
        interval=mean_interval(a.astype(np.float64) - b, groups, bootstraps, seed),
        only_first=int((a & ~b).sum()),
        only_second=int((b & ~a).sum()),
        p=p,
    )


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> float:
    """Return the p value, 0..1, of the exact two-sided McNemar test on two bool (N,) arrays; 1 if they are equal."""
    a, b = np.asarray(correct_a, np.bool_), np.asarray(correct_b, np.bool_)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise DataError(f"shapes {a.shape} and {b.shape}: give two filled (N,) arrays about the same items")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    n = only_a + only_b
    tail = sum(math.comb(n, k) for k in range(min(only_a, only_b) + 1))
    return min(1.0, 2 * tail / (1 << n))
