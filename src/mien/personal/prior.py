"""Shifts of the class priors for one person and one camera: the file, and how a classifier applies it.

They adapt a model to how one person shows emotions on request, not to what that person feels.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.errors import ConfigError
from mien.media import atomic
from mien.media.foreign import parsing, short
from mien.pipeline import Pipeline
from mien.types import Classifier, Floats

Array = NDArray[np.float64]

CAP = math.log(4)
"""Largest shift of a logit: it multiplies or divides the odds of a class by at most 4, so that none can vanish."""

NOTE = (
    "Adapts a model to how one person shows emotions on request before one camera; not to what anybody feels. "
    "Delete this file to undo it."
)

_ADVICE = "make it again with `mien personalize`, or leave out --profile"
_BYTES = 100_000  # a longer file is no profile; a video given by mistake is not read into memory


@dataclass(frozen=True, slots=True)
class PriorShift:
    """The content of a profile; it holds no image and nothing of a single frame.

    Attributes:
        shifts: emotion -> what is added to its logit, -CAP..CAP.
        sha256: of the model file, "" where the classifier has none.
        model: name of the model.
        date: of the recording, as 2025-01-31.
        camera: name of the source.
        frames: number of frames with a face that were fitted.
    """

    shifts: Mapping[str, float]
    sha256: str = ""
    model: str = ""
    date: str = ""
    camera: str = ""
    frames: int = 0
    note: str = NOTE

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the JSON file, whole or not at all."""
        atomic.write_text(path, json.dumps(asdict(self), indent=2) + "\n")


class PersonalClassifier:
    """A classifier with shifted logits; as thread-safe as the one inside."""

    def __init__(self, classifier: Classifier, profile: PriorShift) -> None:
        if set(profile.shifts) != set(classifier.labels):
            raise ConfigError(
                f"the profile is for {', '.join(profile.shifts)}, the model knows {', '.join(classifier.labels)}; "
                "make it again with `mien personalize` and this model"
            )
        self.classifier, self.profile = classifier, profile
        self._factors = np.exp([profile.shifts[label] for label in classifier.labels])

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.classifier.labels)

    @property
    def confidence_threshold(self) -> float:
        return self.classifier.confidence_threshold

    @property
    def warning(self) -> str:
        """Why the profile may not fit, or ""."""
        profile, model = self.profile, self.classifier
        sha256, name = (str(getattr(model, key, "")) for key in ("sha256", "name"))  # a user's classifier may lack them
        if profile.sha256 == sha256:
            return ""
        return (
            f"the profile was made with another model file ({profile.model or 'without a name'}, sha256 "
            f"{profile.sha256[:12] or 'unknown'}) than the one in use ({name or 'without a name'}, "
            f"{sha256[:12] or 'unknown'}); make it again with `mien personalize` to be sure that it helps"
        )

    def __call__(self, crops: NDArray[np.uint8]) -> Floats:
        """uint8 (N, 48, 48) -> float32 (N, C), rows sum to 1."""
        return shift_probabilities(self.classifier(crops), self._factors).astype(np.float32)


def personalize(pipeline: Pipeline, path: str | os.PathLike[str]) -> Pipeline:
    """Return a copy of the pipeline that uses the profile of a file, in place of an earlier one.

    Its classifier is a `PersonalClassifier`, whose `warning` says whether the file was made with another model.
    """
    inner = pipeline.classifier
    if isinstance(inner, PersonalClassifier):
        inner = inner.classifier
    personal = PersonalClassifier(inner, read_profile(path))
    return Pipeline(pipeline.detector, personal, pipeline.margin, pipeline.align)


def read_profile(path: str | os.PathLike[str]) -> PriorShift:
    """Read a file that `PriorShift.write` wrote."""
    with parsing(path, ConfigError, "damaged, or no profile", _ADVICE), Path(path).open("rb") as file:
        content = json.loads(file.read(_BYTES))
    shifts = content.get("shifts") if isinstance(content, dict) else None
    if not isinstance(shifts, dict) or not shifts or not all(map(_is_shift, shifts.values())):
        raise ConfigError(
            f"{path}: no profile; `shifts` must give each emotion a number of -{CAP:.3f} to {CAP:.3f}; {_ADVICE}"
        )
    values = {}
    for name, default in ((field.name, field.default) for field in fields(PriorShift)[1:]):
        values[name] = content.get(name, default)
        if type(values[name]) is not type(default):
            raise ConfigError(f"{path}: damaged, {name} is {short(values[name])}; {_ADVICE}")
    return PriorShift({name: float(value) for name, value in shifts.items()}, **values)


def shift_probabilities(probabilities: Floats | Array, factors: Array) -> Array:
    """Multiply (N, C) rows by exp(shift) and scale them to sum to 1: the softmax of shifted logits."""
    product: Array = probabilities.astype(np.float64) * factors
    product /= product.sum(axis=1, keepdims=True)
    return product


def _is_shift(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= CAP + 1e-6
