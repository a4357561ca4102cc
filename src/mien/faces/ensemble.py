"""Ensemble: the mean of several models."""

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
    """Averages the probabilities of several models over each crop and its mirror image. Safe to share among threads.

    It takes twice the time of all members together. Whether it beats its best member has to be measured.
    """

    def __init__(self, members: Sequence[OnnxClassifier]) -> None:
        """Combine two or more models of the same classes, in any order."""
        if len(members) < 2:
            raise ConfigError("an ensemble has at least two models, as in mien-s+baseline")
        self._members, self._labels = tuple(members), members[0].labels
        for member in members:
            if set(member.labels) != set(self._labels):
                raise ConfigError(f"{member.name} and {members[0].name} have different classes; choose other models")
        self._orders = [label_columns(member.labels, self._labels) for member in members]

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in column order: the order of the first member."""
        return self._labels

    @property
    def confidence_threshold(self) -> float:
        """Mean of the members' thresholds."""
        return float(np.mean([member.confidence_threshold for member in self._members]))

    @property
    def metadata(self) -> dict[str, str]:
        """Names and hashes of the members."""
        return {"members": json.dumps({member.name: member.sha256 for member in self._members})}

    @property
    def name(self) -> str:
        """Names of the members, joined by +."""
        return "+".join(member.name for member in self._members)

    @property
    def sha256(self) -> str:
        """SHA-256 of the members' hashes, in hexadecimal."""
        return hashlib.sha256("".join(member.sha256 for member in self._members).encode()).hexdigest()

    def __call__(self, crops: NDArray[np.uint8]) -> Floats:
        """Classify crops, uint8 gray (N, 48, 48) -> float32 (N, C); rows sum to 1."""
        views = (crops, crops[:, :, ::-1])
        pairs = zip(self._members, self._orders, strict=True)
        answers = [member(view)[:, order] for member, order in pairs for view in views]
        mean: Floats = np.mean(answers, axis=0, dtype=np.float32)
        return mean
