"""What each person showed over time: worked out by hand, from a few numbers a face."""

import gc
import weakref

import numpy as np
import pytest

from mien.timeline import PAUSE, Timeline
from mien.types import Face, Failure, Frame, Result, Sink

LABELS = ("happy", "sad")


def face(happy: float, person: int | None = 1, unsure: bool = False) -> Face:
    return Face((0, 0, 9, 9), probabilities={"happy": happy, "sad": 1 - happy}, id=person, unsure=unsure)


def gathered(*frames: tuple[float, list[Face]]) -> Timeline:
    seen = Timeline(LABELS)
    for index, (time, faces) in enumerate(frames):
        seen.write(Result(Frame(np.zeros((4, 4, 3), np.uint8), index, time), tuple(faces)))
    return seen


def test_shares_and_means_count_time_not_frames() -> None:
    seen = gathered(
        (0.0, [face(0.9)]),  # stands for 0.1 s
        (0.1, [face(0.2)]),  # 0.3 s
        (0.4, [face(0.6, unsure=True)]),  # 0.1 s
        (0.5, []),
        (0.6, [face(0.8), face(0.3, person=5)]),  # the last frame: as long as the median of 0.1, 0.3, 0.1, 0.1
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


def test_a_pause_of_the_stream_is_not_time_seen() -> None:
    (track,) = gathered((0.0, [face(0.9)]), (3600.0, [face(0.1)]), (3600.5, [])).summary()
    assert track.seconds == pytest.approx(PAUSE + 0.5)
    assert track.share["happy"] == pytest.approx(PAUSE / (PAUSE + 0.5))


def test_pictures_without_time_count_alike() -> None:
    (track,) = gathered((0.0, [face(0.9, None), face(0.8, None)]), (0.0, [face(0.1, None)])).summary()
    assert (track.id, track.frames, track.seconds) == (None, 2, 0.0)
    assert track.share == pytest.approx({"happy": 2 / 3, "sad": 1 / 3, "uncertain": 0.0})
    assert track.mean["happy"] == pytest.approx(0.6)


def test_a_held_label_counts_as_it_is_shown() -> None:
    held = Face((0, 0, 9, 9), probabilities={"happy": 0.4, "sad": 0.6}, id=1, label="happy")
    (track,) = gathered((0.0, [face(0.9)]), (0.1, [held])).summary()
    assert track.share["happy"] == 1.0
    assert track.flips == 0


def test_series_are_arrays_of_one_person() -> None:
    seen = gathered((0.0, [face(0.9)]), (0.2, [face(0.5, person=2)]), (0.4, [face(0.25, unsure=True)]))
    times, stands, states, table = seen.series(1)
    assert times.tolist() == [0.0, 0.4]
    assert stands == pytest.approx([0.2, 0.2])
    assert states.tolist() == [0, -1]
    assert table.dtype == np.float32 and table == pytest.approx(np.array([[0.9, 0.1], [0.25, 0.75]]))


def test_faces_without_probabilities_and_empty_videos_give_nothing() -> None:
    assert gathered((0.0, [Face((0, 0, 9, 9), id=3)]), (0.1, [])).summary() == []


def test_it_is_a_sink_and_keeps_no_picture() -> None:
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
