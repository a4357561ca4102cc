"""A live view without a window: what the keys do, what is written, and a file at its own speed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import number, numbered
from mien import Pipeline, session, sources
from mien.live import Live
from mien.session import HELP, Paced, Session
from mien.track import Tracker
from mien.types import Face, Failure, Frame, Image, ModelError, Result, SourceError


class Middle:
    """A detector that always finds one face."""

    def __init__(self, name: str = "yunet") -> None:
        self.name = name

    def __call__(self, image: np.ndarray) -> list[Face]:
        return [Face((20, 20, 60, 60))]


class Happy:
    labels = ("happy", "sad")
    uncertain_below = 0.5

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        return np.tile(np.float32([0.9, 0.1]), (len(crops), 1))


class Given:
    """A source that gives what it holds and then ends."""

    name, rate = "camera 0", 30.0

    def __init__(self, *items: Frame | Failure | None) -> None:
        self.items = deque(items)
        self.ended = False

    def get(self, timeout: float | None = None) -> Frame | Failure | None:
        if not self.items:
            self.ended = True
            return None
        return self.items.popleft()


class Screen:
    """A view that presses one list of keys a turn and keeps what it was shown."""

    def __init__(self, *turns: str) -> None:
        self.turns = deque(turn.split() for turn in turns)
        self.shown: list[tuple[Image, list[str]]] = []

    def show(self, image: Image, lines: Sequence[str] = ()) -> None:
        self.shown.append((image, list(lines)))

    def keys(self) -> list[str]:
        return self.turns.popleft() if self.turns else []


class Kept:
    """A sink that keeps the numbers of frames and the failures."""

    def __init__(self) -> None:
        self.seen: list[int | str] = []

    def write(self, result: Result) -> None:
        self.seen.append(result.frame.index)

    def fail(self, failure: Failure) -> None:
        self.seen.append(failure.reason)

    def close(self) -> None:
        """Nothing to do."""


def frames(count: int) -> list[Frame]:
    return [Frame(numbered(k), k, k / 10, "camera 0") for k in range(count)]


def stream(detector: str = "yunet") -> session.Stream:
    return Pipeline(Middle(detector), Happy()).stream(Tracker())


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only sleeping moves, and each look at it a little."""
    now = [100.0]

    def look() -> float:
        now[0] += 0.001
        return now[0]

    def sleep(seconds: float) -> None:
        assert seconds >= 0
        now[0] += seconds

    monkeypatch.setattr(session, "monotonic", look)
    monkeypatch.setattr(session, "sleep", sleep)
    return now


def test_it_ends_with_its_source_and_gives_everything_to_the_sinks() -> None:
    sink, told = Kept(), []
    broken = Failure("camera 0", "camera 0: unplugged", 3)
    view = Session(Given(*frames(2), None, frames(3)[2], broken), stream(), [sink], tell=told.append)
    view.run()
    assert sink.seen == [0, 1, 2, "camera 0: unplugged"]
    assert told == ["camera 0: unplugged"]
    assert view.lost
    assert view.result is not None and [face.id for face in view.result.faces] == [1]


@pytest.mark.parametrize("key", ["q", "escape"])
def test_q_and_escape_end_it(key: str) -> None:
    source, screen = Given(*frames(9)), Screen("", "", key)
    view = Session(source, stream(), view=screen)
    view.run()
    assert len(screen.shown) == 2 and len(source.items) == 7 and not view.lost


def test_stop_ends_it_too() -> None:
    source, sink = Given(*frames(9)), Kept()
    view = Session(source, stream(), [sink])
    view.step()
    view.stop()
    view.run()
    assert sink.seen == [0]


def test_space_stops_the_picture_and_lets_it_go_on() -> None:
    source, screen, sink = Given(*frames(4)), Screen("", "space", "", "space"), Kept()
    view = Session(source, stream(), [sink], screen)
    for _ in range(3):
        assert view.step()
    assert view.status.paused and view.status.inference_fps is None
    assert sink.seen == [0]
    assert len(screen.shown) == 3  # it is shown all the same: the window may have changed
    view.run()
    assert sink.seen == [0, 1, 2, 3] and not view.status.paused


