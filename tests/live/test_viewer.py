"""Viewer without a real window, and RealTimePlayback."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from media_files import number, numbered

from mien import Pipeline
from mien.draw.palette import MUTED
from mien.errors import ModelError, SourceError
from mien.faces.tracker import Tracker
from mien.live import playback, viewer
from mien.live.playback import RealTimePlayback
from mien.live.viewer import HELP, Viewer
from mien.media.camera import Camera
from mien.media.video_reader import VideoReader
from mien.types import Face, Failure, Frame, Image, Result
from mien.video_pipeline import VideoPipeline

KEYS = ("space", "r", "s", "f", "m", "t", "o", "+", "1", "d", "c", "h", "q,")


class Middle:
    """A detector that always returns one face."""

    def __init__(self, name: str = "yunet") -> None:
        self.name = name

    def __call__(self, image: np.ndarray) -> list[Face]:
        return [Face((20, 20, 60, 60))]


class Happy:
    labels = ("happy", "sad")
    confidence_threshold = 0.5

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        return np.tile(np.float32([0.9, 0.1]), (len(crops), 1))


class Items:
    """A source that returns its items and then ends."""

    rate = 30.0

    def __init__(self, *items: Frame | Failure | None, name: str = "camera 0", kind: str = "camera") -> None:
        self.items = deque(items)
        self.name, self.kind = name, kind
        self.ended = self.closed = False
        self.skipped = 0

    def close(self) -> None:
        self.closed = True

    def get(self, timeout: float | None = None) -> Frame | Failure | None:
        if not self.items:
            self.ended = True
            return None
        return self.items.popleft()


class Screen:
    """A view that presses one list of keys a turn and keeps the images."""

    def __init__(self, *turns: str, size: tuple[int, int] | None = None) -> None:
        self.turns = deque(turn.split() for turn in turns)
        self.shown: list[tuple[Image, list[str]]] = []
        self.size = size
        self.full = 0

    def toggle_full_screen(self) -> None:
        self.full += 1

    def show(self, image: Image, lines: Sequence[str] = ()) -> None:
        self.shown.append((image, list(lines)))

    def keys(self) -> list[str]:
        return self.turns.popleft() if self.turns else []


class Kept:
    """A sink that keeps frame numbers and failures."""

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


def stream(detector: str = "yunet") -> VideoPipeline:
    return VideoPipeline(Pipeline(Middle(detector), Happy()), Tracker())


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that advances by sleeping and a little by each call."""
    now = [100.0]

    def monotonic() -> float:
        now[0] += 0.001
        return now[0]

    def sleep(seconds: float) -> None:
        assert seconds >= 0
        now[0] += seconds

    for module in (playback, viewer):
        monkeypatch.setattr(module, "monotonic", monotonic)
        monkeypatch.setattr(module, "sleep", sleep)
    return now


def test_viewer_sends_everything_to_sinks_until_source_ends() -> None:
    sink, messages = Kept(), []
    broken = Failure("camera 0", "camera 0: unplugged", 3)
    view = Viewer(Items(*frames(2), None, frames(3)[2], broken), stream(), [sink], on_message=messages.append)
    view.run()
    assert sink.seen == [0, 1, 2, "camera 0: unplugged"]
    assert messages == ["camera 0: unplugged"]
    assert view.lost
    assert view.result is not None and [face.id for face in view.result.faces] == [1]


@pytest.mark.parametrize("key", ["q", "escape"])
def test_q_and_escape_end_the_view(key: str) -> None:
    source, screen = Items(*frames(9)), Screen("", "", key)
    view = Viewer(source, stream(), view=screen)
    view.run()
    assert len(screen.shown) == 2 and len(source.items) == 7 and not view.lost


def test_stop_ends_the_view() -> None:
    source, sink = Items(*frames(9)), Kept()
    view = Viewer(source, stream(), [sink])
    view.step()
    view.stop()
    view.run()
    assert sink.seen == [0]


def test_space_pauses_and_resumes() -> None:
    source, screen, sink = Items(*frames(4)), Screen("", "space", "", "space"), Kept()
    view = Viewer(source, stream(), [sink], screen)
    for _ in range(3):
        assert view.step()
    assert view.status.paused and view.status.inference_fps is None
    assert sink.seen == [0]
    assert len(screen.shown) == 3  # the window may have been resized
    view.run()
    assert sink.seen == [0, 1, 2, 3] and not view.status.paused


