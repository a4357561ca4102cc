"""Each person's emotions over the time of a video, in about thirty bytes a face: no image is kept."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mien.types import EMOTIONS, Failure, Result

PAUSE = 1.0
"""Longest time in seconds that a frame stands for: during a longer gap of a stream nobody was seen."""


@dataclass(frozen=True, slots=True)
class Track:
    """One person's part of a video.

    Attributes:
        id: the track's number; all faces without one count as one person with id None.
        first, last: times of the first and last frame with the face, in seconds.
        frames: number of frames with the face.
        seconds: time that the face was seen, without gaps.
        share: emotion -> share of `seconds`, and "uncertain"; they sum to 1.
        mean: emotion -> mean probability over `seconds`; they sum to 1.
        flips: number of changes from one emotion to another, ignoring uncertain moments between them.
    """

    id: int | None
    first: float
    last: float
    frames: int
    seconds: float
    share: Mapping[str, float]
    mean: Mapping[str, float]
    flips: int


@dataclass(frozen=True, slots=True)
class _Faces:
    frames: array[int] = field(default_factory=lambda: array("q"))
    states: array[int] = field(default_factory=lambda: array("b"))
    probabilities: array[float] = field(default_factory=lambda: array("f"))


class Timeline:
    """A sink that collects the faces of a video by person; frames come in the order of their times.

    `labels` are the emotions in the order of the columns; `failures` counts the items that could not be read.
    """

    def __init__(self, labels: Sequence[str] = EMOTIONS) -> None:
        self.labels = tuple(labels)
        self.failures = 0
        self._times = array("d")
        self._people: dict[int | None, _Faces] = {}

    def write(self, result: Result) -> None:
        """Add one frame; faces without probabilities are ignored."""
        for face in result.faces:
            if not face.probabilities:
                continue
            person = self._people.setdefault(face.id, _Faces())
            sure = not face.uncertain and face.emotion in self.labels
            person.frames.append(len(self._times))
            person.states.append(self.labels.index(face.emotion) if sure else -1)
            person.probabilities.extend(face.probabilities.get(name, 0.0) for name in self.labels)
        self._times.append(result.frame.time)

    def fail(self, failure: Failure) -> None:
        self.failures += 1

    def close(self) -> None:
        """Do nothing."""

    @property
    def ids(self) -> tuple[int | None, ...]:
        """People in order of appearance."""
        return tuple(self._people)

    @property
    def span(self) -> tuple[float, float]:
        """Times of the first and last frame in seconds; zeros without frames."""
        return (self._times[0], self._times[-1]) if self._times else (0.0, 0.0)

    def series(
        self, person: int | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int8], NDArray[np.float32]]:
        """Return all N faces of one person in the order of time.

        Times, float64 (N,), in seconds; durations up to the next frame, float64 (N,), at most PAUSE seconds; indices
        of the emotions in `labels`, int8 (N,), -1 for uncertain; probabilities, float32 (N, C).
        """
        faces = self._people[person]
        frames = np.array(faces.frames, np.int64)
        times = np.array(self._times, np.float64)
        steps = np.clip(np.diff(times), 0.0, PAUSE)
        durations = np.append(steps, np.median(steps) if len(steps) else 0.0)  # the last frame: as long as most
        table = np.array(faces.probabilities, np.float32).reshape(-1, len(self.labels))
        return times[frames], durations[frames], np.array(faces.states, np.int8), table

    def summary(self) -> list[Track]:
        """Return a Track a person, in order of appearance."""
        return [self._track(person) for person in self._people]

    def _track(self, person: int | None) -> Track:
        times, durations, states, table = self.series(person)
        total = durations.sum()
        weights = durations / total if total > 0 else np.full(len(times), 1 / len(times))
        names = dict(enumerate(self.labels)) | {-1: "uncertain"}
        sure = states[states >= 0]
        return Track(
            id=person,
            first=float(times[0]),
            last=float(times[-1]),
            frames=len(np.unique(self._people[person].frames)),
            seconds=float(total),
            share={name: float(weights[states == k].sum()) for k, name in names.items()},
            mean=dict(zip(self.labels, (weights @ table.astype(np.float64)).tolist(), strict=True)),
            flips=int(np.count_nonzero(np.diff(sure))),
        )
