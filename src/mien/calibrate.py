"""Shifts of the class priors for one person and one camera: how they are fitted, kept and put before a classifier.

They adapt a model to how one person shows emotions on request, not to what that person feels.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien import files
from mien.pipeline import Pipeline
from mien.types import Classifier, ConfigError, DataError, Floats

Array = NDArray[np.float64]

CAP = math.log(4)
"""Greatest shift of a logit: a class's weight is multiplied or divided by at most 4, so that none can vanish."""

SPREAD = 0.5
"""Standard deviation of the normal prior around no shift; chosen with benchmarks/calibrate.py."""

LEAST = 3.0
"""Seconds with a face that each emotion needs."""

GAIN = 0.02
"""A calibration is worth keeping when the mean recall, 0..1, of what the fit has not seen rises by this."""

NOTE = (
    "Adapts a model to how one person shows emotions on request before one camera; not to what anybody feels. "
    "Delete this file to undo it."
)

_ADVICE = "make it again with `mien calibrate`, or leave out --calibration"
_BYTES = 100_000  # more is no calibration, and a video given by mistake is not read into memory
_STEPS = 5000


@dataclass(frozen=True, slots=True, eq=False)
class Take:
    """What a model said while a person was asked for one emotion.

    Attributes:
        emotion: what was asked for, one of the model's labels.
        round: number of the round in which it was asked, from 0; frames of one round are alike.
        seconds: for which it was asked.
        frames: number of frames that were looked at.
        probabilities: float32 (N, C), of the frames with a face, without smoothing.
    """

    emotion: str
    round: int
    seconds: float
    frames: int
    probabilities: Floats

    @property
    def looks(self) -> float:
        """How much it counts: neighbouring frames say the same, so a second with a face is one look."""
        found = len(self.probabilities)
        return min(self.seconds * found / max(self.frames, 1), float(found))


@dataclass(frozen=True, slots=True)
class Trial:
    """What a fit on one round changes in the others; each figure is the mean over all such choices.

    Attributes:
        before: emotion -> share of its frames that the model gets right as it is, 0..1.
        after: the same with the shifts.
        loss_before: cross-entropy in nats, each emotion counting the same.
        loss_after: the same with the shifts.
    """

    before: Mapping[str, float]
    after: Mapping[str, float]
    loss_before: float
    loss_after: float

    @property
    def accuracy_before(self) -> float:
        """Mean over the emotions, 0..1."""
        return float(np.mean(list(self.before.values())))

    @property
    def accuracy_after(self) -> float:
        """Mean over the emotions, 0..1."""
        return float(np.mean(list(self.after.values())))

    @property
    def helps(self) -> bool:
        """Whether more is right, by GAIN at least, and the probabilities fit no worse."""
        return self.accuracy_after - self.accuracy_before >= GAIN and self.loss_after <= self.loss_before


@dataclass(frozen=True, slots=True)
class Calibration:
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
        """Write the JSON file, whole or not at all.

        Raises:
            ConfigError: it cannot be written.
        """
        try:
            files.write_text(path, json.dumps(asdict(self), indent=2) + "\n")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written ({error.strerror}); choose another place") from error