def test_r_records_between_two_presses(tmp_path: Path) -> None:
    screen, told = Screen("", "r", "", "", "r", ""), []
    Session(Given(*frames(9)), stream(), view=screen, folder=tmp_path, tell=told.append).run()
    (path,) = tmp_path.iterdir()
    assert path.match("mien-????????-??????.mp4") and told == [f"recorded {path}"]
    recorded = list(sources.Video(path))
    assert [frame.time for frame in recorded] == pytest.approx([0.0, 0.1, 0.2], abs=1e-3)
    assert number(recorded[0].image[:18]) == number(numbered(1)[:18])  # below is the face


def test_a_recording_is_finished_when_the_view_ends(tmp_path: Path) -> None:
    Session(Given(*frames(3)), stream(), view=Screen("r"), folder=tmp_path).run()
    assert [path.suffix for path in tmp_path.iterdir()] == [".mp4"]


def test_recordings_of_one_second_have_names_apart(tmp_path: Path) -> None:
    Session(Given(*frames(9)), stream(), view=Screen("r", "r", "r", "r", "r", "r"), folder=tmp_path).run()
    assert len(list(tmp_path.glob("*.mp4"))) == 3


def test_a_place_that_cannot_be_written_is_told_and_the_view_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    screen, told, sink = Screen("", "r", "s", ""), [], Kept()
    Session(Given(*frames(4)), stream(), [sink], screen, tmp_path / "file", told.append).run()
    assert len(told) == 2 and all("cannot be written" in message for message in told)
    assert sink.seen == [0, 1, 2, 3]
    assert told[1] in screen.shown[-1][1]


def test_s_saves_the_picture_with_its_faces_and_without_the_status(tmp_path: Path) -> None:
    screen = Screen("", "s")
    Session(Given(*frames(2)), stream(), view=screen, folder=tmp_path).run()
    (path,) = tmp_path.iterdir()
    picture = cv2.imread(str(path))
    assert path.suffix == ".png" and picture.shape == (96, 160, 3)
    assert (picture[20:60, 20] != numbered(0)[20:60, 20]).any(axis=-1).all()  # the left side of the box
    assert (picture[90:, :15] == numbered(0)[90:, :15]).all()
    assert (screen.shown[0][0][70:] != picture[70:]).any()


def test_d_goes_through_the_detectors_and_people_keep_their_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> Middle:
        raise ModelError("this OpenCV has no Haar cascades")

    known = {"yunet": Middle, "haar": absent, "mtcnn": lambda: Middle("mtcnn")}
    monkeypatch.setattr("mien.detect.DETECTORS", known)
    monkeypatch.setattr(session, "DETECTORS", known)
    told: list[str] = []
    view = Session(Given(*frames(4)), stream(), view=Screen("", "d", "d"), tell=told.append)
    names = []
    while view.step():
        names.append(view.status.detector)
    assert names == ["yunet", "mtcnn", "yunet", "yunet"]
    assert told == ["this OpenCV has no Haar cascades"]
    assert view.result is not None and [face.id for face in view.result.faces] == [1]


def test_h_shows_the_keys_and_c_the_crop() -> None:
    screen = Screen("", "h", "h", "c")
    Session(Given(*frames(4)), stream(), view=screen).run()
    first, helped, after, crop = screen.shown
    assert first[1] == ["h  help"] and helped[1] == [*HELP, "h  help"] and after[1] == ["h  help"]
    assert all(any(line.split()[0] == key for line in HELP) for key in ("space", "r", "s", "d", "c", "h", "q,"))
    assert (crop[0] != after[0]).any()


def test_messages_go_away(clock: list[float]) -> None:
    screen = Screen()
    view = Session(Given(*frames(3)), stream(), view=screen)
    view.run()
    clock[0] += 60
    view.press("space")
    view.step()
    assert screen.shown[0][1] == ["h  help"] and screen.shown[-1][1] == []