def test_r_starts_and_ends_a_recording(tmp_path: Path) -> None:
    screen, messages = Screen("", "r", "", "", "r", ""), []
    Viewer(Items(*frames(9)), stream(), view=screen, folder=tmp_path, on_message=messages.append).run()
    (path,) = tmp_path.iterdir()
    assert path.match("mien-????????-??????.mp4") and messages == [f"recorded {path}"]
    recorded = list(VideoReader(path))
    assert [frame.time for frame in recorded] == pytest.approx([0.0, 0.1, 0.2], abs=1e-3)
    assert number(recorded[0].image[:18]) == number(numbered(1)[:18])  # below is the face


def test_recording_is_finished_when_view_ends(tmp_path: Path) -> None:
    Viewer(Items(*frames(3)), stream(), view=Screen("r"), folder=tmp_path).run()
    assert [path.suffix for path in tmp_path.iterdir()] == [".mp4"]


def test_recordings_of_one_second_get_different_names(tmp_path: Path) -> None:
    Viewer(Items(*frames(9)), stream(), view=Screen("r", "r", "r", "r", "r", "r"), folder=tmp_path).run()
    assert len(list(tmp_path.glob("*.mp4"))) == 3


def test_view_continues_when_folder_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    screen, messages, sink = Screen("", "r", "s", ""), [], Kept()
    Viewer(Items(*frames(4)), stream(), [sink], screen, tmp_path / "file", messages.append).run()
    assert len(messages) == 2 and all(str(tmp_path / "file") in message for message in messages)
    assert sink.seen == [0, 1, 2, 3]
    assert messages[1] in screen.shown[-1][1]


def test_s_saves_image_with_faces_without_status(tmp_path: Path) -> None:
    screen = Screen("", "s")
    Viewer(Items(*frames(2)), stream(), view=screen, folder=tmp_path).run()
    (path,) = tmp_path.iterdir()
    image = cv2.imread(str(path))
    assert path.suffix == ".png" and image.shape == (96, 160, 3)
    assert (image[20:28, 20] != numbered(0)[20:28, 20]).any(axis=-1).all()  # a corner of the box
    assert (image[90:, :15] == numbered(0)[90:, :15]).all()
    assert (screen.shown[0][0][70:] != image[70:]).any()


def test_d_cycles_detectors_and_keeps_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(**_: object) -> Middle:
        raise ModelError("this OpenCV has no Haar cascades")

    detectors = {"yunet": lambda **_: Middle(), "haar": absent, "mtcnn": lambda **_: Middle("mtcnn")}
    monkeypatch.setattr("mien.faces.detectors.DETECTORS", detectors)
    monkeypatch.setattr(viewer, "DETECTORS", detectors)
    messages: list[str] = []
    view = Viewer(Items(*frames(4)), stream(), view=Screen("", "d", "d"), on_message=messages.append)
    names = []
    while view.step():
        names.append(view.status.detector)
    assert names == ["yunet", "mtcnn", "yunet", "yunet"]
    assert messages == ["this OpenCV has no Haar cascades"]
    assert view.result is not None and [face.id for face in view.result.faces] == [1]


def test_d_loads_detectors_as_told() -> None:
    loaded = []

    def load(name: str) -> Middle:
        loaded.append(name)
        return Middle(name)

    view = Viewer(Items(*frames(3)), stream(), view=Screen("d", "d"), load_detector=load)
    view.run()
    assert loaded == ["haar", "mtcnn"] and view.status.detector == "mtcnn"


def test_h_shows_keys_and_c_shows_crops() -> None:
    screen = Screen("", "h", "h", "c")
    Viewer(Items(*frames(4)), stream(), view=screen).run()
    first, helped, after, crop = screen.shown
    assert first[1] == ["h  help"] and helped[1] == [*HELP, "h  help"] and after[1] == ["h  help"]
    assert all(any(line.split()[0] == key for line in HELP) for key in KEYS)
    assert (crop[0] != after[0]).any()


