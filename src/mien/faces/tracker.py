"""Tracker: stable ids, probabilities smoothed over time, labels that do not flicker; one instance a stream."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median_low

import numpy as np
from numpy.typing import NDArray

from mien.errors import ConfigError
from mien.faces.boxes import sort_by_area
from mien.faces.smoothing import Hysteresis
from mien.types import Face

Array = NDArray[np.float64]
_JITTER = 0.05  # standard deviation of a detector's centre and size, as a share of the face's side
_SPEED = 1.5  # standard deviation of a new face's speed, in sides a second
_AGILITY = 2.0  # how fast that speed may change: sides a second, after one second
_MAX_DISTANCE = 1.0  # between a face and its predicted place, in sides
_MAX_RATIO = 1.8  # a face this many times larger or smaller is another one
_INTERVALS, _LOOKS = 5, 2.0  # a track outlives this many of the median of the last intervals between updates
_UNMATCHED = 3.0  # cost of leaving a face and a track apart; a face exactly at its predicted place costs 0


WEAK = 0.05
"""How far a face of poor quality counts as below the threshold of its model, in probability."""


class Tracker:
    """Tracks the faces of one stream: a state machine without clock or thread; not safe to share among threads.

    - Ids: a Kalman filter with constant velocity and the cheapest assignment of all faces at once. They count from 1 in
      order of appearance and are never used again.
    - Probabilities: smoothed exponentially in time, independent of the frame rate.
    - The label changes when another one leads by a margin, or leads for some time; so does `uncertain`. While
      uncertain, the label is the most probable one.

    Times should not fall. A step back of up to `max_age` counts as no step (decoders produce such stamps). A larger
    step back, as in a loop, or forward, as after a seek, ends all tracks.
    """

    def __init__(
        self, smoothing: float = 0.25, max_age: float = 1.0, margin: float = 0.15, hysteresis: float = 1.0
    ) -> None:
        """Start without tracks.

        Args:
            smoothing: seconds after which the weight of a frame has halved; 0 disables smoothing.
            max_age: seconds that a track outlives its last face; longer when updates are rare, so that it outlives two.
            margin: lead in probability, 0..1, at which another label takes over at once; 0 shows the most probable.
            hysteresis: seconds after which a smaller lead takes over too.
        """
        settings = {"smoothing": smoothing, "max_age": max_age, "margin": margin, "hysteresis": hysteresis}
        for name, value in settings.items():
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name} is {value}; give a finite number of at least 0")
        self.smoothing, self.max_age, self.margin, self.hysteresis = smoothing, max_age, margin, hysteresis
        self.reset()

    def reset(self) -> None:
        """Forget all tracks; ids start at 1 again."""
        self._tracks: list[_Track] = []
        self._time: float | None = None
        self._updated: float | None = None  # time of the last `update`
        self._intervals: deque[float] = deque(maxlen=_INTERVALS)
        self._next_id = 1

    def end_tracks(self) -> None:
        """End all tracks, as at a cut: the next faces get new ids."""
        self._tracks.clear()

    @property
    def patience(self) -> float:
        """Seconds that a track outlives its last face at the present rate of updates."""
        return max(self.max_age, _LOOKS * median_low(self._intervals)) if self._intervals else self.max_age

    @property
    def active_ids(self) -> frozenset[int]:
        """Ids of the tracks that have not ended, seen in the last frame or not; an id that has left never returns."""
        return frozenset(track.id for track in self._tracks)

    def update(self, faces: Sequence[Face], time: float, smooth: bool = True) -> tuple[Face, ...]:
        """Add a frame that was searched for faces.

        Args:
            faces: all faces of the frame, in any order. A face without probabilities keeps those of its track.
            time: time of the frame in seconds, on any clock.
            smooth: False sets only the ids, for `ZeroLagSmoother`.

        Returns:
            The faces in the same order, each with `id`, smoothed `probabilities`, `label` and `unsure`.
        """
        self._note_interval(time)
        self._advance(time)
        for track in self._tracks:
            track.face = None
        places = np.array([_place(face) for face in faces]).reshape(-1, 4)
        return tuple(
            self._assign(face, place, track, smooth)
            for face, place, track in zip(faces, places, self._match(places), strict=True)
        )

    def predict(self, time: float) -> tuple[Face, ...]:
        """Return where the faces of the last `update` should be at a later time, in seconds; the tracker is unchanged.

        The faces, largest first, have ids and no probabilities. There are none after more than `patience`.
        """
        elapsed = 0.0 if self._time is None else time - self._time
        if elapsed < -self.max_age:
            return ()
        tracks = [track for track in self._tracks if track.face and track.unseen + elapsed <= self.patience]
        return tuple(sort_by_area(track.predict(max(elapsed, 0.0)) for track in tracks))

    def update_predicted(self, faces: Sequence[Face], time: float, smooth: bool = True) -> tuple[Face, ...]:
        """Add a frame that was not searched: like `update`, for the classified faces of `predict` at that time."""
        self._advance(time)
        tracks = {track.id: track for track in self._tracks}
        return tuple(self._show(face, tracks[face.id], smooth) for face in faces if face.id in tracks)

    def _note_interval(self, time: float) -> None:
        """Record the time between updates; the first of a stream tells its rate, so it is never a seek."""
        if self._updated is not None and math.isfinite(time) and time >= self._updated:
            self._intervals.append(time - self._updated)
        self._updated = time

    def _advance(self, time: float) -> None:
        if not math.isfinite(time):
            raise ConfigError(f"the time of a frame is {time}; give seconds as a finite number")
        elapsed = 0.0 if self._time is None else time - self._time
        if elapsed < -self.max_age:
            self._tracks.clear()
        elapsed, self._time = max(elapsed, 0.0), time
        for track in self._tracks:
            track.advance(elapsed)
        self._tracks = [track for track in self._tracks if track.unseen <= self.patience]

    def _match(self, places: Array) -> list[_Track | None]:
        """Return the track of each place, or None for a new face."""
        if not len(places) or not self._tracks:
            return [None] * len(places)
        predicted = np.array([track.state[0] for track in self._tracks])
        patience = max(self.patience / self.max_age, 1.0) if self.max_age else 1.0
        cost = _cost(places, predicted, np.array([track.unseen for track in self._tracks]) / patience)
        return [
            self._tracks[column] if column >= 0 and cost[row, column] < _UNMATCHED else None
            for row, column in enumerate(assign(cost))
        ]

    def _assign(self, face: Face, place: Array, track: _Track | None, smooth: bool) -> Face:
        if track is None:
            track = _Track(self._next_id, place)
            self._next_id += 1
            self._tracks.append(track)
        else:
            track.correct(place)
        track.face = face
        return self._show(face, track, smooth)

    def _show(self, face: Face, track: _Track, smooth: bool) -> Face:
        if not smooth:
            return replace(face, id=track.id)
        if face.probabilities:
            track.update_probabilities(face, self)
        return track.show(face)


def assign(cost: Array) -> list[int]:
    """Return the column of each row at the least total cost, or -1 for the rows left over when R > C.

    The Hungarian method with shortest augmenting paths (Kuhn 1955; Jonker and Volgenant 1987), O(n^3), on finite costs
    of shape (R, C).
    """
    if cost.shape == (1, 1):
        return [0]
    if cost.shape[0] > cost.shape[1]:
        row_of = assign(cost.T)
        return [row_of.index(row) if row in row_of else -1 for row in range(cost.shape[0])]
    rows, columns = cost.shape
    row_potential, potential = np.zeros(rows), np.zeros(columns + 1)
    owner = np.full(columns + 1, -1)  # the row of each column; the last column stands for the row being placed
    for row in range(rows):
        owner[columns], at = row, columns
        least, previous, done = np.full(columns, np.inf), np.full(columns, columns), np.zeros(columns + 1, bool)
        while owner[at] >= 0:
            done[at] = True
            reduced = cost[owner[at]] - row_potential[owner[at]] - potential[:columns]
            better = ~done[:columns] & (reduced < least)
            least[better], previous[better] = reduced[better], at
            following = int(np.argmin(np.where(done[:columns], np.inf, least)))
            step = least[following]
            row_potential[owner[done]] += step
            potential[done] -= step
            least[~done[:columns]] -= step
            at = following
        while at != columns:  # reverse the path
            owner[at], at = owner[previous[at]], previous[at]
    column_of = {int(row): column for column, row in enumerate(owner[:columns]) if row >= 0}
    return [column_of[row] for row in range(rows)]


class _Track:
    """One face over time: its place and its probabilities.

    The place is a Kalman filter with constant velocity on the centre (px) and the logarithms of width and height. Its
    unit of length is the face's side, so that one covariance serves all four (a change of a logarithm is a share too).
    """

    def __init__(self, id: int, place: Array) -> None:
        self.id = id
        self.face: Face | None = None  # of the last searched frame
        self.unseen = 0.0  # seconds since the last face
        self.state = np.stack([place, np.zeros(4)])  # values and their change a second
        self._covariance = np.diag([_JITTER**2, _SPEED**2])  # of a value and its change
        self._unclassified = 0.0  # seconds since the last probabilities
        self._last: Mapping[str, float] = {}
        self._mean: dict[str, float] = {}
        self._label = Hysteresis("")
        self._unsure = Hysteresis(False)

    def advance(self, elapsed: float) -> None:
        """Predict the place after `elapsed` seconds."""
        self.unseen += elapsed
        self._unclassified += elapsed
        step = np.array([[1.0, elapsed], [0.0, 1.0]])
        # White noise in the acceleration: its sum over a second does not depend on the number of frames.
        noise = np.array([[elapsed**3 / 3, elapsed**2 / 2], [elapsed**2 / 2, elapsed]])
        self.state = step @ self.state
        self._covariance = step @ self._covariance @ step.T + noise * _AGILITY**2

    def correct(self, place: Array) -> None:
        """Update the filter with a detected place."""
        self.unseen = 0.0
        gain = self._covariance[:, 0] / (self._covariance[0, 0] + _JITTER**2)
        self.state = self.state + np.outer(gain, place - self.state[0])
        self.state[1, 2:] = 0.0  # sizes change slowly: their speed would be mostly noise
        self._covariance = self._covariance - np.outer(gain, self._covariance[0])

    def predict(self, elapsed: float) -> Face:
        """Return the last face at its place after `elapsed` more seconds; its landmarks move along."""
        assert self.face
        x, y, width, height = self.state[0] + self.state[1] * elapsed
        half = np.exp([width, height]) / 2
        x1, y1, x2, y2 = self.face.box
        middle, scale = np.array([x1 + x2, y1 + y2]) / 2, 2 * half / np.maximum([x2 - x1, y2 - y1], 1.0)
        points = (np.array(self.face.landmarks).reshape(-1, 2) - middle) * scale + (x, y)
        box = (float(x - half[0]), float(y - half[1]), float(x + half[0]), float(y + half[1]))
        return Face(box, self.face.score, tuple((float(a), float(b)) for a, b in points), id=self.id)

    def update_probabilities(self, face: Face, settings: Tracker) -> None:
        """Add the probabilities of a frame.

        The mean is that of a signal that runs straight from frame to frame, under an exponential window (Eckner,
        "Algorithms for unevenly spaced time series", 2014): it does not depend on the spacing of frames.
        """
        new = face.probabilities
        fresh = self._last.keys() != new.keys()  # the first frame, or another model
        elapsed, self._unclassified = self._unclassified, 0.0
        if fresh or not settings.smoothing:
            self._mean = dict(new)
        else:
            age = elapsed / settings.smoothing * math.log(2)
            kept = math.exp(-age)
            share = -math.expm1(-age) / age if age else 1.0
            for name, value in new.items():
                self._mean[name] = kept * self._mean[name] + (1 - share) * value + (share - kept) * self._last[name]
        self._last = new
        top = max(self._mean, key=self._mean.__getitem__)
        short = face.confidence_threshold - self._mean[top]
        if face.weaknesses:  # not at once, or a face at a limit would flicker
            short = max(short, WEAK)
        if fresh:
            self._label, self._unsure = Hysteresis(top), Hysteresis(short > 0)
        lead = self._mean[top] - self._mean[self._label.value]
        self._label.update(top, lead, elapsed, settings.margin, settings.hysteresis)
        # Twice, because a label that loses p to another one changes their distance by 2 p.
        self._unsure.update(short > 0, 2 * abs(short), elapsed, settings.margin, settings.hysteresis)

    def show(self, face: Face) -> Face:
        """Return the face with the id and the smoothed values of the track."""
        face = replace(face, id=self.id)
        if not self._mean:
            return face
        unsure = self._unsure.value
        label = max(self._mean, key=self._mean.__getitem__) if unsure else self._label.value
        return replace(face, probabilities=dict(self._mean), label=label, unsure=unsure)


def _place(face: Face) -> tuple[float, float, float, float]:
    """Return the centre (px) and the logarithms of width and height (px)."""
    x1, y1, x2, y2 = face.box
    return (x1 + x2) / 2, (y1 + y2) / 2, math.log(max(x2 - x1, 1.0)), math.log(max(y2 - y1, 1.0))


def _cost(places: Array, predicted: Array, unseen: Array) -> Array:
    """Return the cost of matching M faces (M, 4) with N tracks (N, 4), (M, N), at most _UNMATCHED."""
    a, b = places[:, None], predicted[None]
    sides_a, sides_b = np.exp(a[..., 2:]), np.exp(b[..., 2:])
    offset = np.abs(a[..., :2] - b[..., :2])
    common = np.clip(np.minimum((sides_a + sides_b) / 2 - offset, np.minimum(sides_a, sides_b)), 0, None).prod(axis=-1)
    overlap = common / (sides_a.prod(axis=-1) + sides_b.prod(axis=-1) - common)
    distance = np.hypot(offset[..., 0], offset[..., 1]) / np.sqrt(
        np.sqrt(sides_a.prod(axis=-1) * sides_b.prod(axis=-1))
    )
    growth = np.abs(a[..., 2:] - b[..., 2:]).mean(axis=-1)
    cost = (1 - overlap) + distance + growth + unseen  # prefers the track seen last
    fits = (distance < _MAX_DISTANCE) & (growth < math.log(_MAX_RATIO))
    return np.where(fits, np.minimum(cost, _UNMATCHED), _UNMATCHED)
