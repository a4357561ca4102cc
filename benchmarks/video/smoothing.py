"""Measure the delay of labels and how often they change, in files and live, on made curves: smoothing.json.

Delay: one emotion gives way to another at once or within a second, at several rates, clearly or narrowly; the delay is
the time from where the curves cross to the change of the shown label. The same for a change of certainty at once.
Flicker: the logits of two emotions that are equally likely, with noise, for 200 seconds; changes a second between
certain labels, of certainty, and of the name shown, certain or not.

Usage: python -m benchmarks.video.smoothing [--out FILE]
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import harness
from mien.faces.tracker import Tracker
from mien.faces.zero_lag import ZeroLagSmoother
from mien.types import EMOTIONS, Face, Frame, Result

BOX = (0.0, 0.0, 80.0, 100.0)
RATES = (10, 25, 50)


def curve(rows: np.ndarray, rate: float, threshold: float) -> list[Result]:
    """Return results with one face, from probabilities (N, 5)."""
    pixels = np.zeros((2, 2, 3), np.uint8)
    return [
        Result(
            Frame(pixels, k, k / rate),
            (Face(BOX, probabilities=dict(zip(EMOTIONS, row, strict=True)), confidence_threshold=threshold, id=1),),
        )
        for k, row in enumerate(rows.tolist())
    ]


def shown(results: Sequence[Result], live: bool) -> list[Face]:
    if live:
        tracker = Tracker()
        return [tracker.update(result.faces, result.frame.time)[0] for result in results]
    items = ZeroLagSmoother()(iter(results), lambda result: 0)
    return [item.faces[0] for item in items if isinstance(item, Result)]


def delays(live: bool) -> dict[str, list[float]]:
    """Return the seconds from each crossing to the change of the label, by the kind of change."""
    found: dict[str, list[float]] = {}
    for rate, seconds, high in itertools.product(RATES, (0.0, 1.0), (0.85, 0.5)):
        times = np.arange(8 * rate) / rate
        share = np.interp(times, [4 - seconds / 2 - 0.5 / rate, 4 + seconds / 2 - 0.5 / rate], [0.0, 1.0])
        low = (1 - high) / 4
        rows = np.full((len(times), 5), low)
        rows[:, 0], rows[:, 1] = high + share * (low - high), low + share * (high - low)
        faces = shown(curve(rows, rate, 0.0), live)
        change = next(k for k, face in enumerate(faces) if face.emotion == EMOTIONS[1])
        crossing = int(np.flatnonzero(rows[:, 1] > rows[:, 0])[0])
        kind = f"{'at once' if not seconds else 'within a second'}, to {high:.0%}"
        found.setdefault(kind, []).append(round(float(times[change] - times[crossing]), 3))
    for rate, to in itertools.product(RATES, ("uncertain", "certain")):
        top = np.where(np.arange(8 * rate) < 4 * rate, 0.85, 0.45)[:: 1 if to == "uncertain" else -1]
        rows = np.stack([top, *[(1 - top) / 4] * 4], axis=1)
        faces = shown(curve(rows, rate, 0.65), live)
        change = next(k for k, face in enumerate(faces) if face.uncertain == (to == "uncertain"))
        found.setdefault(f"to {to}", []).append(round((change - 4 * rate) / rate, 3))
    return found


def flicker(live: bool, rate: int, deviation: float, threshold: float, seconds: int = 200) -> dict[str, float]:
    """Return changes a second."""
    rng = np.random.default_rng(rate)
    logits = np.array([1.5, 1.5, 0, 0, 0]) + rng.normal(0, deviation, (rate * seconds, 5))
    rows = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    faces = shown(curve(rows, rate, threshold), live)
    sure = [face.emotion for face in faces if not face.uncertain]
    names = [face.emotion for face in faces]
    values = {"certain labels": sure, "certainty": [face.uncertain for face in faces], "names": names}
    return {name: sum(a != b for a, b in itertools.pairwise(row)) / seconds for name, row in values.items()}


def main() -> None:
    parser = harness.parser(__doc__, "smoothing")
    options = parser.parse_args()
    values: dict[str, Any] = {"rates": RATES}
    for mode in ("file", "live"):
        rows = [
            {"rate": rate, "deviation": deviation, "threshold": threshold}
            | flicker(mode == "live", rate, deviation, threshold)
            for rate, deviation, threshold in itertools.product(RATES, (0.7,), (0.0, 0.4))
        ]
        values[mode] = {"delays": delays(mode == "live"), "flicker": rows}
        print(mode, values[mode]["delays"])
        for row in rows:
            print("  ", {name: round(value, 3) for name, value in row.items()})
    harness.save(options.out, values)


if __name__ == "__main__":
    main()
