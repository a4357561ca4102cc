"""Strip: the last seconds of each person's expression, drawn below a live view."""

from __future__ import annotations

from collections import deque

import numpy as np

from mien.draw.palette import DARK, MUTED, TRACK, WHITE, face_colour
from mien.draw.text import text_width, write
from mien.types import Face, Image, Result

SECONDS = 30.0
"""Length of the strip."""

_ROWS = 4  # people at most: those seen most recently


class Strip:
    """Keeps and draws the expressions of the last `SECONDS`; one instance a stream."""

    def __init__(self) -> None:
        self._moments: deque[tuple[float, dict[int, Face]]] = deque()

    def add(self, result: Result) -> None:
        """Add a result whose faces have ids; a step back in time starts anew."""
        now = result.frame.time
        if self._moments and now < self._moments[-1][0]:
            self._moments.clear()
        self._moments.append((now, {face.id: face for face in result.faces if face.id is not None}))
        while now - self._moments[0][0] > SECONDS:
            self._moments.popleft()

    def draw(self, width: int, row: int) -> Image:
        """Return the strip as uint8 BGR (H, width, 3), with a row of `row` pixels for each person, one at least.

        The newest moment is at the right. A column has the colour of the emotion, gray while uncertain, and the height
        of its probability.
        """
        ids = self._recent_ids()
        image = np.full((row * max(len(ids), 1), width, 3), DARK, np.uint8)
        cap = max(row * 0.3, 6.0)
        left = min(round(text_width(f"#{max(ids, default=1)}", cap) + cap), width // 3)
        columns = width - left
        if not self._moments or columns < 1:
            return image
        now = self._moments[-1][0]
        ends = [columns - 1 - round((now - time) / SECONDS * (columns - 1)) for time, _ in self._moments]
        for k, id in enumerate(ids):
            lane = image[k * row : (k + 1) * row - 1]
            lane[-1:, left:] = TRACK
            write(lane, f"#{id}", cap * 0.5, (row + cap) / 2, cap, WHITE if id in self._moments[-1][1] else MUTED)
            for n, (_, faces) in enumerate(self._moments):
                if (face := faces.get(id)) and face.probabilities:
                    start = ends[n - 1] + 1 if n else ends[n]
                    start = min(max(start, ends[n] - columns // 30), ends[n])  # a gap of over a second stays empty
                    top = round((len(lane) - 1) * (1 - min(max(face.confidence, 0.0), 1.0)))
                    lane[top:, left + max(start, 0) : left + ends[n] + 1] = face_colour(face)
        return image

    def _recent_ids(self) -> list[int]:
        """Return the people seen last, at most `_ROWS`, in the order of their ids."""
        recent: list[int] = []
        for _, faces in reversed(self._moments):
            recent += [id for id in faces if id not in recent]
            if len(recent) >= _ROWS:
                break
        return sorted(recent[:_ROWS])
