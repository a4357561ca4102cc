"""Bootstrap intervals; duplicates are resampled together."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mien.errors import ConfigError, DataError
from mien.evaluation.calibration import Doubles

_Z2 = 1.959964**2  # square of the normal distribution's 97.5 % quantile


def mean_interval(
    values: ArrayLike, groups: ArrayLike | None = None, bootstraps: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean of (N,) values.

    Differences of two models give the interval of their paired difference. `groups` as in `compare`.
    """
    v = np.asarray(values, np.float64)
    if v.ndim != 1 or not len(v):
        raise DataError(f"values have shape {v.shape}: give (N,), at least one")
    sums = resample(np.column_stack([v, np.ones(len(v))]), groups, bootstraps, seed)
    return percentile_interval(sums[:, 0] / sums[:, 1])


def resample(values: Doubles, groups: ArrayLike | None, bootstraps: int, seed: int) -> Doubles:
    """Sum the columns of (n, K) values over resamples of whole groups with replacement: (bootstraps, K)."""
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
    draws = (np.bincount(rng.integers(size, size=size), minlength=size) for _ in range(bootstraps))
    return np.stack([counts @ sums for counts in draws])


def share_interval(low: float, high: float, n: int) -> tuple[float, float]:
    """Return a bootstrap interval of a share of n groups, or Wilson's where all of them are right, or none.

    Resamples of equal items are equal: the bootstrap alone would claim a certainty that few items cannot give.
    """
    if low == high and low in (0.0, 1.0):
        width = _Z2 / (n + _Z2)
        return (1 - width, 1.0) if low else (0.0, width)
    return low, high


def percentile_interval(values: Doubles) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
