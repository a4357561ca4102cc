"""Tracker: stable ids, probabilities smoothed over time, labels that do not flicker; one instance a stream."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from mien.types import ConfigError, Face

Array = NDArray[np.float64]
T = TypeVar("T")

_JITTER = 0.05  # standard deviation of a detector's centre and size, as a share of the face's side
_SPEED = 1.5  # of a face just found, standard deviation, in sides a second
_AGILITY = 2.0  # how fast that speed may change: sides a second, after one second
_REACH = 1.0  # how far from its expected place a face may be, in sides
_RATIO = 1.8  # a face this many times larger or smaller is another one
_APART = 3.0  # cost of leaving a face and a track apart; a face just where it is expected costs 0


class Tracker:
    """Follows the faces of one stream: a state machine without clock or thread; not safe for several threads.

    - Faces get their ids by a Kalman filter with constant velocity and the cheapest assignment of all faces at once.
    - Probabilities are smoothed exponentially in time, so that the outcome does not depend on the frame rate.
    - The label changes when another one leads by a margin, or leads for some time; so does `uncertain`.

    Ids count from 1 in the order of appearance and are never used again. Times must not fall: a step back of up to
    `max_age` counts as no step (decoders give such stamps); a larger one, as in a loop or after a seek, ends all
    tracks. A step forward by more than `max_age` ends them as well.
    """

    def __init__(self, half_life: float = 0.25, max_age: float = 1.0, margin: float = 0.15, hold: float = 1.0) -> None:
        """Start without tracks.

        Args:
            half_life: seconds after which a frame counts half as much; 0 does not smooth.
            max_age: seconds that a track outlives its last face.
            margin: lead in probability, 0..1, with which another label takes over at once; 0 shows the most probable.
            hold: seconds after which a smaller lead does too.

        Raises:
            ConfigError: a setting that is negative or not finite.
        """
        for name, value in (("half_life", half_life), ("max_age", max_age), ("margin", margin), ("hold", hold)):
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name} is {value}; give a finite number of at least 0")
        self.half_life, self.max_age, self.margin, self.hold = half_life, max_age, margin, hold
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next face is the first of a new stream and has the id 1."""
        self._tracks: list[_Track] = []
        self._time: float | None = None
        self._next = 1

    @property
    def alive(self) -> frozenset[int]:
        """Ids of the tracks that have not ended, seen in the last frame or not; an id that has left never returns."""
        return frozenset(track.id for track in self._tracks)

    def update(self, faces: Sequence[Face], time: float) -> tuple[Face, ...]:
        """Take in one frame.

        Args:
            faces: all faces found in the frame, in any order. A face without probabilities, one that was not
                classified, shows what its track showed last.
            time: of the frame, in seconds on any clock.

        Returns:
            The same faces in the same order, each with `id`, smoothed `probabilities`, `label` and `unsure`.

        Raises:
            ConfigError: the time is not a finite number.
        """
        self._wait(time)
        for track in self._tracks:
            track.found = None
        places = np.array([_place(face) for face in faces]).reshape(-1, 4)
        return tuple(
            self._follow(face, place, owner)
            for face, place, owner in zip(faces, places, self._owners(places), strict=True)
        )

    def expect(self, time: float) -> tuple[Face, ...]:
        """Where the faces of the last `update` should be at a later time, for a frame that nobody searches for faces.

        Args:
            time: of that frame, in seconds.

        Returns:
            The faces, moved, the largest first, with `id` and without probabilities; () after more than `max_age`.
            Nothing changes in the tracker.
        """
        passed = 0.0 if self._time is None else time - self._time
        if passed < -self.max_age:
            return ()
        seen = [track for track in self._tracks if track.found and track.unseen + passed <= self.max_age]
        faces = [track.moved(max(passed, 0.0)) for track in seen]
        return tuple(sorted(faces, key=lambda face: (face.box[0] - face.box[2]) * (face.box[3] - face.box[1])))

    def look(self, faces: Sequence[Face], time: float) -> tuple[Face, ...]:
        """Take in what the network saw in a frame that nobody searched: as `update`, but the places are only guesses.

        Args:
            faces: what `expect` gave for this time, classified.
            time: of the frame, in seconds.

        Raises:
            ConfigError: the time is not a finite number.
        """
        self._wait(time)
        tracks = {track.id: track for track in self._tracks}
        return tuple(self._show(face, tracks[face.id]) for face in faces if face.id in tracks)

    def _wait(self, time: float) -> None:
        if not math.isfinite(time):
            raise ConfigError(f"the time of a frame is {time}; give seconds as a finite number")
        passed = 0.0 if self._time is None else time - self._time
        if passed < -self.max_age:
            self._tracks.clear()
        passed, self._time = max(passed, 0.0), time
        for track in self._tracks:
            track.wait(passed)
        self._tracks = [track for track in self._tracks if track.unseen <= self.max_age]

    def _owners(self, places: Array) -> list[_Track | None]:
        """The track of each place, or None for a new face."""
        if not len(places) or not self._tracks:
            return [None] * len(places)
        expected = np.array([track.state[0] for track in self._tracks])
        cost = _cost(places, expected, np.array([track.unseen for track in self._tracks]))
        columns = assign(cost)
        return [
            self._tracks[column] if column >= 0 and cost[row, column] < _APART else None
            for row, column in enumerate(columns)
        ]

    def _follow(self, face: Face, place: Array, track: _Track | None) -> Face:
        if track is None:
            track = _Track(self._next, place)
            self._next += 1
            self._tracks.append(track)
        else:
            track.move(place)
        track.found = face
        return self._show(face, track)

    def _show(self, face: Face, track: _Track) -> Face:
        if face.probabilities:
            track.look(face, self)
        return track.show(face)