def test_overlay_is_drawn_at_the_size_of_the_window() -> None:
    screen = Screen(size=(640, 480))
    Viewer(Items(*frames(1)), stream(), view=screen).run()
    image = screen.shown[0][0]
    assert image.shape == (384, 640, 3)  # the frames have 160 x 96 pixels
    assert (image[90, 78:82] != image[90, 60]).any(axis=-1).sum() >= 2  # a corner of the box, from 20 to 80


def test_m_mirrors_the_window_and_not_the_outputs(tmp_path: Path) -> None:
    shown = []
    for mirror, key in ((False, ""), (False, "m"), (True, ""), (True, "m")):
        screen = Screen(key)
        Viewer(Items(*frames(1)), stream(), view=screen, mirror=mirror).run()
        shown.append(screen.shown[0][0])
    assert (shown[0] == shown[3]).all() and (shown[1] == shown[2]).all() and (shown[0] != shown[1]).any()
    screen = Screen("", "m s")
    Viewer(Items(*frames(2)), stream(), view=screen, folder=tmp_path).run()
    (path,) = tmp_path.iterdir()
    assert (cv2.imread(str(path))[90:, :15] == numbered(0)[90:, :15]).all()


def test_f_fills_the_screen() -> None:
    screen = Screen("f", "f", "")
    Viewer(Items(*frames(3)), stream(), view=screen).run()
    assert screen.full == 2


def test_t_shows_the_strip_below_the_image() -> None:
    screen = Screen("", "t", size=(640, 480))
    Viewer(Items(*frames(3)), stream(), view=screen).run()
    before, after = screen.shown[0][0], screen.shown[-1][0]
    assert before.shape == (384, 640, 3) and after.shape == (480, 640, 3)
    assert (after[-18:] == np.array(MUTED)).all(axis=-1).sum() > 20


def test_o_changes_the_style() -> None:
    screen = Screen("", "o", "o", "o", size=(640, 480))
    Viewer(Items(*frames(1) * 4), stream(), view=screen, style="labels").run()
    labels, minimal, panels, again = (image[:320].astype(int) for image, _ in screen.shown)
    assert np.abs(labels - minimal).max() > 50 and np.abs(minimal - panels).max() > 50
    assert (labels == again).all()


def test_plus_and_minus_change_the_smoothing() -> None:
    messages: list[str] = []
    view = Viewer(Items(*frames(3)), stream(), view=Screen("+ + + +", "- -", "- - - - -"), on_message=messages.append)
    view.run()
    assert messages[:4] == ["smoothing 0.5 s", "smoothing 1 s", "smoothing 2 s", "smoothing 2 s"]
    assert messages[5] == "smoothing 0.5 s" and view.stream.tracker.smoothing == 0


def test_digits_switch_cameras() -> None:
    first, second = Items(*frames(9)), Items(*frames(2), name="camera 1")

    def open_camera(number: str) -> Items:
        if number == "1":
            return second
        raise SourceError(f"camera {number} cannot be opened")

    messages: list[str] = []
    screen = Screen("", "1", "5", "2")
    view = Viewer(first, stream(), view=screen, on_message=messages.append, open_camera=open_camera)
    view.run()
    assert messages == ["camera 4 cannot be opened", "camera 1"]
    assert first.closed and second.closed and view.status.source == "camera 1"
    assert view.result is not None and [face.id for face in view.result.faces] == [1]


def test_digits_do_nothing_while_a_file_plays() -> None:
    source = Items(*frames(2), name="a.mp4", kind="file")
    opened: list[str] = []
    view = Viewer(source, stream(), view=Screen("2"), open_camera=lambda number: opened.append(number) or source)
    view.run()
    assert not opened and view.status.parts[0] == "file 30.0 fps" and not source.closed


def test_status_shows_time_of_recording_and_dropped_frames(clock: list[float], tmp_path: Path) -> None:
    source = Items(*frames(3))
    view = Viewer(source, stream(), view=Screen("r"), folder=tmp_path)
    view.step()
    clock[0] += 61
    source.skipped = 7
    assert view.status.parts[0] == "REC 1:01" and "7 dropped" in view.status.parts
    view.run()


def test_messages_disappear(clock: list[float]) -> None:
    screen = Screen()
    view = Viewer(Items(*frames(3)), stream(), view=screen)
    view.run()
    clock[0] += 60
    view.press("space")
    view.step()
    assert screen.shown[0][1] == ["h  help"] and screen.shown[-1][1] == []