class Calibrated:
    """A classifier whose logits are shifted; as safe to call from several threads as the one inside.

    Attributes:
        classifier: the one inside, unchanged.
        calibration: what is added to its logits.
    """

    def __init__(self, classifier: Classifier, calibration: Calibration) -> None:
        """Put a calibration before a classifier.

        Raises:
            ConfigError: the calibration is for other classes.
        """
        self._labels = tuple(classifier.labels)
        if set(calibration.shifts) != set(self._labels):
            raise ConfigError(
                f"the calibration is for {', '.join(calibration.shifts)}, the model knows {', '.join(self._labels)}; "
                "make it again with `mien calibrate` and this model"
            )
        self.classifier, self.calibration = classifier, calibration
        self._factors = np.exp([calibration.shifts[label] for label in self._labels])

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the columns."""
        return self._labels

    @property
    def uncertain_below(self) -> float:
        """Top probability below which an answer counts as uncertain, 0..1: that of the classifier inside."""
        return self.classifier.uncertain_below

    @property
    def warning(self) -> str:
        """Why the calibration may not fit, or ""."""
        made, used = self.calibration.sha256, _text(self.classifier, "sha256")
        if made == used:
            return ""
        return (
            f"the calibration was made with another model file ({self.calibration.model or 'without a name'}, sha256 "
            f"{made[:12] or 'unknown'}) than the one in use ({_text(self.classifier, 'name') or 'without a name'}, "
            f"{used[:12] or 'unknown'}); make it again with `mien calibrate` to be sure that it helps"
        )

    def __call__(self, crops: NDArray[np.uint8]) -> Floats:
        """uint8 (N, 48, 48) -> float32 (N, C), rows sum to 1."""
        return _shifted(self.classifier(crops), self._factors).astype(np.float32)


def apply(pipeline: Pipeline, path: str | os.PathLike[str]) -> Pipeline:
    """A pipeline like this one with the calibration of a file, in place of an earlier one; that given stays as it is.

    Its classifier is a `Calibrated`, whose `warning` says whether the file was made with another model.

    Raises:
        ConfigError: the file is missing, damaged or for other classes.
    """
    old = pipeline.classifier
    made = Calibrated(old.classifier if isinstance(old, Calibrated) else old, read(path))
    return Pipeline(pipeline.detector, made, pipeline.margin, pipeline.align)


def read(path: str | os.PathLike[str]) -> Calibration:
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
        raise ConfigError(f"{path}: damaged, or no calibration ({error}); {_ADVICE}") from error
    shifts = held.get("shifts") if isinstance(held, dict) else None
    if not isinstance(shifts, dict) or not shifts or not all(map(_is_shift, shifts.values())):
        raise ConfigError(
            f"{path}: no calibration; `shifts` must give each emotion a number of -{CAP:.3f} to {CAP:.3f}; {_ADVICE}"
        )
    known = {each.name: each.default for each in fields(Calibration) if each.name != "shifts"}
    rest = {name: held.get(name, default) for name, default in known.items()}
    wrong = [name for name, default in known.items() if type(rest[name]) is not type(default)]
    if wrong:
        raise ConfigError(f"{path}: damaged, {wrong[0]} is {rest[wrong[0]]!r}; {_ADVICE}")
    return Calibration({name: float(value) for name, value in shifts.items()}, **rest)


def fit(takes: Sequence[Take], labels: Sequence[str]) -> dict[str, float]:
    """The shifts that make the answers fit what was asked for, each emotion counting the same.

    Args:
        takes: of all emotions, in any order.
        labels: the model's, in the order of the columns.

    Returns:
        Emotion -> what to add to its logit, -CAP..CAP.

    Raises:
        DataError: an emotion was not seen for LEAST seconds.
    """
    looks = _looks(takes, labels)
    missing = [label for label in labels if not looks[label]]
    if missing:
        raise DataError(
            f"no face was found when asked for {', '.join(missing)}; sit alone before the camera, with light on your "
            "face, and try again"
        )
    short = [f"{label} {seconds:.1f} s" for label, seconds in looks.items() if seconds < LEAST]
    if short:
        raise DataError(
            f"a face was seen for too short a time ({', '.join(short)}): {LEAST:g} s are needed for each emotion; stay "
            "in the picture, or give more --seconds"
        )
    found = solve(*_stack(takes, labels), min(looks.values()))
    return {label: round(float(shift), 6) for label, shift in zip(labels, found, strict=True)}


def trial(takes: Sequence[Take], labels: Sequence[str]) -> Trial:
    """What a calibration changes in frames that it has not seen: fitted on each round, measured on the others.

    A round counts for as much as all of them do in `fit`, so that the shifts are about as large as those to be kept.

    Args:
        takes: of two or more rounds.
        labels: the model's, in the order of the columns.

    Raises:
        DataError: there is one round, or one without a face for some emotion.
    """
    rounds = sorted({take.round for take in takes})
    parts = [_stack([take for take in takes if take.round == number], labels) for number in rounds]
    if len(rounds) < 2 or any(len(set(truth.tolist())) < len(labels) for _, truth in parts):
        raise DataError("a face must be seen for each emotion in two rounds to measure what it brings; try again")
    looks = min(_looks(takes, labels).values())
    recalls: list[tuple[Array, Array]] = []
    losses: list[tuple[float, float]] = []
    for seen in range(len(rounds)):
        factors = np.exp(solve(*parts[seen], looks))
        for probabilities, truth in parts[:seen] + parts[seen + 1 :]:
            before, after = _score(probabilities, truth), _score(_shifted(probabilities, factors), truth)
            recalls.append((before[0], after[0]))
            losses.append((before[1], after[1]))
    shares, loss = np.mean(recalls, axis=0).tolist(), np.mean(losses, axis=0).tolist()
    return Trial(dict(zip(labels, shares[0], strict=True)), dict(zip(labels, shares[1], strict=True)), *loss)


def solve(probabilities: Floats | Array, truth: NDArray[np.intp], looks: float) -> Array:
    """Maximum a-posteriori shifts of the logits by projected gradient descent.

    Least is the sum over the classes of `looks` times the mean cross-entropy of their rows, plus |shift|^2 / (2
    SPREAD^2): convex, with one optimum within -CAP..CAP. Because all classes weigh the same, a model that answers each
    as often as it is asked for has the shift 0, whatever the numbers of frames.

    Args:
        probabilities: (N, C), rows sum to 1.
        truth: column of the right class for each row, (N,); each class has a row.
        looks: number of independent looks that the rows of one class stand for; 0 leaves no shift.

    Returns:
        (C,), each -CAP..CAP.
    """
    classes = probabilities.shape[1]
    right = np.eye(classes)[truth]
    weights = looks / np.bincount(truth, minlength=classes)[truth]
    goal = weights @ right
    step = 1 / (looks * classes / 2 + SPREAD**-2)  # a softmax's curvature is at most 1/2
    shift = np.zeros(classes)
    for _ in range(_STEPS):
        slope = weights @ _shifted(probabilities, np.exp(shift)) - goal + shift / SPREAD**2
        new = np.clip(shift - step * slope, -CAP, CAP)
        if np.abs(new - shift).max() < 1e-8:
            break
        shift = new
    return shift


def _shifted(probabilities: Floats | Array, factors: Array) -> Array:
    """Rows times exp(shift), made to sum to 1 again: the softmax of shifted logits."""
    product: Array = probabilities.astype(np.float64) * factors
    product /= product.sum(axis=1, keepdims=True)
    return product


def _score(probabilities: Floats | Array, truth: NDArray[np.intp]) -> tuple[Array, float]:
    """Recall of each class, 0..1, (C,), and cross-entropy in nats, each class counting the same."""
    hit = probabilities.argmax(axis=1) == truth
    loss = -np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-6))
    of = [truth == label for label in range(probabilities.shape[1])]
    return np.array([hit[rows].mean() for rows in of]), float(np.mean([loss[rows].mean() for rows in of]))


def _looks(takes: Sequence[Take], labels: Sequence[str]) -> dict[str, float]:
    return {label: sum(take.looks for take in takes if take.emotion == label) for label in labels}


def _stack(takes: Sequence[Take], labels: Sequence[str]) -> tuple[Floats, NDArray[np.intp]]:
    """All rows, (N, C), and the column of what was asked for, (N,)."""
    truth = np.repeat([list(labels).index(t.emotion) for t in takes], [len(t.probabilities) for t in takes])
    return np.concatenate([take.probabilities for take in takes]), truth.astype(np.intp)


def _is_shift(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= CAP + 1e-6


def _text(classifier: Classifier, name: str) -> str:
    """What a model file tells about itself; classifiers of a user's own need not have it."""
    return str(getattr(classifier, name, ""))
