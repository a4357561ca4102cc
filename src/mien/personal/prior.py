"""Shifts of the class priors for one person and one camera: how they are fitted, kept and put before a classifier.

They adapt a model to how one person shows emotions on request, not to what that person feels.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.errors import ConfigError
from mien.media import atomic
from mien.pipeline import Pipeline
from mien.types import Classifier, Floats

Array = NDArray[np.float64]

CAP = math.log(4)
"""Greatest shift of a logit: a class's weight is multiplied or divided by at most 4, so that none can vanish."""

NOTE = (
    "Adapts a model to how one person shows emotions on request before one camera; not to what anybody feels. "
    "Delete this file to undo it."
)

_ADVICE = "make it again with `mien personalize`, or leave out --profile"
_BYTES = 100_000  # more is no profile, and a video given by mistake is not read into memory


@dataclass(frozen=True, slots=True)
class PriorShift:
    """What the file holds; no picture and nothing of a single frame.

    Attributes:
        shifts: emotion -> what is added to its logit, -CAP..CAP.
        sha256: of the model's file, "" where the classifier has none.
        model: its name.
        date: of the recording, as 2025-01-31.
        camera: what was recorded from.
        frames: number of frames with a face that the fit saw.
        note: what it is for.
    """

    shifts: Mapping[str, float]
    sha256: str = ""
    model: str = ""
    date: str = ""
    camera: str = ""
    frames: int = 0
    note: str = field(default=NOTE)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the JSON file, whole or not at all."""
        atomic.write_text(path, json.dumps(asdict(self), indent=2) + "\n")


class PersonalClassifier:
    """A classifier whose logits are shifted; as safe to call from several threads as the one inside.

    Attributes:
        classifier: the one inside, unchanged.
        profile: what is added to its logits.
    """

    def __init__(self, classifier: Classifier, profile: PriorShift) -> None:
        """Put a profile before a classifier.

        Raises:
            ConfigError: the profile is for other classes.
        """
        self._labels = tuple(classifier.labels)
        if set(profile.shifts) != set(self._labels):
            raise ConfigError(
                f"the profile is for {', '.join(profile.shifts)}, the model knows {', '.join(self._labels)}; "
                "make it again with `mien personalize` and this model"
            )
        self.classifier, self.profile = classifier, profile
        self._factors = np.exp([profile.shifts[label] for label in self._labels])

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the columns."""
        return self._labels

    @property
    def confidence_threshold(self) -> float:
        """Top probability below which an answer counts as uncertain, 0..1: that of the classifier inside."""
        return self.classifier.confidence_threshold

    @property
    def warning(self) -> str:
        """Why the profile may not fit, or ""."""
        made, used = self.profile.sha256, _text(self.classifier, "sha256")
        if made == used:
            return ""
        return (
            f"the profile was made with another model file ({self.profile.model or 'without a name'}, sha256 "
            f"{made[:12] or 'unknown'}) than the one in use ({_text(self.classifier, 'name') or 'without a name'}, "
            f"{used[:12] or 'unknown'}); make it again with `mien personalize` to be sure that it helps"
        )

    def __call__(self, crops: NDArray[np.uint8]) -> Floats:
        """uint8 (N, 48, 48) -> float32 (N, C), rows sum to 1."""
        return shift_probabilities(self.classifier(crops), self._factors).astype(np.float32)


def personalize(pipeline: Pipeline, path: str | os.PathLike[str]) -> Pipeline:
    """A pipeline like this one with the profile of a file, in place of an earlier one; that given stays as it is.

    Its classifier is a `Calibrated`, whose `warning` says whether the file was made with another model.

    Raises:
        ConfigError: the file is missing, damaged or for other classes.
    """
    old = pipeline.classifier
    made = PersonalClassifier(old.classifier if isinstance(old, PersonalClassifier) else old, read_profile(path))
    return Pipeline(pipeline.detector, made, pipeline.margin, pipeline.align)


def read_profile(path: str | os.PathLike[str]) -> PriorShift:
    """Read what `Calibration.write` wrote.

    Raises:
        ConfigError: the file is missing or damaged, or holds a shift beyond CAP.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(_BYTES)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); {_ADVICE}") from error
    try:
        held = json.loads(data)
    except ValueError as error:
        raise ConfigError(f"{path}: damaged, or no profile ({error}); {_ADVICE}") from error
    shifts = held.get("shifts") if isinstance(held, dict) else None
    if not isinstance(shifts, dict) or not shifts or not all(map(_is_shift, shifts.values())):
        raise ConfigError(
            f"{path}: no profile; `shifts` must give each emotion a number of -{CAP:.3f} to {CAP:.3f}; {_ADVICE}"
        )
    known = {each.name: each.default for each in fields(PriorShift) if each.name != "shifts"}
    rest = {name: held.get(name, default) for name, default in known.items()}
    wrong = [name for name, default in known.items() if type(rest[name]) is not type(default)]
    if wrong:
        raise ConfigError(f"{path}: damaged, {wrong[0]} is {rest[wrong[0]]!r}; {_ADVICE}")
    return PriorShift({name: float(value) for name, value in shifts.items()}, **rest)


def shift_probabilities(probabilities: Floats | Array, factors: Array) -> Array:
    """Rows times exp(shift), made to sum to 1 again: the softmax of shifted logits."""
    product: Array = probabilities.astype(np.float64) * factors
    product /= product.sum(axis=1, keepdims=True)
    return product


def _is_shift(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= CAP + 1e-6


def _text(classifier: Classifier, name: str) -> str:
    """What a model file tells about itself; classifiers of a user's own need not have it."""
    return str(getattr(classifier, name, ""))
