"""ZeroLagSmoother on made curves."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from mien.faces.tracker import Tracker
from mien.faces.zero_lag import ZeroLagSmoother, best_path
from mien.media import prefetch
from mien.types import EMOTIONS, Face, Failure, Frame, Result

BOX = (0.0, 0.0, 50.0, 60.0)


def scores(*values: float) -> dict[str, float]:
    """Return probabilities of the first emotions; the others share the rest."""
    rest = (1 - sum(values)) / (5 - len(values))
    return dict(zip(EMOTIONS, (*values, *[rest] * (5 - len(values))), strict=True))


def curve(rows: Sequence[dict[str, float]], rate: float = 25, id: int = 1, start: float = 0.0) -> list[Result]:
    pixels = np.zeros((4, 4, 3), np.uint8)
    return [
        Result(
            Frame(pixels, k, start + k / rate),
            (Face(BOX, probabilities=row, confidence_threshold=0.4, id=id),),
        )
        for k, row in enumerate(rows)
    ]


def smoothed(results: Sequence[Result | Failure], **settings: float) -> list[Face]:
    smoother = ZeroLagSmoother(**settings)
    found = smoother(iter(results), lambda result: result.frame.nbytes)
    return [item.faces[0] for item in found if isinstance(item, Result)]


def causal(results: Sequence[Result]) -> list[Face]:
    tracker = Tracker()
    return [tracker.update(result.faces, result.frame.time)[0] for result in results]


def noisy(seed: int, rows: Sequence[Sequence[float]], deviation: float = 0.7) -> list[dict[str, float]]:
    """Return softmax probabilities of logits with noise."""
    logits = np.array(rows) + np.random.default_rng(seed).normal(0, deviation, (len(rows), 5))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return [dict(zip(EMOTIONS, row, strict=True)) for row in shares.tolist()]


@pytest.mark.parametrize("rate", [5, 12, 25, 60])
def test_label_changes_without_delay(rate: float) -> None:
    rows = [scores(0.7, 0.1)] * (3 * rate) + [scores(0.1, 0.7)] * (3 * rate)
    faces = smoothed(curve(rows, rate))
    assert [face.emotion for face in faces] == ["angry"] * (3 * rate) + ["happy"] * (3 * rate)


def test_slow_change_counts_where_the_curves_cross() -> None:
    shares = np.linspace(0.15, 0.75, 101)
    faces = smoothed(curve([scores(0.9 - share, share) for share in shares]))
    assert [face.emotion for face in faces].index("happy") in (50, 51)


def test_end_of_a_clip_shows_the_present() -> None:
    faces = smoothed(curve([scores(0.7, 0.1)] * 60 + [scores(0.1, 0.7)] * 18))
    assert faces[-1].emotion == "happy" and faces[-1].probabilities["happy"] > 0.5
    assert faces[59].emotion == "angry"


def test_brief_lead_changes_nothing() -> None:
    rows = [scores(0.5, 0.4)] * 50 + [scores(0.42, 0.48)] * 5 + [scores(0.5, 0.4)] * 50
    assert {face.emotion for face in smoothed(curve(rows))} == {"angry"}


def test_labels_flicker_no_more_than_causal_ones() -> None:
    results = curve(noisy(4, [(1.5, 1.5, 0, 0, 0)] * 750), 30)

    def changes(faces: Sequence[Face]) -> int:
        sure = [face.emotion for face in faces if not face.uncertain]
        return sum(a != b for a, b in itertools.pairwise(sure))

    def turns(faces: Sequence[Face]) -> int:
        return sum(a.uncertain != b.uncertain for a, b in itertools.pairwise(faces))

    assert changes(smoothed(results)) <= changes(causal(results))
    assert turns(smoothed(results)) <= turns(causal(results))


def test_name_while_uncertain_is_the_most_probable() -> None:
    for faces in (smoothed, causal):
        shown = faces(curve(noisy(5, [(0.4, 0.5, 0.3, 0.3, 0.3)] * 300)))
        doubtful = [face for face in shown if face.uncertain]
        assert len(doubtful) > 100
        assert all(face.confidence == max(face.probabilities.values()) for face in doubtful)


def test_constant_probabilities_stay() -> None:
    for face in smoothed(curve([scores(0.2, 0.6)] * 120)):
        assert face.probabilities == pytest.approx(scores(0.2, 0.6))
        assert (face.emotion, face.uncertain, face.id) == ("happy", False, 1)


def test_smoothing_does_not_depend_on_the_frame_rate() -> None:
    shown = []
    for rate in (10, 30, 60):
        times = np.arange(6 * rate + 1) / rate
        rows = [scores(0.1, 0.4 + 0.3 * np.sin(2 * time)) for time in times]
        shown.append([face.probabilities["happy"] for face in smoothed(curve(rows, rate))][:: rate // 10])
    assert shown[1] == pytest.approx(shown[0], abs=0.02)
    assert shown[2] == pytest.approx(shown[1], abs=0.005)


def test_nothing_crosses_from_one_track_to_another() -> None:
    results = [*curve([scores(0.9, 0.05)] * 30), *curve([scores(0.05, 0.9)] * 30, id=2, start=30 / 25)]
    faces = smoothed(results)
    assert faces[29].probabilities == pytest.approx(scores(0.9, 0.05))
    assert faces[30].probabilities == pytest.approx(scores(0.05, 0.9))


def test_blocks_do_not_show() -> None:
    results = curve(noisy(6, [(1.2, 1.0, 0, 0, 0)] * 400))
    faces = smoothed(results)
    rows = np.array([list(face.probabilities.values()) for face in faces])
    raw = np.array([list(result.faces[0].probabilities.values()) for result in results])
    for k in (60, 150, 273):
        near = np.arange(max(k - 31, 0), min(k + 32, 400))
        weights = 0.5 ** (np.abs(near - k) / 25 / 0.25)
        assert rows[k] == pytest.approx(weights @ raw[near] / weights.sum(), abs=0.003)


def test_results_come_in_order_with_failures_and_few_wait() -> None:
    taken = 0

    def source() -> Iterator[Result | Failure]:
        nonlocal taken
        for result in curve([scores(0.2, 0.6)] * 400):
            taken += 1
            yield Failure("v", "damaged", 7) if taken == 8 else result

    indices, most = [], 0
    for item in ZeroLagSmoother()(source(), lambda result: result.frame.nbytes):
        indices.append(item.frame.index if isinstance(item, Result) else -1)
        most = max(most, taken - len(indices))
    assert indices == [-1 if k == 7 else k for k in range(400)]
    assert most <= 25 * 2.6


def test_large_frames_shrink_the_window_and_keep_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "MAX_BYTES", 4 * 48)
    rows = [scores(0.7, 0.1)] * 60 + [scores(0.1, 0.7)] * 60
    faces = smoothed(curve(rows))
    assert [face.emotion for face in faces] == ["angry"] * 60 + ["happy"] * 60


def test_frames_without_a_face_or_probabilities_pass() -> None:
    frame = Frame(np.zeros((4, 4, 3), np.uint8))
    plain = [Result(frame), Result(frame, (Face(BOX),)), Result(frame, (Face(BOX, id=3),))]
    assert list(ZeroLagSmoother()(iter(plain), lambda result: 0)) == plain


@pytest.mark.parametrize("seed", range(5))
def test_best_path_is_the_best_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, durations, cost = rng.random((6, 3)), rng.random(6), 0.3

    def worth(path: Sequence[int]) -> float:
        gain = sum(values[k, column] * durations[k] for k, column in enumerate(path))
        return gain - cost * sum(a != b for a, b in itertools.pairwise([1, *path]))

    found = best_path(values, durations, 1, cost)
    assert worth(found) == pytest.approx(max(map(worth, itertools.product(range(3), repeat=6))))
