"""Zero-lag smoothing for files: probabilities and labels that look as far ahead as back."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mien.faces.tracker import WEAK
from mien.media import prefetch
from mien.types import Face, Failure, Result

Array = NDArray[np.float64]

_REACH = 5.0  # half-lives to which the window reaches on either side; the rest would weigh 3 %
_LONGEST = 3.0  # seconds to which it reaches at most
_SETTLED = 0.75  # further seconds ahead that decide on labels
_BLOCK = 0.5  # seconds between two rounds; each smooths all that waits
_HELD = 3  # times `prefetch.MAX_BYTES`: pixels that wait at most; then the window shrinks
_COST = 0.55  # of a change of label, in lead x seconds, by margin x hysteresis
_DOUBT = 1.25  # that of a change of `uncertain`, by that of a change of label
_PAUSE = 0.5  # seconds for which a row stands at most


class ZeroLagSmoother:
    """Smooths the probabilities and labels of tracked faces with results from before and after.

    The window is exponential on both sides, so a change is seen when it happens. A label must earn a cost for each
    change, over the time that it leads: a short or small lead changes nothing, and a lasting one counts from its start.
    While uncertain, the label is the most probable one. Nothing crosses from one track to another.
    """

    def __init__(self, smoothing: float = 0.25, margin: float = 0.15, hysteresis: float = 1.0) -> None:
        """Start without tracks; the settings are those of `Tracker`."""
        self._smoothing, self._cost = smoothing, _COST * margin * hysteresis
        self._reach = min(_REACH * smoothing, _LONGEST)
        self._waiting: deque[Result | Failure] = deque()
        self._clocks: deque[float] = deque()  # of the waiting results: seconds that never fall
        self._tracks: dict[int, _Track] = {}
        self._clock = 0.0
        self._time: float | None = None
        self._held = 0

    def __call__(
        self, results: Iterable[Result | Failure], size: Callable[[Result], int]
    ) -> Iterator[Result | Failure]:
        """Yield the results smoothed, and failures, in order; `size` is the number of bytes that a result holds."""
        window = self._reach + (_SETTLED if self._cost else 0.0)
        for item in results:
            self._waiting.append(item)
            if isinstance(item, Result):
                self._add(item)
                self._held += size(item)
            del item  # else one more stays in memory
            if self._clocks and self._clock - self._clocks[0] > window + _BLOCK:
                yield from self._finish(self._clock - window, size)
            elif self._held > _HELD * prefetch.MAX_BYTES:
                yield from self._finish(self._clocks[len(self._clocks) // 4], size)
        yield from self._finish(math.inf, size)

    def _add(self, result: Result) -> None:
        time = result.frame.time
        self._clock += 0.0 if self._time is None else max(time - self._time, 0.0)
        self._time = time
        self._clocks.append(self._clock)
        for face in result.faces:
            if face.id is not None and face.probabilities:
                track = self._tracks.setdefault(face.id, _Track(tuple(face.probabilities)))
                track.add(face, self._clock)

    def _finish(self, until: float, size: Callable[[Result], int]) -> Iterator[Result | Failure]:
        """Yield what waits up to a time of the clock."""
        smooth = {id: track.smooth(until, self) for id, track in self._tracks.items()}
        while self._waiting:
            item = self._waiting[0]
            if isinstance(item, Result):
                if self._clocks[0] > until:
                    break
                self._clocks.popleft()
                self._held -= size(item)
                item = replace(item, faces=tuple(_shown(face, smooth) for face in item.faces))
            self._waiting.popleft()
            yield item
            del item
        for track in self._tracks.values():
            track.forget(until - self._reach)
        self._tracks = {id: track for id, track in self._tracks.items() if track.times}

    def kernel(self, times: Array, first: int, stop: int, newest: float) -> Array:
        """Return the weight of each of N rows for the rows from `first` on, (N - first, N), with sums of 1.

        Rows before `stop` see no further ahead than back where the window is cut short.
        """
        distance = np.abs(times[first:, None] - times)
        reach = np.full(len(times) - first, self._reach)
        reach[: stop - first] = np.minimum(reach[: stop - first], newest - times[first:stop])
        steps = np.minimum(np.diff(times), self._smoothing / 2)
        lengths = 1e-9 + (np.append(steps, 0.0) + np.append(0.0, steps)) / 2  # of time, for which a row stands
        weights = np.where(distance <= reach[:, None], np.exp2(-distance / self._smoothing) * lengths, 0.0)
        return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float64)

    @property
    def smoothing(self) -> float:
        """Half-life of the window on either side, in seconds."""
        return self._smoothing

    @property
    def cost(self) -> float:
        """Cost of a change of label, in probability x seconds."""
        return self._cost

    @property
    def newest(self) -> float:
        """Time of the newest result by the clock."""
        return self._clock


class _Track:
    """One face over time. Rows that were yielded stay as long as later ones need them."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self.times: list[float] = []
        self._rows: list[list[float]] = []
        self._thresholds: list[float] = []
        self._weak: list[float] = []  # least distance below the threshold
        self._done = 0  # rows that were yielded
        self._label = self._unsure = -1  # of the last of them

    def add(self, face: Face, time: float) -> None:
        self.times.append(time)
        self._rows.append([face.probabilities.get(label, 0.0) for label in self.labels])
        self._thresholds.append(face.confidence_threshold)
        self._weak.append(WEAK if face.weaknesses else -1.0)

    def smooth(self, until: float, settings: ZeroLagSmoother) -> Iterator[tuple[dict[str, float], str, bool]]:
        """Return probabilities, label and doubt of each new row up to a time."""
        first, stop = self._done, bisect_right(self.times, until)
        if stop == first:
            return iter(())
        times, means = np.array(self.times), np.array(self._rows)[first:]
        if settings.smoothing and len(times) > 1:
            newest = math.inf if until == math.inf else settings.newest
            means = settings.kernel(times, first, stop, newest) @ np.array(self._rows)
        durations = np.minimum(np.append(np.diff(times), 0.0), _PAUSE)[first:]
        short = np.maximum(np.array(self._thresholds[first:]) - means.max(axis=1), self._weak[first:])
        # Twice, because a label that loses p to another one changes their distance by 2 p.
        doubt = np.stack([np.zeros(len(short)), 2 * short], 1)
        labels = best_path(means, durations, self._label, settings.cost)[: stop - first]
        unsure = best_path(doubt, durations, self._unsure, _DOUBT * settings.cost)[: stop - first]
        self._done, self._label, self._unsure = stop, labels[-1], unsure[-1]
        tops = means.argmax(axis=1)
        return iter([
            (dict(zip(self.labels, row, strict=True)), self.labels[top if doubtful else label], bool(doubtful))
            for row, top, label, doubtful in zip(means[: stop - first].tolist(), tops, labels, unsure, strict=False)
        ])  # fmt: skip

    def forget(self, before: float) -> None:
        """Drop the yielded rows from before a time."""
        count = min(bisect_left(self.times, before), self._done)
        del self.times[:count], self._rows[:count], self._thresholds[:count], self._weak[:count]
        self._done -= count