def assign(cost: Array) -> list[int]:
    """Pair rows with columns so that the sum of costs is least: each row gets at most one column, and vice versa.

    The Hungarian method with shortest augmenting paths (Kuhn 1955; Jonker and Volgenant 1987), O(n^3).

    Args:
        cost: finite numbers, shape (R, C).

    Returns:
        The column of each row, or -1 for the rows left over when R > C.
    """
    if cost.shape == (1, 1):
        return [0]
    if cost.shape[0] > cost.shape[1]:
        back = assign(cost.T)
        return [back.index(row) if row in back else -1 for row in range(cost.shape[0])]
    rows, columns = cost.shape
    potential_row, potential = np.zeros(rows), np.zeros(columns + 1)
    owner = np.full(columns + 1, -1)  # the row of each column; the last column stands for the row being placed
    for row in range(rows):
        owner[columns], at = row, columns
        least, came, done = np.full(columns, np.inf), np.full(columns, columns), np.zeros(columns + 1, bool)
        while owner[at] >= 0:
            done[at] = True
            reduced = cost[owner[at]] - potential_row[owner[at]] - potential[:columns]
            better = ~done[:columns] & (reduced < least)
            least[better], came[better] = reduced[better], at
            following = int(np.argmin(np.where(done[:columns], np.inf, least)))
            step = least[following]
            potential_row[owner[done]] += step
            potential[done] -= step
            least[~done[:columns]] -= step
            at = following
        while at != columns:  # turn the path around
            owner[at], at = owner[came[at]], came[at]
    taken = {int(row): column for column, row in enumerate(owner[:columns]) if row >= 0}
    return [taken[row] for row in range(rows)]


class _Choice(Generic[T]):
    """A value that gives way only to a clear or a lasting rival."""

    def __init__(self, value: T) -> None:
        self.value = self._rival = value
        self._since = 0.0

    def hear(self, rival: T, lead: float, passed: float, settings: Tracker) -> None:
        self._since = self._since + passed if rival == self._rival else 0.0
        self._rival = rival
        if lead >= settings.margin or self._since >= settings.hold:
            self.value = rival


