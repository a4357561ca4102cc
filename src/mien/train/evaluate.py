"""A classifier on the views of the protocol; needs no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mien.metrics import Report, evaluate
from mien.train import data
from mien.types import EMOTIONS, Classifier, ConfigError, Floats


def evaluate_views(
    classifier: Classifier, path: Path | str, votes: Path | str | None = None, split: str = "PrivateTest"
) -> dict[str, Report]:
    """Report for each of T1 to T4 (T3 and T4 only with votes).

    Raises:
        ConfigError: the model does not know the five classes, or there is no such split.
        DataError: the data cannot be read.
    """
    if split not in data.SPLITS:
        raise ConfigError(f"split must be one of {', '.join(data.SPLITS)}, got {split!r}")
    missing = [label for label in EMOTIONS if label not in classifier.labels]
    if missing:
        raise ConfigError(f"the model has no class {', '.join(missing)}; the protocol is about {', '.join(EMOTIONS)}")
    order = [list(classifier.labels).index(label) for label in EMOTIONS]
    reports = {}
    known: dict[str, Floats] = {}  # the views overlap: each picture is classified once
    for view, faces in data.views(path, votes, split).items():
        new = faces.take(np.array([name not in known for name in faces.names], bool))
        known.update(zip(new.names.tolist(), classifier(new.images)[:, order], strict=True))
        probabilities = np.stack([known[name] for name in faces.names])
        probabilities = probabilities / probabilities.sum(1, keepdims=True)
        reports[view] = evaluate(probabilities, faces.targets, list(EMOTIONS), name=view, groups=faces.groups())
    return reports
