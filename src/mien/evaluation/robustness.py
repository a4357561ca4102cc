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
    """What one evaluation under corruption found. All shares are 0..1.

    Attributes:
        n: number of pictures.
        clean: accuracy on the pictures as they are.
        accuracy: corruption -> accuracy at severities 1 to 5.
        mean: of `accuracy`, over all corruptions and severities.
        interval: 95 % bootstrap interval of `mean`; a picture, with its duplicates, is resampled with all it was asked.
        worst: the two corruptions with the lowest accuracy (mean over the severities), the worst first.
        shares: float (N,), of each picture the share of the corruptions and severities at which the answer was right;
            with another model's, `bootstrap.mean_interval` gives the interval of the paired difference.
    """

    n: int
    clean: float
    accuracy: dict[str, tuple[float, ...]]
    mean: float
    interval: tuple[float, float]
    worst: tuple[str, str]
    shares: NDArray[np.float64]

    def to_dict(self) -> dict[str, Any]:
        """Plain floats, strings and lists, without `shares`: safe for `json.dumps`."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "shares"}
        values["accuracy"] = {name: list(row) for name, row in self.accuracy.items()}
        return {**values, "interval": list(self.interval), "worst": list(self.worst)}


def evaluate_robustness(classifier: Classifier, faces: Faces, seed: int = 0) -> Robustness:
    """Accuracy on the pictures as they are and for every corruption and severity.

    Args:
        classifier: knows all labels of `faces`; its other classes are left out of the choice.
        faces: labelled crops, usually one split.
        seed: of all that is random.

    Raises:
        ConfigError: the classifier lacks a class.
        DataError: there are no pictures.
    """
    if not len(faces):
        raise DataError("there is nothing to evaluate: give at least one picture")
    order = label_columns(classifier.labels, faces.labels)

    def right(images: Crops) -> NDArray[np.bool_]:
        return np.asarray(classifier(images)[:, order].argmax(1) == faces.targets)

    found = {
        name: np.stack([right(corrupt(faces.images, name, severity, seed)) for severity in SEVERITIES])
        for name in CORRUPTIONS
    }
    means = {name: float(each.mean()) for name, each in found.items()}
    first, second = sorted(means, key=means.__getitem__)[:2]
    shares = np.concatenate(list(found.values())).mean(0, dtype=np.float64)
    return Robustness(
        n=len(faces),
        clean=float(right(faces.images).mean()),
        accuracy={name: tuple(each.mean(1).tolist()) for name, each in found.items()},
        mean=float(shares.mean()),
        interval=mean_interval(shares, faces.groups()),
        worst=(first, second),
        shares=shares,
    )
