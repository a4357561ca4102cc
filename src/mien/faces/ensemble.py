"""Ensemble: several models as one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mien.errors import ConfigError
from mien.faces.classifier import OnnxClassifier
from mien.types import Floats, label_columns


class Ensemble:
    """Several models as one: the mean of their probabilities for each crop and its mirror image.

    Costs the time of all of them, twice; whether it is more often right than its best member has to be measured. Safe
    to call from several threads.
    """

    def __init__(self, members: Sequence[OnnxClassifier]) -> None:
        """Put models together.

        Raises:
            ConfigError: fewer than two, or models of different classes.
        """
        if len(members) < 2:
            raise ConfigError("an ensemble has at least two models, as in mien-s+baseline")
        self._members, self._labels = tuple(members), members[0].labels
        for each in members:
            if set(each.labels) != set(self._labels):
                raise ConfigError(f"{each.name} knows other classes than {members[0].name}: they cannot be averaged")
        self._orders = [label_columns(each.labels, self._labels) for each in members]

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the columns: that of the first member."""
        return self._labels

    @property
    def confidence_threshold(self) -> float:
        """Mean of the members' thresholds."""
        return float(np.mean([each.confidence_threshold for each in self._members]))

    @property
    def metadata(self) -> dict[str, str]:
        """The members' hashes; an ensemble has no file, and so no recipe and temperature of its own."""
        return {"members": json.dumps({each.name: each.sha256 for each in self._members})}

    @property
    def name(self) -> str:
        """Names of the members, joined by +."""
        return "+".join(each.name for each in self._members)

    @property
    def sha256(self) -> str:
        """Hash of the members' hashes, 64 hexadecimal digits."""
        return hashlib.sha256("".join(each.sha256 for each in self._members).encode()).hexdigest()

    def __call__(self, crops: NDArray[np.uint8]) -> Floats:
        """Classify crops: as `OnnxClassifier`."""
        views = (crops, crops[:, :, ::-1])
        pairs = zip(self._members, self._orders, strict=True)
        answers = [each(view)[:, order] for each, order in pairs for view in views]
        mean: Floats = np.mean(answers, axis=0, dtype=np.float32)
        return mean
