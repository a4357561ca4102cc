"""Every metric of the benchmark for one set of predictions.

Everything is computed in float64, and the bootstrap is deterministic for a given seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mien.errors import DataError
from mien.evaluation import calibration
from mien.evaluation.bootstrap import percentile_interval, resample, share_interval
from mien.evaluation.calibration import Doubles


@dataclass(frozen=True, slots=True)
class Report:
    """The metrics of one evaluation on n items; shares are 0..1, intervals (low, high) at 95 % by the bootstrap.

    Attributes:
        name: of the model or the view.
        labels: in the order of the columns.
        balanced_accuracy: mean recall of the classes that occur in the truth.
        macro_f1: mean F1 of the classes that occur in truth or predictions.
        per_class: label -> precision, recall, f1 (0 where undefined) and support (a count).
        confusion: counts (C, C), rows are the truth, columns the prediction.
        nll: mean negative log-likelihood in nats.
        brier: mean squared error summed over the classes, 0..2.
        ece: expected calibration error of the top probability, with `calibration.BINS` equal-width bins.
        interval: of the accuracy.
        intervals: of balanced_accuracy, macro_f1, nll and brier, by name.
        temperature: by which the logits behind the probabilities were divided.
        ece_before: `ece` without that temperature.
        reliability: the bins of `ece` with items: low and high (edges), count, confidence (mean) and accuracy.
        risk_coverage: `coverage` and `risk` of the most confident predictions, at up to 100 points.
        aurc: area under the whole risk-coverage curve.
        confidence_threshold: top probability below which a prediction is uncertain.
        coverage: share of predictions that are not uncertain.
        covered_accuracy: accuracy of these, or None when there are none.
        index: sha256 that identifies the images, see `views.index_sha256`; "" when not known.
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
    confidence_threshold: float
    coverage: float
    covered_accuracy: float | None
    index: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain floats, strings and lists for JSON."""
        intervals = {name: list(pair) for name, pair in self.intervals.items()}
        lists = {"labels": list(self.labels), "interval": list(self.interval), "intervals": intervals}
        return asdict(self) | lists


def evaluate(
    probabilities: ArrayLike,
    truth: ArrayLike,
    labels: Sequence[str],
    name: str = "",
    groups: ArrayLike | None = None,
    bootstraps: int = 1000,
    seed: int = 0,
    temperature: float = 1.0,
    confidence_threshold: float = 0.0,
) -> Report:
    """Return every metric.

    Args:
        probabilities: float (N, C), rows sum to 1 (within 1e-3).
        truth: int (N,), 0..C-1.
        labels: C distinct names.
        groups: int (N,), items with equal numbers are duplicates and are resampled together; None: no duplicates.
        bootstraps: number of resamples.
        temperature: by which the logits behind the probabilities were divided.
        confidence_threshold: the model's threshold on the top probability, 0..1.
    """
    p, t = calibration.check_probabilities(probabilities, truth)
    if len(labels) != p.shape[1] or len(set(labels)) != len(labels):
        raise DataError(f"{len(labels)} labels for {p.shape[1]} columns: give one distinct name for each column")
    guess, top = p.argmax(axis=1), p.max(axis=1)
    right, sure = guess == t, top >= confidence_threshold
    before = p if temperature == 1 else calibration.apply_temperature(p, 1 / temperature if temperature else 0.0)
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (t, guess), 1)
    balanced, macro = _means(confusion[None])
    losses = -np.log(np.clip(p[np.arange(len(t)), t], np.finfo(np.float64).eps, 1.0))  # finite even where p is 0
    squares = ((p - np.eye(p.shape[1])[t]) ** 2).sum(axis=1)
    cells = np.eye(confusion.size)[t * len(labels) + guess]  # 1 in the cell of the confusion matrix of an item
    sums = resample(np.column_stack([cells, losses, squares]), groups, bootstraps, seed)
    intervals = _intervals(sums, len(labels))
    independent = len(t) if groups is None else len(np.unique(np.asarray(groups)))
    for measure in ("accuracy", "balanced_accuracy", "macro_f1"):
        intervals[measure] = share_interval(*intervals[measure], independent)
    coverage, risk = calibration.risk_curve(top, right)
    return Report(
        name=name,
        n=len(t),
        labels=tuple(labels),
        accuracy=float(right.mean()),
        balanced_accuracy=float(balanced[0]),
        macro_f1=float(macro[0]),
        per_class={
            label: {"precision": float(a), "recall": float(b), "f1": float(c), "support": int(count)}
            for label, a, b, c, count in zip(labels, *_scores(confusion), confusion.sum(axis=1), strict=True)
        },
        confusion=confusion.tolist(),
        nll=float(losses.mean()),
        brier=float(squares.mean()),
        ece=calibration.calibration_error(top, right),
        interval=intervals.pop("accuracy"),
        intervals=intervals,
        temperature=temperature,
        ece_before=calibration.calibration_error(before.max(axis=1), right),
        reliability=calibration.reliability_bins(top, right),
        risk_coverage=calibration.thin_curve(coverage, risk),
        aurc=float((np.diff(coverage, prepend=0.0) * risk).sum()),
        confidence_threshold=confidence_threshold,
        coverage=float(sure.mean()),
        covered_accuracy=float(right[sure].mean()) if sure.any() else None,
    )


def _scores(confusion: NDArray[Any]) -> tuple[Doubles, Doubles, Doubles]:
    """Return precision, recall and F1 of each class, float64 (..., C), 0 where undefined, of counts (..., C, C)."""
    hit, support, predicted = np.diagonal(confusion, 0, -2, -1), confusion.sum(axis=-1), confusion.sum(axis=-2)
    return hit / np.maximum(predicted, 1), hit / np.maximum(support, 1), 2 * hit / np.maximum(support + predicted, 1)


def _means(confusions: NDArray[Any]) -> tuple[Doubles, Doubles]:
    """Return balanced accuracy and macro-F1, float64 (B,), of counts (B, C, C), over the classes that occur."""
    _, recall, f1 = _scores(confusions)
    true, seen = confusions.sum(axis=-1) > 0, confusions.sum(axis=-1) + confusions.sum(axis=-2) > 0
    return (recall * true).sum(axis=-1) / true.sum(axis=-1), (f1 * seen).sum(axis=-1) / seen.sum(axis=-1)


def _intervals(sums: Doubles, classes: int) -> dict[str, tuple[float, float]]:
    """Return intervals from resampled sums (B, C * C + 2): cells of the confusion matrix, losses, squared errors."""
    drawn = sums[:, :-2].reshape(-1, classes, classes)
    count = drawn.sum(axis=(1, 2))
    balanced, macro = _means(drawn)
    values = {"accuracy": np.trace(drawn, axis1=1, axis2=2) / count, "balanced_accuracy": balanced, "macro_f1": macro}
    values |= {"nll": sums[:, -2] / count, "brier": sums[:, -1] / count}
    return {name: percentile_interval(column) for name, column in values.items()}