def test_keys_before_first_frame_are_harmless(tmp_path: Path) -> None:
    Viewer(Items(None, *frames(1)), stream(), view=Screen("s h c space space left"), folder=tmp_path).run()
    assert list(tmp_path.iterdir()) == []


def test_status_has_camera_and_inference_rates(clock: list[float]) -> None:
    class Slow(Items):
        def get(self, timeout: float | None = None) -> Frame | Failure | None:
            clock[0] += 0.1
            return super().get(timeout)

    view = Viewer(Slow(*frames(20)), stream())
    assert view.status.inference_fps is None
    view.run()
    assert view.status.source_fps == 30.0
    assert view.status.inference_fps == pytest.approx(10, rel=0.1)


def test_report_is_called_once_a_second() -> None:
    times: list[float] = []
    Viewer(Items(*frames(25)), stream(), report=lambda result, status: times.append(result.frame.time)).run()
    assert times == [0.0, 1.0, 2.0]


def read(playing: RealTimePlayback, timeout: float | None = None) -> Iterator[Frame | Failure]:
    while (item := playing.get(timeout)) is not None:
        yield item


def test_playback_runs_at_file_speed(clock: list[float]) -> None:
    playing = RealTimePlayback(frames(11), "film", 10.0)
    start, arrived = clock[0], []
    for item in read(playing):
        assert isinstance(item, Frame)
        arrived.append((item.index, clock[0] - start))
    assert [index for index, _ in arrived] == list(range(11))
    assert [at for _, at in arrived] == pytest.approx([k / 10 for k in range(11)], abs=0.02)
    assert playing.ended and playing.skipped == 0


def test_slow_reader_gets_newest_frame(clock: list[float]) -> None:
    playing = RealTimePlayback(frames(20), "film", 10.0)
    seen = []
    for item in read(playing):
        seen.append(item.index)
        clock[0] += 0.25
    assert seen == [0, 2, 5, 7, 10, 12, 15, 17, 19]
    assert playing.skipped == 20 - len(seen)


def test_playback_resumes_after_a_pause(clock: list[float]) -> None:
    playing = RealTimePlayback(frames(20), "film", 10.0)
    assert [playing.get().index for _ in range(3)] == [0, 1, 2]  # type: ignore[union-attr]
    clock[0] += 3600
    assert [playing.get().index for _ in range(3)] == [3, 4, 5]  # type: ignore[union-attr]


def test_get_respects_timeout(clock: list[float]) -> None:
    playing = RealTimePlayback(frames(2), "film", 10.0)
    assert isinstance(playing.get(0.0), Frame)
    before = clock[0]
    assert playing.get(0.03) is None and not playing.ended
    assert clock[0] - before == pytest.approx(0.03, abs=0.01)
    assert isinstance(playing.get(0.2), Frame)
    assert playing.get(0.2) is None and playing.ended


def test_failures_keep_their_position() -> None:
    broken = Failure("film", "damaged", 2)
    items = list(read(RealTimePlayback([*frames(2), broken, *frames(4)[2:]], "film", 10.0)))
    assert [item.index if isinstance(item, Frame) else item for item in items] == [0, 1, broken, 2, 3]


def test_closed_playback_returns_none() -> None:
    playing = RealTimePlayback(frames(9), "film", 10.0)
    playing.get()
    playing.close()
    playing.close()
    assert playing.get(1.0) is None and playing.ended


def test_open_source_distinguishes_cameras_streams_and_files(
    monkeypatch: pytest.MonkeyPatch, film: Callable[..., Path], tmp_path: Path
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(Camera, "__init__", lambda self, text: opened.append(text))
    for text in ("0", "/dev/video2", "rtsp://host/cam", "http://host/stream"):
        assert isinstance(playback.open_source(text), Camera)
    assert opened == ["0", "/dev/video2", "rtsp://host/cam", "http://host/stream"]
    playing = playback.open_source(str(film(tmp_path / "a.mp4", [k / 20 for k in range(10)])))
    assert isinstance(playing, RealTimePlayback) and playing.rate == pytest.approx(20.0, rel=0.1)
    assert len(list(read(playing))) == 10
    with pytest.raises(SourceError, match="does not exist"):
        playback.open_source("nowhere.mp4")
