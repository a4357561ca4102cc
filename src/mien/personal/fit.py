"""How the class priors of one person are fitted and tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError
from mien.personal.prior import CAP, Array, shift_probabilities
from mien.types import Floats, label_columns

SPREAD = 0.5
"""Standard deviation of the normal prior around no shift; chosen with benchmarks/calibrate.py."""

LEAST = 3.0
"""Seconds with a face that each emotion needs."""

GAIN = 0.02
"""A profile is worth keeping when the mean recall, 0..1, of what the fit has not seen rises by this."""

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
    """What a profile changes in frames that it has not seen: fitted on each round, measured on the others.

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
            before, after = _score(probabilities, truth), _score(shift_probabilities(probabilities, factors), truth)
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
        slope = weights @ shift_probabilities(probabilities, np.exp(shift)) - goal + shift / SPREAD**2
        new = np.clip(shift - step * slope, -CAP, CAP)
        if np.abs(new - shift).max() < 1e-8:
            break
        shift = new
    return shift


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
    truth = np.repeat(label_columns(labels, [t.emotion for t in takes]), [len(t.probabilities) for t in takes])
    return np.concatenate([take.probabilities for take in takes]), truth.astype(np.intp)