def best_path(values: Array, durations: Array, start: int, cost: float) -> list[int]:
    """Return the columns with the highest sum of value x duration less `cost` a change (Viterbi 1967), one a row.

    `start` is the column before the first row, or -1 for any. Of equal columns the first one counts, as in `argmax`.
    """
    tops = values.argmax(axis=1)
    if not cost or (tops == (tops[0] if start < 0 else start)).all():
        return [int(top) for top in tops]
    total = [0.0 if start in (-1, k) else -cost for k in range(values.shape[1])]
    came: list[list[int]] = []  # the column before, of each row and column
    last = len(values) - 1
    for k, (row, duration) in enumerate(zip(values.tolist(), durations.tolist(), strict=True)):
        top = max(range(len(total)), key=total.__getitem__)
        stay = [value >= total[top] - cost for value in total]
        came.append([column if keeps else top for column, keeps in enumerate(stay)])
        total = [
            (value if keeps else total[top] - cost) + gain * (duration if k < last else duration or 1e-9)
            for value, keeps, gain in zip(total, stay, row, strict=True)
        ]
    column = max(range(len(total)), key=total.__getitem__)
    path = [column]
    for before in reversed(came[1:]):
        column = before[column]
        path.append(column)
    return path[::-1]


def _shown(face: Face, smooth: dict[int, Iterator[tuple[dict[str, float], str, bool]]]) -> Face:
    if face.id is None or not face.probabilities:
        return face
    probabilities, label, unsure = next(smooth[face.id])
    return replace(face, probabilities=probabilities, label=label, unsure=unsure)
