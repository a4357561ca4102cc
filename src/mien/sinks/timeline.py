"""Each person's emotions over the time of a video, in about thirty bytes a face."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.types import EMOTIONS, Face, Failure, Image, Result

THUMBNAIL = 96
"""Side of a person's thumbnail in pixels."""

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
        longest: the emotion with the longest stretch without a change or a gap, and its seconds; ("", 0) if all
            moments are uncertain.
    """

    id: int | None
    first: float
    last: float
    frames: int
    seconds: float
    share: Mapping[str, float]
    mean: Mapping[str, float]
    flips: int
    longest: tuple[str, float]


@dataclass(frozen=True, slots=True)
class Columns:
    """One person's series in K equal steps of time, for drawing.

    Attributes:
        edges: float64 (K + 1,), in seconds.
        means: float64 (K, C), mean probabilities in the order of the labels; nan where the person is not seen.
        states: int64 (K,), the emotion that was shown longest, an index of the labels; -1 uncertain, -2 not seen.
    """

    edges: NDArray[np.float64]
    means: NDArray[np.float64]
    states: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Faces:
    frames: array[int] = field(default_factory=lambda: array("q"))
    states: array[int] = field(default_factory=lambda: array("b"))
    probabilities: array[float] = field(default_factory=lambda: array("f"))


class Timeline:
    """A sink that collects the faces of a video by person; frames come in the order of their times.

    Attributes:
        labels: the emotions in the order of the columns.
        failures: number of items that could not be read.
        cuts: times of the first frame of each shot but the first, in seconds.
        reads_pixels: whether thumbnails are kept.
        thumbnails: a person's largest certain face, uint8 BGR (96, 96, 3), if they are kept.
    """

    def __init__(self, labels: Sequence[str] = EMOTIONS, thumbnails: bool = False) -> None:
        """Start without faces; images are kept only for `thumbnails`, one a person."""
        self.labels = tuple(labels)
        self.failures = 0
        self.cuts: list[float] = []
        self.thumbnails: dict[int | None, Image] = {}
        self.reads_pixels = thumbnails
        self._sizes: dict[int | None, float] | None = {} if thumbnails else None
        self._shot: int | None = None
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
            if self._sizes is not None:
                self._keep_thumbnail(self._sizes, result, face)
        if self._shot is not None and result.shot not in (None, self._shot):
            self.cuts.append(result.frame.time)
        self._shot = result.shot
        self._times.append(result.frame.time)

    def _keep_thumbnail(self, sizes: dict[int | None, float], result: Result, face: Face) -> None:
        """Keep the face if it is clearly larger than the one before; a certain face counts as twice as large."""
        size = (face.box[3] - face.box[1]) * (1.0 if face.uncertain else 2.0)
        if size > 1.2 * sizes.get(face.id, 0.0):
            sizes[face.id] = size
            self.thumbnails[face.id] = _thumbnail(result.frame.image, face)

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

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the end of the last one, which lasts as long as most frames do."""
        begin, end = self.span
        return end - begin + self._last_step()

    def _last_step(self) -> float:
        steps = np.clip(np.diff(np.array(self._times, np.float64)), 0.0, PAUSE)
        return float(np.median(steps)) if len(steps) else 0.0

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
        durations = np.append(steps, self._last_step())
        table = np.array(faces.probabilities, np.float32).reshape(-1, len(self.labels))
        return times[frames], durations[frames], np.array(faces.states, np.int8), table

    def columns(self, person: int | None, most: int = 600) -> Columns:
        """Return one person's series over the whole video in steps of a frame, or in `most` longer ones."""
        times, durations, states, table = self.series(person)
        frame = float(np.median(durations)) or 1.0
        begin, end = self.span
        end += frame
        count = int(np.clip(round((end - begin) / frame), 1, most))
        edges = np.linspace(begin, end, count + 1)
        first = np.clip(np.searchsorted(edges, times + 1e-9, side="right") - 1, 0, count - 1)
        after = np.clip(np.searchsorted(edges, times + durations - 1e-9, side="left"), first + 1, count)
        sums, votes = np.zeros((2, count, table.shape[1] + 1))
        for a, b, row, state in zip(first, after, table, states, strict=True):
            sums[a:b, :-1] += row
            sums[a:b, -1] += 1
            votes[a:b, state] += 1  # -1 is the last column
        filled = sums[:, -1] > 0
        means = np.full((count, table.shape[1]), np.nan)
        means[filled] = sums[filled, :-1] / sums[filled, -1:]
        best = votes.argmax(axis=1)
        best[best == table.shape[1]] = -1
        return Columns(edges, means, np.where(filled, best, -2))

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
            longest=self._longest(times, durations, states),
        )

    def _longest(
        self, times: NDArray[np.float64], durations: NDArray[np.float64], states: NDArray[np.int8]
    ) -> tuple[str, float]:
        ends = times + durations
        is_new = np.append(True, (states[1:] != states[:-1]) | (times[1:] > ends[:-1] + 1e-6))
        starts = np.flatnonzero(is_new)
        lengths = np.add.reduceat(durations, starts)
        lengths[states[starts] < 0] = -1.0
        best = int(lengths.argmax())
        return (self.labels[states[starts[best]]], float(lengths[best])) if lengths[best] >= 0 else ("", 0.0)


def shown_people(tracks: Sequence[Track], min_seen: float, most: int) -> list[Track]:
    """Return the people seen for at least `min_seen` seconds, at most `most`, in order of appearance.

    If nobody was seen for so long, all count.
    """
    enough = [track for track in tracks if track.seconds >= min_seen] or list(tracks)
    return sorted(
        sorted(enough, key=lambda track: -track.seconds)[:most], key=lambda track: (track.first, track.id or 0)
    )


def _thumbnail(image: Image, face: Face) -> Image:
    """Cut out a face with a margin, square, and scale it."""
    x1, y1, x2, y2 = face.box
    half = 0.65 * max(x2 - x1, y2 - y1, 1.0)
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    scale = THUMBNAIL / (2 * half)
    matrix = np.array([[scale, 0, (half - x) * scale], [0, scale, (half - y) * scale]])
    flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    square = cv2.warpAffine(image, matrix, (THUMBNAIL, THUMBNAIL), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(square, np.uint8)