def test_a_key_before_the_first_frame_does_no_harm(tmp_path: Path) -> None:
    Session(Given(None, *frames(1)), stream(), view=Screen("s h c space space left"), folder=tmp_path).run()
    assert list(tmp_path.iterdir()) == []


def test_camera_and_inference_have_rates_of_their_own(clock: list[float]) -> None:
    class Slow(Given):
        def get(self, timeout: float | None = None) -> Frame | Failure | None:
            clock[0] += 0.1
            return super().get(timeout)

    view = Session(Slow(*frames(20)), stream())
    assert view.status.inference_fps is None
    view.run()
    assert view.status.camera_fps == 30.0
    assert view.status.inference_fps == pytest.approx(10, rel=0.1)


def test_without_a_window_there_is_a_report_a_second() -> None:
    told: list[float] = []
    Session(Given(*frames(25)), stream(), report=lambda result, status: told.append(result.frame.time)).run()
    assert told == [0.0, 1.0, 2.0]


def read(paced: Paced, timeout: float | None = None) -> Iterator[Frame | Failure]:
    while (item := paced.get(timeout)) is not None:
        yield item


def test_a_file_is_given_at_its_own_speed(clock: list[float]) -> None:
    paced = Paced(frames(11), "film", 10.0)
    start, arrived = clock[0], []
    for item in read(paced):
        assert isinstance(item, Frame)
        arrived.append((item.index, clock[0] - start))
    assert [index for index, _ in arrived] == list(range(11))
    assert [at for _, at in arrived] == pytest.approx([k / 10 for k in range(11)], abs=0.02)
    assert paced.ended and paced.skipped == 0


def test_who_is_slow_gets_the_newest_frame_of_a_file(clock: list[float]) -> None:
    paced = Paced(frames(20), "film", 10.0)
    seen = []
    for item in read(paced):
        seen.append(item.index)
        clock[0] += 0.25
    assert seen == [0, 2, 5, 7, 10, 12, 15, 17, 19]
    assert paced.skipped == 20 - len(seen)


def test_after_a_break_a_file_goes_on_where_it_stopped(clock: list[float]) -> None:
    paced = Paced(frames(20), "film", 10.0)
    assert [paced.get().index for _ in range(3)] == [0, 1, 2]  # type: ignore[union-attr]
    clock[0] += 3600
    assert [paced.get().index for _ in range(3)] == [3, 4, 5]  # type: ignore[union-attr]


def test_waiting_for_a_file_has_an_end(clock: list[float]) -> None:
    paced = Paced(frames(2), "film", 10.0)
    assert isinstance(paced.get(0.0), Frame)
    before = clock[0]
    assert paced.get(0.03) is None and not paced.ended
    assert clock[0] - before == pytest.approx(0.03, abs=0.01)
    assert isinstance(paced.get(0.2), Frame)
    assert paced.get(0.2) is None and paced.ended


def test_failures_of_a_file_come_in_their_place() -> None:
    broken = Failure("film", "damaged", 2)
    items = list(read(Paced([*frames(2), broken, *frames(4)[2:]], "film", 10.0)))
    assert [item.index if isinstance(item, Frame) else item for item in items] == [0, 1, broken, 2, 3]


def test_a_closed_file_gives_nothing() -> None:
    paced = Paced(frames(9), "film", 10.0)
    paced.get()
    paced.close()
    paced.close()
    assert paced.get(1.0) is None and paced.ended


def test_a_source_is_told_by_its_look(monkeypatch: pytest.MonkeyPatch, film, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    asked: list[str] = []
    monkeypatch.setattr(Live, "__init__", lambda self, text: asked.append(text))
    for text in ("0", "/dev/video2", "rtsp://host/cam", "http://host/stream"):
        assert isinstance(session.source(text), Live)
    assert asked == ["0", "/dev/video2", "rtsp://host/cam", "http://host/stream"]
    paced = session.source(str(film(tmp_path / "a.mp4", [k / 20 for k in range(10)])))
    assert isinstance(paced, Paced) and paced.rate == pytest.approx(20.0, rel=0.1)
    assert len(list(read(paced))) == 10
    with pytest.raises(SourceError, match="does not exist"):
        session.source("nowhere.mp4")
