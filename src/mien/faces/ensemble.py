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

    It takes twice the time of all members together; whether it beats its best member has to be measured. Labels have
    the order of the first member, the threshold is the mean, the name joins the names by +, and the hash is that of the
    members' hashes.
    """

    def __init__(self, members: Sequence[OnnxClassifier]) -> None:
        """Combine two or more models of the same classes, in any order."""
        if len(members) < 2:
            raise ConfigError("an ensemble has at least two models, as in mien-s+baseline")
        self.labels = members[0].labels
        for member in members:
            if set(member.labels) != set(self.labels):
                raise ConfigError(f"{member.name} and {members[0].name} have different classes; choose other models")
        self.confidence_threshold = float(np.mean([member.confidence_threshold for member in members]))
        self.metadata = {"members": json.dumps({member.name: member.sha256 for member in members})}
        self.name = "+".join(member.name for member in members)
        self.sha256 = hashlib.sha256("".join(member.sha256 for member in members).encode()).hexdigest()
        self._members = [(member, label_columns(member.labels, self.labels)) for member in members]

    def __call__(self, crops: NDArray[np.uint8]) -> Floats:
        """Classify crops, uint8 gray (N, 48, 48) -> float32 (N, C); rows sum to 1."""
        views = (crops, crops[:, :, ::-1])
        answers = [member(view)[:, columns] for member, columns in self._members for view in views]
        mean: Floats = np.mean(answers, axis=0, dtype=np.float32)
        return mean
