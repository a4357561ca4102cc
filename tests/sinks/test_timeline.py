"""Timelines against values computed by hand."""

import gc
import weakref

import numpy as np
import pytest

from mien.sinks import Timeline
from mien.sinks.timeline import PAUSE
from mien.types import Face, Failure, Frame, Result, Sink

LABELS = ("happy", "sad")


def face(happy: float, person: int | None = 1, unsure: bool = False) -> Face:
    return Face((0, 0, 9, 9), probabilities={"happy": happy, "sad": 1 - happy}, id=person, unsure=unsure)


def timeline(*frames: tuple[float, list[Face]]) -> Timeline:
    seen = Timeline(LABELS)
    for index, (time, faces) in enumerate(frames):
        seen.write(Result(Frame(np.zeros((4, 4, 3), np.uint8), index, time), tuple(faces)))
    return seen


def test_shares_and_means_count_time_not_frames() -> None:
    seen = timeline(
        (0.0, [face(0.9)]),  # lasts 0.1 s
        (0.1, [face(0.2)]),  # 0.3 s
        (0.4, [face(0.6, unsure=True)]),  # 0.1 s
        (0.5, []),
        (0.6, [face(0.8), face(0.3, person=5)]),  # the last frame lasts the median of 0.1, 0.3, 0.1, 0.1
    )
    first, second = seen.summary()
    assert (first.id, first.first, first.last, first.frames) == (1, 0.0, 0.6, 4)
    assert first.seconds == pytest.approx(0.6)
    assert first.share == pytest.approx({"happy": 0.2 / 0.6, "sad": 0.3 / 0.6, "uncertain": 0.1 / 0.6})
    happy = (0.1 * 0.9 + 0.3 * 0.2 + 0.1 * 0.6 + 0.1 * 0.8) / 0.6
    assert first.mean == pytest.approx({"happy": happy, "sad": 1 - happy})
    assert first.flips == 2  # happy, sad, (uncertain), happy
    assert (second.id, second.first, second.frames, second.flips) == (5, 0.6, 1, 0)
    assert second.share == {"happy": 0.0, "sad": 1.0, "uncertain": 0.0}
    assert seen.ids == (1, 5)
    assert seen.span == (0.0, 0.6) and Timeline().span == (0.0, 0.0)


def test_longest_stretch_ends_at_changes_and_gaps() -> None:
    frames = [(k / 10, [face(0.9 if k < 12 else 0.1)] if k not in (5, 6) else []) for k in range(20)]
    (track,) = timeline(*frames).summary()
    assert track.longest[0] == "sad" and track.longest[1] == pytest.approx(0.8)
    (track,) = timeline(*((k / 10, [face(0.9, unsure=k != 3)]) for k in range(9))).summary()
    assert track.longest[0] == "happy" and track.longest[1] == pytest.approx(0.1)
    (track,) = timeline((0.0, [face(0.9, unsure=True)])).summary()
    assert track.longest == ("", 0.0)


def test_nobody_is_seen_for_longer_than_the_video() -> None:
    seen = timeline(*((k / 25, [face(0.9)]) for k in range(115)))
    assert seen.duration == pytest.approx(4.6)
    assert seen.summary()[0].seconds == pytest.approx(seen.duration)


def test_thumbnail_is_the_largest_certain_face() -> None:
    seen = Timeline(LABELS, thumbnails=True)
    for k, (size, unsure) in enumerate(((20, False), (10, False), (40, False), (60, True), (41, False))):
        image = np.full((99, 99, 3), 10 * k, np.uint8)
        box = (5, 5, 5 + size, 5 + size)
        found = Face(box, probabilities={"happy": 0.9, "sad": 0.1}, id=1, unsure=unsure)
        seen.write(Result(Frame(image, k, k / 10), (found,)))
    assert {key: (value.shape, int(value.mean())) for key, value in seen.thumbnails.items()} == {1: ((96, 96, 3), 20)}
    assert timeline((0.0, [face(0.9)])).thumbnails == {}


def test_cuts_are_the_first_frames_of_new_shots() -> None:
    seen = Timeline(LABELS)
    for k, shot in enumerate((1, 1, 2, 2, 2, 3)):
        seen.write(Result(Frame(np.zeros((4, 4, 3), np.uint8), k, k / 10), (), shot=shot))
    assert seen.cuts == [0.2, 0.5]
    assert timeline((0.0, []), (0.1, [])).cuts == []


def test_columns_fill_the_time_of_the_video() -> None:
    seen = timeline((0.0, [face(0.9)]), (0.1, [face(0.7)]), (0.2, []), (0.3, [face(0.2, unsure=True)]))
    columns = seen.columns(1)
    assert columns.edges == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert columns.means[:, 0] == pytest.approx([0.9, 0.7, np.nan, 0.2], nan_ok=True)
    assert columns.states.tolist() == [0, 0, -2, -1]
    assert seen.columns(1, 2).means[:, 0] == pytest.approx([0.8, 0.2])


def test_gap_of_a_stream_is_not_counted_as_seen() -> None:
    (track,) = timeline((0.0, [face(0.9)]), (3600.0, [face(0.1)]), (3600.5, [])).summary()
    assert track.seconds == pytest.approx(PAUSE + 0.5)
    assert track.share["happy"] == pytest.approx(PAUSE / (PAUSE + 0.5))


def test_images_without_times_have_equal_weights() -> None:
    (track,) = timeline((0.0, [face(0.9, None), face(0.8, None)]), (0.0, [face(0.1, None)])).summary()
    assert (track.id, track.frames, track.seconds) == (None, 2, 0.0)
    assert track.share == pytest.approx({"happy": 2 / 3, "sad": 1 / 3, "uncertain": 0.0})
    assert track.mean["happy"] == pytest.approx(0.6)


def test_held_label_counts_as_shown() -> None:
    held = Face((0, 0, 9, 9), probabilities={"happy": 0.4, "sad": 0.6}, id=1, label="happy")
    (track,) = timeline((0.0, [face(0.9)]), (0.1, [held])).summary()
    assert track.share["happy"] == 1.0
    assert track.flips == 0


def test_series_holds_the_faces_of_one_person() -> None:
    seen = timeline((0.0, [face(0.9)]), (0.2, [face(0.5, person=2)]), (0.4, [face(0.25, unsure=True)]))
    times, durations, states, table = seen.series(1)
    assert times.tolist() == [0.0, 0.4]
    assert durations == pytest.approx([0.2, 0.2])
    assert states.tolist() == [0, -1]
    assert table.dtype == np.float32 and table == pytest.approx(np.array([[0.9, 0.1], [0.25, 0.75]]))


def test_faces_without_probabilities_are_ignored() -> None:
    assert timeline((0.0, [Face((0, 0, 9, 9), id=3)]), (0.1, [])).summary() == []


def test_timeline_is_a_sink_that_keeps_no_image() -> None:
    sink: Sink = Timeline()
    frame = Frame(np.zeros((4, 4, 3), np.uint8))
    sink.write(Result(frame, (face(1.0),)))
    sink.fail(Failure("a", "broken"))
    sink.close()
    assert isinstance(sink, Timeline) and sink.failures == 1
    held = weakref.ref(frame.image)
    del frame
    gc.collect()
    assert held() is None
