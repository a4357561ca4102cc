"""Tracker on synthetic tracks with known truth."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.errors import ConfigError
from mien.faces.tracker import Tracker, assign
from mien.types import EMOTIONS, Face

SIDE = 100.0
Path = Callable[[float], tuple[float, float] | None]


def face(x: float = 0.0, y: float = 0.0, side: float = SIDE, **settings: object) -> Face:
    return replace(Face((x - side * 0.4, y - side / 2, x + side * 0.4, y + side / 2)), **settings)


def scores(*values: float) -> dict[str, float]:
    """Return probabilities of the first emotions; the others share the rest."""
    rest = (1 - sum(values)) / (5 - len(values)) if len(values) < 5 else 0.0
    return dict(zip(EMOTIONS, (*values, *[rest] * (5 - len(values))), strict=True))


def detections(
    paths: Sequence[Path], fps: float, seconds: float, seed: int, noise: float = 0.03, miss: float = 0.1
) -> Iterator[tuple[float, list[tuple[int, Face]]]]:
    """Yield time and (true person, face), with noise and misses; a face that overlaps an earlier one is hidden."""
    rng = np.random.default_rng(seed)
    for k in range(round(fps * seconds)):
        visible: list[tuple[int, Face]] = []
        shown: list[tuple[float, float]] = []
        for person, path in enumerate(paths):
            place = path(k / fps)
            if place is None or any(np.hypot(place[0] - x, place[1] - y) < 0.5 * SIDE for x, y in shown):
                continue
            shown.append(place)
            x, y = place + rng.normal(0, noise * SIDE, 2)
            if rng.random() >= miss:
                visible.append((person, face(x, y, SIDE * np.exp(rng.normal(0, noise)))))
        yield k / fps, [visible[i] for i in rng.permutation(len(visible))]


def ids(frames: Iterator[tuple[float, list[tuple[int, Face]]]], tracker: Tracker) -> dict[int, set[int]]:
    """Return person -> ids of the tracker."""
    numbers: dict[int, set[int]] = {}
    for time, faces in frames:
        for (person, _), seen in zip(faces, tracker.update([f for _, f in faces], time), strict=True):
            assert seen.id is not None
            numbers.setdefault(person, set()).add(seen.id)
    return numbers


@pytest.mark.parametrize("fps", [10, 30, 60])
@pytest.mark.parametrize("speed", [0.75, 1.5, 3.0])
def test_crossing_faces_keep_their_ids(speed: float, fps: int) -> None:
    middle = 1.8 / speed  # seconds until they meet
    paths: list[Path] = [
        lambda t: (speed * SIDE * (t - middle), 0.0),
        lambda t: (-speed * SIDE * (t - middle), 0.25 * SIDE),
    ]
    numbers = ids(detections(paths, fps, 2 * middle, seed=5), Tracker())
    assert sorted(numbers.values(), key=min) == [{1}, {2}]


def test_five_walking_people_keep_their_ids() -> None:
    paths: list[Path] = [lambda t, k=k: (SIDE * (1.2 * k + 0.5 * t), 40 * np.sin(2 * t + k)) for k in range(5)]
    numbers = ids(detections(paths, 20, 4, seed=2, miss=0.2), Tracker())
    assert all(len(group) == 1 for group in numbers.values())
    assert set.union(*numbers.values()) == {1, 2, 3, 4, 5}


def test_faces_enter_leave_and_return() -> None:
    tracker = Tracker(max_age=1.0)
    (first,) = tracker.update([face(0)], 0.0)
    both = tracker.update([face(300), face(0)], 0.5)
    assert [f.id for f in (first, *both)] == [1, 2, 1]
    assert tracker.update([], 1.0) == ()
    assert tracker.active_ids == {1, 2}
    (back,) = tracker.update([face(300)], 1.45)  # 0.95 s after it was last seen
    assert back.id == 2
    assert tracker.active_ids == {1, 2}
    tracker.update([face(300)], 1.55)  # the first one has not been seen for 1.05 s
    assert tracker.active_ids == {2}
    (late,) = tracker.update([face(0)], 1.6)
    assert late.id == 3


def test_distant_or_resized_face_gets_new_id() -> None:
    tracker = Tracker()
    tracker.update([face(0)], 0.0)
    assert tracker.update([face(0, side=2.2 * SIDE)], 0.1)[0].id == 2
    assert tracker.update([face(1.5 * SIDE)], 0.2)[0].id == 3


def test_order_of_detections_does_not_matter() -> None:
    tracker = Tracker()
    people = [face(150.0 * k) for k in range(4)]
    tracker.update(people, 0.0)
    for k, order in enumerate(itertools.permutations(range(4))):
        seen = tracker.update([people[i] for i in order], 0.04 * (k + 1))
        assert [f.id for f in seen] == [i + 1 for i in order]
        assert [f.box for f in seen] == [people[i].box for i in order]


def test_loop_or_seek_ends_tracks_but_small_step_back_does_not() -> None:
    tracker = Tracker(max_age=1.0)
    tracker.update([face()], 10.0)
    assert tracker.update([face()], 9.5)[0].id == 1  # decoders give such stamps
    assert tracker.update([face()], 10.0)[0].id == 1
    assert tracker.update([face()], 0.0)[0].id == 2  # a video that starts again
    assert tracker.update([face()], 60.0)[0].id == 3  # a seek
    assert tracker.active_ids == {3}
    tracker.reset()
    assert tracker.active_ids == frozenset()
    assert tracker.update([face()], 5.0)[0].id == 1


def signal(time: float) -> dict[str, float]:
    """Interpolate linearly between points."""
    happy = float(np.interp(time, [0, 0.5, 0.8, 1.5, 2.0], [0.1, 0.1, 0.8, 0.3, 0.3]))
    return scores(0.1, happy)


def test_smoothing_is_independent_of_frame_rate() -> None:
    points = [0.0, 0.5, 0.8, 1.5, 2.0]
    rng = np.random.default_rng(0)
    irregular = sorted({*points, *rng.uniform(0, 2, 17)})
    shown = []
    for times in (np.arange(21) / 10, np.arange(61) / 30, np.arange(121) / 60, irregular):
        tracker = Tracker(smoothing=0.3)
        shown.append({round(t, 9): tracker.update([face(probabilities=signal(t))], t)[0] for t in times})
    for time in points:
        for other in shown[1:]:
            assert other[time].probabilities == pytest.approx(shown[0][time].probabilities, abs=1e-9)
    # reference: the exponential window over the linear rise from 0.5 to 0.8 s, as a fine sum
    fine = np.linspace(0, 0.8, 200_001)
    weights = 0.5 ** ((0.8 - fine) / 0.3)
    happy = np.interp(fine, [0, 0.5, 0.8], [0.1, 0.1, 0.8])
    left = weights[0]  # weight of everything before the first frame
    mean = left * 0.1 + (1 - left) * np.average(happy, weights=weights)
    assert shown[0][0.8].probabilities["happy"] == pytest.approx(mean, abs=1e-4)


def test_smoothing_halves_old_weight() -> None:
    tracker = Tracker(smoothing=0.5)
    tracker.update([face(probabilities=scores(1.0))], 0.0)
    tracker.update([face(probabilities=scores(0.0, 1.0))], 1e-6)
    (seen,) = tracker.update([face(probabilities=scores(0.0, 1.0))], 0.5)
    assert seen.probabilities["angry"] == pytest.approx(0.5, abs=1e-4)
    (raw,) = Tracker(smoothing=0).update([face(probabilities=scores(0.2, 0.8))], 0.0)
    assert raw.probabilities == scores(0.2, 0.8)


def test_tracker_without_smoothing_only_adds_ids() -> None:
    rng = np.random.default_rng(3)
    tracker = Tracker(smoothing=0, margin=0)
    for k in range(50):
        plain = face(probabilities=scores(*rng.dirichlet(np.ones(5))), confidence_threshold=0.4)
        (seen,) = tracker.update([plain], k / 30)
        assert seen.to_dict() == plain.to_dict() | {"id": 1}


@pytest.mark.parametrize("fps", [10, 30])
def test_noisy_probabilities_change_label_less_than_once_a_second(fps: int) -> None:
    rng = np.random.default_rng(4)
    tracker, seconds = Tracker(), 20
    raw, labels, unsure = [], [], []
    for k in range(fps * seconds):
        logits = np.array([1.5, 1.5, 0, 0, 0]) + rng.normal(0, 0.7, 5)  # two emotions that are equally likely
        values = np.exp(logits) / np.exp(logits).sum()
        (seen,) = tracker.update([face(probabilities=scores(*values), confidence_threshold=0.4)], k / fps)
        raw.append(int(values.argmax()))
        labels.append(seen.emotion)
        unsure.append(seen.uncertain)
    changes = [sum(a != b for a, b in itertools.pairwise(values)) / seconds for values in (raw, labels, unsure)]
    assert changes[0] > 4
    assert changes[1] < 1
    assert changes[2] < 1


def test_label_changes_on_clear_or_lasting_lead() -> None:
    tracker = Tracker(smoothing=0, margin=0.2, hysteresis=0.5)

    def label(time: float, *values: float) -> str:
        return tracker.update([face(probabilities=scores(*values))], time)[0].emotion

    assert label(0.0, 0.5, 0.4) == "angry"
    assert label(0.1, 0.4, 0.5) == "angry"  # leads by too little
    assert label(0.2, 0.3, 0.6) == "happy"  # a clear lead
    assert label(0.3, 0.5, 0.4) == "happy"
    assert label(0.7, 0.5, 0.4) == "happy"
    assert label(0.75, 0.4, 0.5) == "happy"  # the lead is lost: the wait restarts
    assert label(0.8, 0.5, 0.4) == "happy"
    assert label(1.25, 0.5, 0.4) == "happy"
    assert label(1.35, 0.5, 0.4) == "angry"  # has led for 0.55 s


def test_label_may_differ_from_the_most_probable() -> None:
    tracker = Tracker(smoothing=0, margin=0.2)
    tracker.update([face(probabilities=scores(0.5, 0.4))], 0.0)
    (seen,) = tracker.update([face(probabilities=scores(0.4, 0.5))], 0.1)
    plain = json.loads(json.dumps(seen.to_dict()))
    assert (plain["emotion"], plain["confidence"], plain["id"]) == ("angry", 0.4, 1)
    assert max(plain["probabilities"], key=plain["probabilities"].get) == "happy"
    assert list(plain) == list(Face((0, 0, 1, 1)).to_dict())


def test_uncertain_does_not_flicker() -> None:
    tracker = Tracker(smoothing=0, margin=0.2, hysteresis=0.5)

    def uncertain(time: float, top: float) -> bool:
        return tracker.update([face(probabilities=scores(top), confidence_threshold=0.5)], time)[0].uncertain

    assert not uncertain(0.0, 0.55)
    assert not uncertain(0.1, 0.45)  # 0.05 below, half of a lead of 0.1
    assert not uncertain(0.2, 0.55)
    assert uncertain(0.3, 0.39)
    assert uncertain(0.4, 0.55)
    assert uncertain(0.8, 0.55)
    assert not uncertain(0.95, 0.55)  # for 0.55 s above
    assert not uncertain(1.0, 0.5)  # at the threshold


def test_neighbours_keep_their_own_probabilities() -> None:
    tracker = Tracker()
    for k in range(30):
        left, right = face(0, probabilities=scores(0.9)), face(90, probabilities=scores(0.0, 0.9))
        for one in tracker.update([left, right] if k % 2 else [right, left], k / 30):
            assert one.probabilities == pytest.approx((left if one.box == left.box else right).probabilities)


def test_unclassified_face_keeps_last_probabilities() -> None:
    tracker = Tracker()
    assert tracker.update([face()], 0.0)[0].emotion == ""
    (seen,) = tracker.update([face(probabilities=scores(0.1, 0.8))], 0.1)
    (kept,) = tracker.update([face()], 0.2)
    assert kept.probabilities == seen.probabilities == scores(0.1, 0.8)
    assert kept.emotion == "happy"


def test_new_labels_restart_smoothing() -> None:
    tracker = Tracker()
    tracker.update([face(probabilities=scores(0.1, 0.8))], 0.0)
    (seen,) = tracker.update([face(probabilities={"yes": 0.3, "no": 0.7})], 0.1)
    assert (seen.id, seen.emotion, dict(seen.probabilities)) == (1, "no", {"yes": 0.3, "no": 0.7})


@pytest.mark.parametrize("setting", ["smoothing", "max_age", "margin", "hysteresis"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_invalid_settings_are_rejected(setting: str, value: float) -> None:
    with pytest.raises(ConfigError, match=setting):
        Tracker(**{setting: value})


def test_nan_time_is_rejected() -> None:
    with pytest.raises(ConfigError, match="time"):
        Tracker().update([], float("nan"))


boxes = st.tuples(*[st.integers(-50, 400)] * 2, *[st.integers(0, 200)] * 2)
frames = st.tuples(st.floats(-2, 2), st.lists(st.tuples(boxes, st.integers(0, 4)), max_size=6))


@settings(max_examples=60, deadline=None)
@given(st.lists(frames, max_size=12))
def test_any_input_gives_unique_ids_and_valid_probabilities(steps: list[tuple[float, list[tuple[tuple, int]]]]) -> None:
    tracker, time, ended = Tracker(max_age=0.5), 0.0, set()
    for step, detected in steps:
        time += step
        before = tracker.active_ids
        faces = [
            Face((x, y, x + w, y + h), probabilities=scores(*np.eye(5)[k]), confidence_threshold=0.5)
            for (x, y, w, h), k in detected
        ]
        seen = tracker.update(faces, time)
        numbers = [f.id for f in seen]
        ended |= before - tracker.active_ids
        assert len(set(numbers)) == len(numbers)
        assert set(numbers) <= tracker.active_ids
        assert not set(numbers) & ended
        assert [f.box for f in seen] == [f.box for f in faces]
        for one in seen:
            assert sum(one.probabilities.values()) == pytest.approx(1)
            assert min(one.probabilities.values()) >= 0
            assert one.emotion in one.probabilities


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5), st.integers(1, 5), st.integers(0, 10_000))
def test_assignment_has_least_cost(rows: int, columns: int, seed: int) -> None:
    cost = np.random.default_rng(seed).integers(0, 8, (rows, columns)).astype(float)
    columns_of = assign(cost)
    pairs = [(row, column) for row, column in enumerate(columns_of) if column >= 0]
    assert len(columns_of) == rows
    assert len(pairs) == len({column for _, column in pairs}) == min(rows, columns)
    if rows <= columns:
        totals = [sum(cost[range(rows), list(order)]) for order in itertools.permutations(range(columns), rows)]
    else:
        totals = [sum(cost[list(order), range(columns)]) for order in itertools.permutations(range(rows), columns)]
    assert sum(cost[row, column] for row, column in pairs) == min(totals)


def test_large_assignment_agrees_with_scipy() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    for seed, shape in enumerate([(40, 40), (30, 50), (50, 30)]):
        cost = np.random.default_rng(seed).random(shape)
        rows, columns = optimize.linear_sum_assignment(cost)
        total = sum(cost[row, column] for row, column in enumerate(assign(cost)) if column >= 0)
        assert total == pytest.approx(cost[rows, columns].sum())


def walker(t: float) -> tuple[float, float]:
    return 1.5 * SIDE * t, 20 * np.sin(2 * t)


def test_predict_extrapolates_motion() -> None:
    tracker = Tracker()
    assert tracker.predict(0.0) == ()
    for k in range(20):
        tracker.update([face(*walker(k / 10), landmarks=((150 * k / 10 + 10, 0.0),))], k / 10)
    for ahead in (0.0, 0.1, 0.2):
        (one,) = tracker.predict(1.9 + ahead)
        x, y = (one.box[0] + one.box[2]) / 2, (one.box[1] + one.box[3]) / 2
        assert np.hypot(*np.subtract((x, y), walker(1.9 + ahead))) < 0.15 * SIDE
        assert one.id == 1 and not one.probabilities
        assert one.box[3] - one.box[1] == pytest.approx(SIDE, rel=0.05)
        assert one.landmarks[0][0] - x == pytest.approx(10, abs=0.01)  # it moves with the box
    assert tracker.predict(1.9) == tracker.predict(1.9)
    assert tracker.predict(3.0) == tracker.predict(0.5) == ()


def test_predict_omits_missed_faces_and_sorts_by_area() -> None:
    tracker = Tracker()
    tracker.update([face(0, side=50), face(300, side=80), face(900)], 0.0)
    tracker.update([face(0, side=50), face(300, side=80)], 0.1)
    assert [one.id for one in tracker.predict(0.2)] == [2, 1]
    assert tracker.active_ids == {1, 2, 3}


def test_update_predicted_changes_probabilities_not_places() -> None:
    plain, updated = Tracker(), Tracker()
    for k in range(0, 30, 3):
        for tracker in (plain, updated):
            tracker.update([face(*walker(k / 30), probabilities=scores(0.9))], k / 30)
        for step in (1, 2):
            predicted = updated.predict((k + step) / 30)
            (shown,) = updated.update_predicted([replace(predicted[0], probabilities=scores(0.9))], (k + step) / 30)
            assert (shown.id, shown.emotion, shown.box) == (1, EMOTIONS[0], predicted[0].box)
    (a,), (b,) = plain.predict(1.0), updated.predict(1.0)
    assert a.box == pytest.approx(b.box, abs=1e-6)
    (shown,) = updated.update_predicted([replace(b, probabilities=scores(0.0, 1.0))], 1.0)
    assert 0 < shown.probabilities[EMOTIONS[1]] < 1
    with pytest.raises(ConfigError, match="finite"):
        updated.update_predicted([], float("nan"))


@pytest.mark.parametrize("every", [2, 3, 5])
@pytest.mark.parametrize("speed", [0.75, 1.5])
def test_crossing_faces_keep_ids_with_sparse_detection(speed: float, every: int) -> None:
    middle = 1.8 / speed
    paths: list[Path] = [
        lambda t: (speed * SIDE * (t - middle), 0.0),
        lambda t: (-speed * SIDE * (t - middle), 0.5 * SIDE),
    ]
    tracker, numbers, errors = Tracker(), {}, []
    for k, (time, faces) in enumerate(detections(paths, 30, 2 * middle, seed=5, miss=0.05)):
        if k % every:
            predicted = tracker.predict(time)
            tracker.update_predicted(predicted, time)
            for one in predicted:
                centre = np.array([one.box[0] + one.box[2], one.box[1] + one.box[3]]) / 2
                errors.append(min(np.hypot(*(centre - path(time))) for path in paths))
        else:
            for (person, _), seen in zip(faces, tracker.update([f for _, f in faces], time), strict=True):
                numbers.setdefault(person, set()).add(seen.id)
    assert sorted(numbers.values(), key=min) == [{1}, {2}]
    assert np.median(errors) < 0.05 * SIDE and np.quantile(errors, 0.95) < 0.25 * SIDE
