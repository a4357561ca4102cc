"""How much a classifier loses on corrupted crops."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.faces import Faces
from mien.errors import DataError
from mien.evaluation.bootstrap import mean_interval
from mien.evaluation.corruptions import CORRUPTIONS, SEVERITIES, Crops, corrupt
from mien.types import Classifier, label_columns


@dataclass(frozen=True, slots=True)
class Robustness:
    """Accuracy under corruption on n images; shares are 0..1.

    Attributes:
        clean: accuracy on the images as they are.
        accuracy: corruption -> accuracy at severities 1 to 5.
        mean: of `accuracy`, over all corruptions and severities.
        interval: 95 % bootstrap interval of `mean`; an image is resampled with its duplicates and all its corruptions.
        worst: the two corruptions with the lowest mean accuracy, the worst first.
        shares: float (N,), the share of corruptions and severities at which each image was classified right;
            `bootstrap.mean_interval` of the difference to another model's gives the paired interval.
    """

    n: int
    clean: float
    accuracy: dict[str, tuple[float, ...]]
    mean: float
    interval: tuple[float, float]
    worst: tuple[str, str]
    shares: NDArray[np.float64]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without `shares`."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "shares"}
        values["accuracy"] = {name: list(row) for name, row in self.accuracy.items()}
        return {**values, "interval": list(self.interval), "worst": list(self.worst)}


def evaluate_robustness(classifier: Classifier, faces: Faces, seed: int = 0) -> Robustness:
    """Measure the accuracy on the clean images and under every corruption and severity.

    The classifier must know all labels of `faces`; its other classes are ignored.
    """
    if not len(faces):
        raise DataError("there is nothing to evaluate: give at least one image")
    order = label_columns(classifier.labels, faces.labels)

    def right(images: Crops) -> NDArray[np.bool_]:
        return np.asarray(classifier(images)[:, order].argmax(1) == faces.targets)

    hits = {
        name: np.stack([right(corrupt(faces.images, name, severity, seed)) for severity in SEVERITIES])
        for name in CORRUPTIONS
    }
    first, second = sorted(hits, key=lambda name: hits[name].mean())[:2]
    shares = np.concatenate(list(hits.values())).mean(0, dtype=np.float64)
    return Robustness(
        n=len(faces),
        clean=float(right(faces.images).mean()),
        accuracy={name: tuple(rows.mean(1).tolist()) for name, rows in hits.items()},
        mean=float(shares.mean()),
        interval=mean_interval(shares, faces.groups()),
        worst=(first, second),
        shares=shares,
    )
