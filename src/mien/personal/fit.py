"""Fits the class priors of one person and tests whether they help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError
from mien.personal.prior import CAP, Array, shift_probabilities
from mien.types import Floats, label_columns

SPREAD = 0.5
"""Standard deviation of the normal prior around no shift; chosen with benchmarks/accuracy/choices.py."""

LEAST = 3.0
"""Seconds with a face that each emotion needs."""

GAIN = 0.02
"""Least rise of the mean recall, 0..1, in the held-out rounds that makes a profile worth keeping."""

_STEPS = 5000


@dataclass(frozen=True, slots=True, eq=False)
class Take:
    """A model's predictions while a person was asked for one emotion.

    Attributes:
        emotion: the one asked for, a label of the model.
        round: number of the round, from 0; the frames of one round are alike.
        seconds: duration.
        frames: number of frames, with and without a face.
        probabilities: float32 (N, C), of the frames with a face, without smoothing.
    """

    emotion: str
    round: int
    seconds: float
    frames: int
    probabilities: Floats

    @property
    def weight(self) -> float:
        """Number of independent predictions: one a second with a face, since neighbouring frames are alike."""
        faces = len(self.probabilities)
        return min(self.seconds * faces / max(self.frames, 1), float(faces))


@dataclass(frozen=True, slots=True)
class Trial:
    """What shifts fitted on one round change in the others, as means over all choices of that round.

    Attributes:
        before: emotion -> recall of the model as it is, 0..1.
        after: emotion -> recall with the shifts.
        loss_before: cross-entropy in nats, each emotion weighing the same.
        loss_after: the same with the shifts.
    """

    before: Mapping[str, float]
    after: Mapping[str, float]
    loss_before: float
    loss_after: float

    @property
    def accuracy_before(self) -> float:
        return float(np.mean(list(self.before.values())))

    @property
    def accuracy_after(self) -> float:
        return float(np.mean(list(self.after.values())))

    @property
    def helps(self) -> bool:
        """Whether the mean recall rises by GAIN at least and the cross-entropy does not rise."""
        return self.accuracy_after - self.accuracy_before >= GAIN and self.loss_after <= self.loss_before


def fit(takes: Sequence[Take], labels: Sequence[str]) -> dict[str, float]:
    """Fit the shift of each label's logit, -CAP..CAP, each emotion weighing the same."""
    weights = _weights(takes, labels)
    if missing := [label for label in labels if not weights[label]]:
        raise DataError(
            f"no face was found when asked for {', '.join(missing)}; sit alone before the camera, with light on your "
            "face, and try again"
        )
    if short := [f"{label} {seconds:.1f} s" for label, seconds in weights.items() if seconds < LEAST]:
        raise DataError(
            f"a face was seen for too short a time ({', '.join(short)}): {LEAST:g} s are needed for each emotion; stay "
            "in view, or give more --seconds"
        )
    shifts = solve(*_stack(takes, labels), min(weights.values()))
    return {label: round(float(shift), 6) for label, shift in zip(labels, shifts, strict=True)}


def trial(takes: Sequence[Take], labels: Sequence[str]) -> Trial:
    """Fit on each round and measure on the others; needs two rounds or more with a face for each emotion.

    One round weighs as much as all of them in `fit`, so that the shifts are about as large as those to be kept.
    """
    rounds = sorted({take.round for take in takes})
    parts = [_stack([take for take in takes if take.round == number], labels) for number in rounds]
    if len(rounds) < 2 or any(len(set(truth.tolist())) < len(labels) for _, truth in parts):
        raise DataError("a face must be seen for each emotion in two rounds to measure what it brings; try again")
    weight = min(_weights(takes, labels).values())
    recalls: list[tuple[Array, Array]] = []
    losses: list[tuple[float, float]] = []
    for number, part in enumerate(parts):
        factors = np.exp(solve(*part, weight))
        for probabilities, truth in parts[:number] + parts[number + 1 :]:
            before, after = score(probabilities, truth), score(shift_probabilities(probabilities, factors), truth)
            recalls.append((before[0], after[0]))
            losses.append((before[1], after[1]))
    shares, loss = np.mean(recalls, axis=0).tolist(), np.mean(losses, axis=0).tolist()
    return Trial(dict(zip(labels, shares[0], strict=True)), dict(zip(labels, shares[1], strict=True)), *loss)


def solve(probabilities: Floats | Array, truth: NDArray[np.intp], weight: float) -> Array:
    """Return the maximum a-posteriori shifts, (C,) in -CAP..CAP, by projected gradient descent.

    They minimise the sum over the classes of `weight` times the mean cross-entropy of their rows, plus |shift|^2 / (2
    SPREAD^2): convex, with one optimum. Because all classes weigh the same, a model that predicts each class as often
    as it is asked for gets the shift 0, whatever the numbers of frames. Each column needs a row in `truth`.
    """
    classes = probabilities.shape[1]
    weights = weight / np.bincount(truth, minlength=classes)[truth]
    goal = weights @ np.eye(classes)[truth]
    step = 1 / (weight * classes / 2 + SPREAD**-2)  # a softmax's curvature is at most 1/2
    shift = np.zeros(classes)
    for _ in range(_STEPS):
        slope = weights @ shift_probabilities(probabilities, np.exp(shift)) - goal + shift / SPREAD**2
        new = np.clip(shift - step * slope, -CAP, CAP)
        if np.abs(new - shift).max() < 1e-8:
            break
        shift = new
    return shift


def score(probabilities: Floats | Array, truth: NDArray[np.intp]) -> tuple[Array, float]:
    """Return the recall of each class, (C,), and the cross-entropy in nats, each class weighing the same."""
    hit = probabilities.argmax(axis=1) == truth
    loss = -np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-6))
    classes = [truth == label for label in range(probabilities.shape[1])]
    return np.array([hit[rows].mean() for rows in classes]), float(np.mean([loss[rows].mean() for rows in classes]))


def _weights(takes: Sequence[Take], labels: Sequence[str]) -> dict[str, float]:
    return {label: sum(take.weight for take in takes if take.emotion == label) for label in labels}


def _stack(takes: Sequence[Take], labels: Sequence[str]) -> tuple[Floats, NDArray[np.intp]]:
    """Return all probabilities, (N, C), and the columns of the emotions asked for, (N,)."""
    truth = np.repeat(label_columns(labels, [t.emotion for t in takes]), [len(t.probabilities) for t in takes])
    return np.concatenate([take.probabilities for take in takes]), truth.astype(np.intp)
