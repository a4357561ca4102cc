"""Tracker: made tracks with known truth; what stays the same whatever the frame rate."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.track import Tracker, assign
from mien.types import EMOTIONS, ConfigError, Face

SIDE = 100.0
Path = Callable[[float], tuple[float, float] | None]


def face(x: float = 0.0, y: float = 0.0, side: float = SIDE, **settings: object) -> Face:
    return replace(Face((x - side * 0.4, y - side / 2, x + side * 0.4, y + side / 2)), **settings)


def look(*values: float) -> dict[str, float]:
    """Probabilities of the first emotions; the last ones share the rest."""
    rest = (1 - sum(values)) / (5 - len(values)) if len(values) < 5 else 0.0
    return dict(zip(EMOTIONS, (*values, *[rest] * (5 - len(values))), strict=True))


def detections(
    paths: Sequence[Path], fps: float, seconds: float, seed: int, noise: float = 0.03, miss: float = 0.1
) -> Iterator[tuple[float, list[tuple[int, Face]]]]:
    """Time and (true person, face), with noise, misses and one box where two faces overlap: the first is in front."""
    rng = np.random.default_rng(seed)
    for k in range(round(fps * seconds)):
        found: list[tuple[int, Face]] = []
        shown: list[tuple[float, float]] = []
        for person, path in enumerate(paths):
            place = path(k / fps)
            if place is None or any(np.hypot(place[0] - x, place[1] - y) < 0.5 * SIDE for x, y in shown):
                continue
            shown.append(place)
            x, y = place + rng.normal(0, noise * SIDE, 2)
            if rng.random() >= miss:
                found.append((person, face(x, y, SIDE * np.exp(rng.normal(0, noise)))))
        yield k / fps, [found[i] for i in rng.permutation(len(found))]


def ids(frames: Iterator[tuple[float, list[tuple[int, Face]]]], tracker: Tracker) -> dict[int, set[int]]:
    """Person -> ids that the tracker gave."""
    given: dict[int, set[int]] = {}
    for time, found in frames:
        for (person, _), seen in zip(found, tracker.update([f for _, f in found], time), strict=True):
            assert seen.id is not None
            given.setdefault(person, set()).add(seen.id)
    return given


@pytest.mark.parametrize("fps", [10, 30, 60])
@pytest.mark.parametrize("speed", [0.75, 1.5, 3.0])
def test_crossing_faces_keep_their_ids(speed: float, fps: int) -> None:
    middle = 1.8 / speed  # seconds until they meet
    paths: list[Path] = [
        lambda t: (speed * SIDE * (t - middle), 0.0),
        lambda t: (-speed * SIDE * (t - middle), 0.25 * SIDE),
    ]
    given = ids(detections(paths, fps, 2 * middle, seed=5), Tracker())
    assert sorted(given.values(), key=min) == [{1}, {2}]


def test_five_people_who_walk_keep_their_ids() -> None:
    paths: list[Path] = [lambda t, k=k: (SIDE * (1.2 * k + 0.5 * t), 40 * np.sin(2 * t + k)) for k in range(5)]
    given = ids(detections(paths, 20, 4, seed=2, miss=0.2), Tracker())
    assert all(len(numbers) == 1 for numbers in given.values())
    assert set.union(*given.values()) == {1, 2, 3, 4, 5}


def test_faces_enter_leave_and_come_back() -> None:
    tracker = Tracker(max_age=1.0)
    (first,) = tracker.update([face(0)], 0.0)
    both = tracker.update([face(300), face(0)], 0.5)
    assert [f.id for f in (first, *both)] == [1, 2, 1]
    assert tracker.update([], 1.0) == ()
    assert tracker.alive == {1, 2}
    (back,) = tracker.update([face(300)], 1.45)  # 0.95 s after it was last seen
    assert back.id == 2
    assert tracker.alive == {1, 2}
    tracker.update([face(300)], 1.55)  # the first one has not been seen for 1.05 s
    assert tracker.alive == {2}
    (late,) = tracker.update([face(0)], 1.6)
    assert late.id == 3


def test_a_face_of_another_size_or_far_away_is_another_one() -> None:
    tracker = Tracker()
    tracker.update([face(0)], 0.0)
    assert tracker.update([face(0, side=2.2 * SIDE)], 0.1)[0].id == 2
    assert tracker.update([face(1.5 * SIDE)], 0.2)[0].id == 3


def test_the_detectors_order_does_not_matter() -> None:
    tracker = Tracker()
    people = [face(150.0 * k) for k in range(4)]
    tracker.update(people, 0.0)
    for k, order in enumerate(itertools.permutations(range(4))):
        seen = tracker.update([people[i] for i in order], 0.04 * (k + 1))
        assert [f.id for f in seen] == [i + 1 for i in order]
        assert [f.box for f in seen] == [people[i].box for i in order]


def test_a_loop_or_seek_ends_all_tracks_and_small_steps_back_do_not() -> None:
    tracker = Tracker(max_age=1.0)
    tracker.update([face()], 10.0)
    assert tracker.update([face()], 9.5)[0].id == 1  # decoders give such stamps
    assert tracker.update([face()], 10.0)[0].id == 1
    assert tracker.update([face()], 0.0)[0].id == 2  # a video that starts again
    assert tracker.update([face()], 60.0)[0].id == 3  # a seek
    assert tracker.alive == {3}
    tracker.reset()
    assert tracker.alive == frozenset()
    assert tracker.update([face()], 5.0)[0].id == 1


def signal(time: float) -> dict[str, float]:
    """Straight between these points."""
    happy = float(np.interp(time, [0, 0.5, 0.8, 1.5, 2.0], [0.1, 0.1, 0.8, 0.3, 0.3]))
    return look(0.1, happy)


def test_smoothing_does_not_depend_on_the_frame_rate() -> None:
    points = [0.0, 0.5, 0.8, 1.5, 2.0]
    rng = np.random.default_rng(0)
    irregular = sorted({*points, *rng.uniform(0, 2, 17)})
    shown = []
    for times in (np.arange(21) / 10, np.arange(61) / 30, np.arange(121) / 60, irregular):
        tracker = Tracker(half_life=0.3)
        shown.append({round(t, 9): tracker.update([face(probabilities=signal(t))], t)[0] for t in times})
    for time in points:
        for other in shown[1:]:
            assert other[time].probabilities == pytest.approx(shown[0][time].probabilities, abs=1e-9)
    # by hand: the exponential window over the straight rise from 0.5 to 0.8 s, as a fine sum
    fine = np.linspace(0, 0.8, 200_001)
    weights = 0.5 ** ((0.8 - fine) / 0.3)
    happy = np.interp(fine, [0, 0.5, 0.8], [0.1, 0.1, 0.8])
    left = weights[0]  # weight of everything before the first frame
    mean = left * 0.1 + (1 - left) * np.average(happy, weights=weights)
    assert shown[0][0.8].probabilities["happy"] == pytest.approx(mean, abs=1e-4)


def test_half_of_an_old_look_is_left_after_the_half_life() -> None:
    tracker = Tracker(half_life=0.5)
    tracker.update([face(probabilities=look(1.0))], 0.0)
    tracker.update([face(probabilities=look(0.0, 1.0))], 1e-6)
    (seen,) = tracker.update([face(probabilities=look(0.0, 1.0))], 0.5)
    assert seen.probabilities["angry"] == pytest.approx(0.5, abs=1e-4)
    (raw,) = Tracker(half_life=0).update([face(probabilities=look(0.2, 0.8))], 0.0)
    assert raw.probabilities == look(0.2, 0.8)


def test_without_smoothing_or_hysteresis_the_tracker_only_adds_ids() -> None:
    rng = np.random.default_rng(3)
    tracker = Tracker(half_life=0, margin=0)
    for k in range(50):
        plain = face(probabilities=look(*rng.dirichlet(np.ones(5))), uncertain_below=0.4)
        (seen,) = tracker.update([plain], k / 30)
        assert seen.to_dict() == plain.to_dict() | {"id": 1}


@pytest.mark.parametrize("fps", [10, 30])
def test_a_noisy_look_changes_its_label_less_than_once_a_second(fps: int) -> None:
    rng = np.random.default_rng(4)
    tracker, seconds = Tracker(), 20
    raw, labels, unsure = [], [], []
    for k in range(fps * seconds):
        logits = np.array([1.5, 1.5, 0, 0, 0]) + rng.normal(0, 0.7, 5)  # two emotions that are equally likely
        values = np.exp(logits) / np.exp(logits).sum()
        (seen,) = tracker.update([face(probabilities=look(*values), uncertain_below=0.4)], k / fps)
        raw.append(int(values.argmax()))
        labels.append(seen.emotion)
        unsure.append(seen.uncertain)
    changes = [sum(a != b for a, b in itertools.pairwise(each)) / seconds for each in (raw, labels, unsure)]
    assert changes[0] > 4
    assert changes[1] < 1
    assert changes[2] < 1


def test_a_label_gives_way_to_a_clear_lead_or_to_a_lasting_one() -> None:
    tracker = Tracker(half_life=0, margin=0.2, hold=0.5)

    def label(time: float, *values: float) -> str:
        return tracker.update([face(probabilities=look(*values))], time)[0].emotion

    assert label(0.0, 0.5, 0.4) == "angry"
    assert label(0.1, 0.4, 0.5) == "angry"  # leads by too little
    assert label(0.2, 0.3, 0.6) == "happy"  # a clear lead
    assert label(0.3, 0.5, 0.4) == "happy"
    assert label(0.7, 0.5, 0.4) == "happy"
    assert label(0.75, 0.4, 0.5) == "happy"  # the lead is lost: waiting begins anew
    assert label(0.8, 0.5, 0.4) == "happy"
    assert label(1.25, 0.5, 0.4) == "happy"
    assert label(1.35, 0.5, 0.4) == "angry"  # has led for 0.55 s


def test_the_label_shown_may_differ_from_the_most_probable() -> None:
    tracker = Tracker(half_life=0, margin=0.2)
    tracker.update([face(probabilities=look(0.5, 0.4))], 0.0)
    (seen,) = tracker.update([face(probabilities=look(0.4, 0.5))], 0.1)
    plain = json.loads(json.dumps(seen.to_dict()))
    assert (plain["emotion"], plain["confidence"], plain["id"]) == ("angry", 0.4, 1)
    assert max(plain["probabilities"], key=plain["probabilities"].get) == "happy"
    assert list(plain) == list(Face((0, 0, 1, 1)).to_dict())


def test_uncertain_does_not_flicker_either() -> None:
    tracker = Tracker(half_life=0, margin=0.2, hold=0.5)

    def uncertain(time: float, top: float) -> bool:
        return tracker.update([face(probabilities=look(top), uncertain_below=0.5)], time)[0].uncertain

    assert not uncertain(0.0, 0.55)
    assert not uncertain(0.1, 0.45)  # 0.05 below, half of a lead of 0.1
    assert not uncertain(0.2, 0.55)
    assert uncertain(0.3, 0.39)
    assert uncertain(0.4, 0.55)
    assert uncertain(0.8, 0.55)
    assert not uncertain(0.95, 0.55)  # for 0.55 s above
    assert not uncertain(1.0, 0.5)  # at the threshold


def test_faces_side_by_side_do_not_share_their_looks() -> None:
    tracker = Tracker()
    for k in range(30):
        left, right = face(0, probabilities=look(0.9)), face(90, probabilities=look(0.0, 0.9))
        for one in tracker.update([left, right] if k % 2 else [right, left], k / 30):
            assert one.probabilities == pytest.approx((left if one.box == left.box else right).probabilities)


def test_a_face_that_was_not_classified_shows_the_last_look() -> None:
    tracker = Tracker()
    assert tracker.update([face()], 0.0)[0].emotion == ""
    (seen,) = tracker.update([face(probabilities=look(0.1, 0.8))], 0.1)
    (kept,) = tracker.update([face()], 0.2)
    assert kept.probabilities == seen.probabilities == look(0.1, 0.8)
    assert kept.emotion == "happy"


def test_another_models_labels_start_anew() -> None:
    tracker = Tracker()
    tracker.update([face(probabilities=look(0.1, 0.8))], 0.0)
    (seen,) = tracker.update([face(probabilities={"yes": 0.3, "no": 0.7})], 0.1)
    assert (seen.id, seen.emotion, dict(seen.probabilities)) == (1, "no", {"yes": 0.3, "no": 0.7})


@pytest.mark.parametrize("setting", ["half_life", "max_age", "margin", "hold"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_impossible_settings_are_refused(setting: str, value: float) -> None:
    with pytest.raises(ConfigError, match=setting):
        Tracker(**{setting: value})


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="time"):
        Tracker().update([], float("nan"))


boxes = st.tuples(*[st.integers(-50, 400)] * 2, *[st.integers(0, 200)] * 2)
frames = st.tuples(st.floats(-2, 2), st.lists(st.tuples(boxes, st.integers(0, 4)), max_size=6))


@settings(max_examples=60, deadline=None)
@given(st.lists(frames, max_size=12))
def test_whatever_comes_ids_are_unique_and_looks_are_sound(steps: list[tuple[float, list[tuple[tuple, int]]]]) -> None:
    tracker, time, ended = Tracker(max_age=0.5), 0.0, set()
    for step, found in steps:
        time += step
        before = tracker.alive
        faces = [
            Face((x, y, x + w, y + h), probabilities=look(*np.eye(5)[k]), uncertain_below=0.5)
            for (x, y, w, h), k in found
        ]
        seen = tracker.update(faces, time)
        numbers = [f.id for f in seen]
        ended |= before - tracker.alive
        assert len(set(numbers)) == len(numbers)
        assert set(numbers) <= tracker.alive
        assert not set(numbers) & ended
        assert [f.box for f in seen] == [f.box for f in faces]
        for one in seen:
            assert sum(one.probabilities.values()) == pytest.approx(1)
            assert min(one.probabilities.values()) >= 0
            assert one.emotion in one.probabilities


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5), st.integers(1, 5), st.integers(0, 10_000))
def test_assignment_is_the_cheapest_of_all(rows: int, columns: int, seed: int) -> None:
    cost = np.random.default_rng(seed).integers(0, 8, (rows, columns)).astype(float)
    found = assign(cost)
    pairs = [(row, column) for row, column in enumerate(found) if column >= 0]
    assert len(found) == rows
    assert len(pairs) == len({column for _, column in pairs}) == min(rows, columns)
    if rows <= columns:
        every = [sum(cost[range(rows), list(order)]) for order in itertools.permutations(range(columns), rows)]
    else:
        every = [sum(cost[list(order), range(columns)]) for order in itertools.permutations(range(rows), columns)]
    assert sum(cost[row, column] for row, column in pairs) == min(every)


def test_a_large_assignment_agrees_with_scipy() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    for seed, shape in enumerate([(40, 40), (30, 50), (50, 30)]):
        cost = np.random.default_rng(seed).random(shape)
        rows, columns = optimize.linear_sum_assignment(cost)
        total = sum(cost[row, column] for row, column in enumerate(assign(cost)) if column >= 0)
        assert total == pytest.approx(cost[rows, columns].sum())


def walker(t: float) -> tuple[float, float]:
    return 1.5 * SIDE * t, 20 * np.sin(2 * t)


def test_faces_are_expected_where_they_go() -> None:
    tracker = Tracker()
    assert tracker.expect(0.0) == ()
    for k in range(20):
        tracker.update([face(*walker(k / 10), landmarks=((150 * k / 10 + 10, 0.0),))], k / 10)
    for ahead in (0.0, 0.1, 0.2):
        (one,) = tracker.expect(1.9 + ahead)
        x, y = (one.box[0] + one.box[2]) / 2, (one.box[1] + one.box[3]) / 2
        assert np.hypot(*np.subtract((x, y), walker(1.9 + ahead))) < 0.15 * SIDE
        assert one.id == 1 and not one.probabilities
        assert one.box[3] - one.box[1] == pytest.approx(SIDE, rel=0.05)
        assert one.landmarks[0][0] - x == pytest.approx(10, abs=0.01)  # it moves with the box
    assert tracker.expect(1.9) == tracker.expect(1.9)
    assert tracker.expect(3.0) == tracker.expect(0.5) == ()


def test_faces_that_the_last_search_missed_are_not_expected_and_the_largest_comes_first() -> None:
    tracker = Tracker()
    tracker.update([face(0, side=50), face(300, side=80), face(900)], 0.0)
    tracker.update([face(0, side=50), face(300, side=80)], 0.1)
    assert [one.id for one in tracker.expect(0.2)] == [2, 1]
    assert tracker.alive == {1, 2, 3}


def test_looking_in_between_changes_what_faces_show_and_not_where_they_are() -> None:
    plain, looking = Tracker(), Tracker()
    for k in range(0, 30, 3):
        for tracker in (plain, looking):
            tracker.update([face(*walker(k / 30), probabilities=look(0.9))], k / 30)
        for step in (1, 2):
            expected = looking.expect((k + step) / 30)
            (shown,) = looking.look([replace(expected[0], probabilities=look(0.9))], (k + step) / 30)
            assert (shown.id, shown.emotion, shown.box) == (1, EMOTIONS[0], expected[0].box)
    (a,), (b,) = plain.expect(1.0), looking.expect(1.0)
    assert a.box == pytest.approx(b.box, abs=1e-6)
    (shown,) = looking.look([replace(b, probabilities=look(0.0, 1.0))], 1.0)
    assert 0 < shown.probabilities[EMOTIONS[1]] < 1
    with pytest.raises(ConfigError, match="finite"):
        looking.look([], float("nan"))


@pytest.mark.parametrize("every", [2, 3, 5])
@pytest.mark.parametrize("speed", [0.75, 1.5])
def test_crossing_faces_keep_their_ids_when_only_some_frames_are_searched(speed: float, every: int) -> None:
    middle = 1.8 / speed
    paths: list[Path] = [
        lambda t: (speed * SIDE * (t - middle), 0.0),
        lambda t: (-speed * SIDE * (t - middle), 0.5 * SIDE),
    ]
    tracker, given, far = Tracker(), {}, []
    for k, (time, found) in enumerate(detections(paths, 30, 2 * middle, seed=5, miss=0.05)):
        if k % every:
            expected = tracker.expect(time)
            tracker.look(expected, time)
            for one in expected:
                centre = np.array([one.box[0] + one.box[2], one.box[1] + one.box[3]]) / 2
                far.append(min(np.hypot(*(centre - path(time))) for path in paths))
        else:
            for (person, _), seen in zip(found, tracker.update([f for _, f in found], time), strict=True):
                given.setdefault(person, set()).add(seen.id)
    assert sorted(given.values(), key=min) == [{1}, {2}]
    assert np.median(far) < 0.05 * SIDE and np.quantile(far, 0.95) < 0.25 * SIDE
