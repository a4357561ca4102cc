"""What each person showed over the time of a video, from some thirty bytes a face: no picture is kept."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mien.types import EMOTIONS, Failure, Result

PAUSE = 1.0
"""Seconds for which a frame stands at most: a stream that was away for longer showed nobody."""


@dataclass(frozen=True, slots=True)
class Track:
    """One person's part of a video.

    Attributes:
        id: the tracker's number, or None where faces have none; these count as one person.
        first: time of the first frame with the face, in seconds.
        last: time of the last one.
        frames: number of frames with the face.
        seconds: how long the face was seen, pauses left out.
        share: name of the emotion -> share of `seconds` in which it was shown, and "uncertain"; they sum to 1.
        mean: name of the emotion -> mean probability over `seconds`; they sum to 1.
        flips: how often one emotion followed another, uncertain moments between them passed over.
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
    """One person's faces, in order."""

    frames: array[int] = field(default_factory=lambda: array("q"))
    states: array[int] = field(default_factory=lambda: array("b"))
    probabilities: array[float] = field(default_factory=lambda: array("f"))


class Timeline:
    """A Sink that gathers the faces of a video, person by person; its frames come in the order of their times.

    Attributes:
        labels: names of the emotions, in the order of the columns.
        failures: number of items that could not be read.
    """

    def __init__(self, labels: Sequence[str] = EMOTIONS) -> None:
        """Labels: those of the classifier; a face without probabilities is passed over."""
        self.labels = tuple(labels)
        self.failures = 0
        self._times = array("d")
        self._people: dict[int | None, _Faces] = {}

    def write(self, result: Result) -> None:
        """Add one frame; its picture is not kept."""
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
        """Count an item that could not be read."""
        self.failures += 1

    def close(self) -> None:
        """Nothing is left to do."""

    @property
    def ids(self) -> tuple[int | None, ...]:
        """The people, in the order in which they came."""
        return tuple(self._people)

    @property
    def span(self) -> tuple[float, float]:
        """Times of the first and the last frame, with faces or without, in seconds; zeros before there is one."""
        return (self._times[0], self._times[-1]) if self._times else (0.0, 0.0)

    def series(
        self, person: int | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int8], NDArray[np.float32]]:
        """All faces of one person, N of them, in the order of time.

        Returns:
            Times, float64 (N,), in seconds; seconds for which each stands, float64 (N,): to the next frame, at most
            PAUSE; the place of the shown emotion in `labels`, or -1 for uncertain, int8 (N,); probabilities, float32
            (N, C).
        """
        faces = self._people[person]
        frames = np.array(faces.frames, np.int64)
        times = np.array(self._times, np.float64)
        steps = np.clip(np.diff(times), 0.0, PAUSE)
        # what follows the last frame is not known: it stands as long as others usually do
        stands = np.append(steps, np.median(steps) if len(steps) else 0.0)
        table = np.array(faces.probabilities, np.float32).reshape(-1, len(self.labels))
        return times[frames], stands[frames], np.array(faces.states, np.int8), table

    def summary(self) -> list[Track]:
        """Each person's part, in the order in which they came."""
        return [self._track(person) for person in self._people]

    def _track(self, person: int | None) -> Track:
        times, stands, states, table = self.series(person)
        weights = stands / stands.sum() if stands.sum() > 0 else np.full(len(stands), 1 / len(stands))
        names = dict(enumerate(self.labels)) | {-1: "uncertain"}
        sure = states[states >= 0]
        return Track(
            id=person,
            first=float(times[0]),
            last=float(times[-1]),
            frames=len(np.unique(self._people[person].frames)),
            seconds=float(stands.sum()),
            share={name: float(weights[states == k].sum()) for k, name in names.items()},
            mean=dict(zip(self.labels, (weights @ table.astype(np.float64)).tolist(), strict=True)),
            flips=int(np.count_nonzero(np.diff(sure))),
        )