class _Track:
    """One face over time: where it is and what it shows.

    Where: a Kalman filter with constant velocity on the centre (px) and the logarithms of width and height. Its unit of
    length is the face's side, so that one covariance serves all four (a change of a logarithm is a share as well).
    """

    def __init__(self, id: int, place: Array) -> None:
        self.id = id
        self.found: Face | None = None  # in the last frame that was searched
        self.unseen = 0.0  # seconds since the last face
        self.state = np.stack([place, np.zeros(4)])  # values and their change a second
        self._spread = np.diag([_JITTER**2, _SPEED**2])  # covariance of a value and its change
        self._unread = 0.0  # seconds since the last probabilities
        self._last: Mapping[str, float] = {}
        self._mean: dict[str, float] = {}
        self._label = _Choice("")
        self._unsure = _Choice(False)

    def wait(self, passed: float) -> None:
        """Let time pass: the face is expected further along its way."""
        self.unseen += passed
        self._unread += passed
        step = np.array([[1.0, passed], [0.0, 1.0]])
        # white noise in the acceleration: what it comes to in a second does not depend on the number of frames
        noise = np.array([[passed**3 / 3, passed**2 / 2], [passed**2 / 2, passed]])
        self.state = step @ self.state
        self._spread = step @ self._spread @ step.T + noise * _AGILITY**2

    def move(self, place: Array) -> None:
        """Take in where the face was found."""
        self.unseen = 0.0
        gain = self._spread[:, 0] / (self._spread[0, 0] + _JITTER**2)
        self.state = self.state + np.outer(gain, place - self.state[0])
        self.state[1, 2:] = 0.0  # sizes change slowly: their speed would be mostly noise
        self._spread = self._spread - np.outer(gain, self._spread[0])

    def moved(self, passed: float) -> Face:
        """The face found last at the place expected after so many seconds more; its landmarks move along."""
        assert self.found
        x, y, width, height = self.state[0] + self.state[1] * passed
        half = np.exp([width, height]) / 2
        x1, y1, x2, y2 = self.found.box
        middle, scale = np.array([x1 + x2, y1 + y2]) / 2, 2 * half / np.maximum([x2 - x1, y2 - y1], 1.0)
        points = (np.array(self.found.landmarks).reshape(-1, 2) - middle) * scale + (x, y)
        box = (float(x - half[0]), float(y - half[1]), float(x + half[0]), float(y + half[1]))
        return Face(box, self.found.score, tuple((float(a), float(b)) for a, b in points), id=self.id)

    def look(self, face: Face, settings: Tracker) -> None:
        """Take in what the network saw.

        The mean is that of a signal which runs straight from frame to frame, seen through an exponential window
        (Eckner, "Algorithms for unevenly spaced time series", 2014): with frames of any distance it is the same.
        """
        new = face.probabilities
        fresh = self._last.keys() != new.keys()  # the first frame, or another model
        passed, self._unread = self._unread, 0.0
        if fresh or not settings.half_life:
            self._mean = dict(new)
        else:
            age = passed / settings.half_life * math.log(2)
            kept = math.exp(-age)
            share = -math.expm1(-age) / age if age else 1.0
            for name, value in new.items():
                self._mean[name] = kept * self._mean[name] + (1 - share) * value + (share - kept) * self._last[name]
        self._last = new
        top = max(self._mean, key=self._mean.__getitem__)
        short = face.uncertain_below - self._mean[top]
        if fresh:
            self._label, self._unsure = _Choice(top), _Choice(short > 0)
        self._label.hear(top, self._mean[top] - self._mean[self._label.value], passed, settings)
        # twice, because a label that loses p to another one changes their distance by 2 p
        self._unsure.hear(short > 0, 2 * abs(short), passed, settings)

    def show(self, face: Face) -> Face:
        """The face as the track knows it."""
        if not self._mean:
            return replace(face, id=self.id)
        return replace(
            face, id=self.id, probabilities=dict(self._mean), label=self._label.value, unsure=self._unsure.value
        )


def _place(face: Face) -> tuple[float, float, float, float]:
    """Centre (px) and logarithms of width and height (px)."""
    x1, y1, x2, y2 = face.box
    return (x1 + x2) / 2, (y1 + y2) / 2, math.log(max(x2 - x1, 1.0)), math.log(max(y2 - y1, 1.0))


def _cost(places: Array, expected: Array, unseen: Array) -> Array:
    """How badly M faces fit N tracks, (M, 4) and (N, 4) -> (M, N): overlap, distance, size; _APART where not at all."""
    a, b = places[:, None], expected[None]
    sides_a, sides_b = np.exp(a[..., 2:]), np.exp(b[..., 2:])
    off = np.abs(a[..., :2] - b[..., :2])
    common = np.clip(np.minimum((sides_a + sides_b) / 2 - off, np.minimum(sides_a, sides_b)), 0, None).prod(axis=-1)
    overlap = common / (sides_a.prod(axis=-1) + sides_b.prod(axis=-1) - common)
    distance = np.hypot(off[..., 0], off[..., 1]) / np.sqrt(np.sqrt(sides_a.prod(axis=-1) * sides_b.prod(axis=-1)))
    growth = np.abs(a[..., 2:] - b[..., 2:]).mean(axis=-1)
    cost = (1 - overlap) + distance + growth + unseen  # in doubt for the track seen last
    fits = (distance < _REACH) & (growth < math.log(_RATIO))
    return np.where(fits, np.minimum(cost, _APART), _APART)
