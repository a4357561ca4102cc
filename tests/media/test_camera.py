"""Cameras and streams: newest frame only, messages, reopening, no threads left."""

import http.server
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from media_files import number, numbered

from mien.errors import SourceError
from mien.media import camera
from mien.media.camera import Camera
from mien.types import Failure, Frame

GONE = None


class Fake:
    """A capture that delivers the frames put into it, then waits for more, or fails if `gone`."""

    def __init__(self, frames: int = 0, opens: bool = True, gone: bool = False) -> None:
        self.given: queue.Queue[int | None] = queue.Queue()
        for k in range(frames):
            self.given.put(k)
        if gone:
            self.given.put(GONE)
        self.opens, self.broken, self.released = opens, not opens, False

    def isOpened(self) -> bool:
        return self.opens and not self.released

    def read(self) -> tuple[bool, Any]:
        assert not self.released, "read after release"
        while not self.broken:
            try:
                k = self.given.get(timeout=0.01)
            except queue.Empty:
                if self.given.empty():
                    return False, None  # as a stream whose time is up
                continue
            if k is GONE:
                self.broken = True
            else:
                return True, numbered(k % 256)
        return False, None

    def release(self) -> None:
        self.released = True


class Opener:
    """Return the captures one after the other and record the sources."""

    def __init__(self, *captures: Any) -> None:
        self.captures, self.asked = list(captures), []  # type: ignore[var-annotated]

    def __call__(self, source: int | str) -> Any:
        self.asked.append(source)
        return self.captures[len(self.asked) - 1]


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("mien ")] == []


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.002)


def test_slow_reader_gets_the_newest_frame() -> None:
    fake = Fake(frames=10)
    with Camera(0, patience=60, opener=Opener(fake)) as live:
        until(lambda: live.skipped == 9)
        first = live.get()
        assert isinstance(first, Frame)
        assert (first.index, number(first.image), first.name) == (9, 9, "camera 0")
        assert live.get(timeout=0) is None
        assert live.get(timeout=0.01) is None
        fake.given.put(10)
        second = live.get()
        assert isinstance(second, Frame) and second.index == 10 and second.time >= first.time
        assert not live.ended
    assert fake.released and live.ended
    assert live.get() is None


def test_rate_and_times_follow_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]

    class Clocked(Fake):
        def read(self) -> tuple[bool, Any]:
            found = super().read()
            now[0] += 0.04 * found[0]
            return found

    monkeypatch.setattr(camera, "monotonic", lambda: now[0])
    with Camera("1", patience=60, opener=Opener(Clocked(frames=50))) as live:
        until(lambda: live.skipped == 49)
        assert live.rate == pytest.approx(25.0)
        frame = live.get()
    assert isinstance(frame, Frame) and frame.time == pytest.approx(50 * 0.04)


def test_dropped_stream_is_reopened() -> None:
    first, dead, mute, second = Fake(1, gone=True), Fake(opens=False), Fake(gone=True), Fake(1)
    opener = Opener(first, dead, mute, second)
    with Camera("rtsp://user:pa@ss@host/cam", retries=(0.0, 0.0, 0.0, 0.0), patience=0.0, opener=opener) as live:
        second.given.put(1)
        items = [live.get() for _ in range(4)]
        start, *messages = items if isinstance(items[0], Frame) else [None, *items[:3]]
        assert start is None or (isinstance(start, Frame) and start.index == 0)
        assert [f"attempt {k} of 4" in message.reason for k, message in enumerate(messages, 1)] == [True] * 3
        assert all(isinstance(message, Failure) and message.name == "rtsp://***@host/cam" for message in messages)
        until(lambda: second.given.empty())
    assert first.released and dead.released and mute.released and second.released
    assert opener.asked[:4] == ["rtsp://user:pa@ss@host/cam"] * 4  # `second` may stand still on a busy machine


def test_stream_ends_after_the_last_attempt() -> None:
    opener = Opener(Fake(1, gone=True), Fake(opens=False), Fake(opens=False))
    with Camera("http://host/cam", retries=(0.0, 0.0), patience=0.0, opener=opener) as live:
        items = [item for item in live if isinstance(item, Failure)]
        assert live.ended
    assert len(items) == 3
    assert "check the network" in items[-1].reason and "start again" in items[-1].reason
    assert all(fake.released for fake in opener.captures)


def test_unplugged_camera_ends_with_one_failure() -> None:
    with Camera(0, patience=0.0, opener=Opener(Fake(3, gone=True))) as live:
        last = list(live)[-1]
    assert isinstance(last, Failure)
    assert "check its cable" in last.reason
    assert last.index == 3


def test_lost_packet_does_not_end_the_stream() -> None:
    class Hiccups(Fake):
        reads = 0

        def read(self) -> tuple[bool, Any]:
            self.reads += 1
            return (False, None) if self.reads % 2 == 0 else super().read()

    with Camera(0, patience=60, opener=Opener(Hiccups(frames=20))) as live:
        until(lambda: live.skipped == 19)
        assert isinstance(live.get(), Frame)
        assert not live.ended


@pytest.mark.parametrize(
    ("source", "fake", "advice"),
    [
        (97, Fake(opens=False), "plug one in|plugged in|there are"),
        ("/dev/video97", Fake(gone=True), "another program"),
        ("http://host/cam", Fake(opens=False), "check the address"),
        ("http://host/cam", Fake(gone=True), "check the address"),
    ],
)
def test_refusal_says_what_to_do(source: int | str, fake: Fake, advice: str) -> None:
    with pytest.raises(SourceError, match=advice):
        Camera(source, patience=0.0, opener=Opener(fake))
    assert fake.released


@pytest.mark.parametrize("source", ["film.mp4", "", "-1"])
def test_files_are_refused(source: str) -> None:
    with pytest.raises(SourceError, match="mien video"):
        Camera(source, opener=Opener())


def test_missing_camera_is_a_silent_source_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError, match="camera 97"):
        Camera(97)
    assert capfd.readouterr() == ("", "")


def test_close_ends_a_waiting_reader_and_a_retry_pause() -> None:
    live = Camera("rtsp://host/cam", retries=(3600.0,), patience=0.0, opener=Opener(Fake(1, gone=True)))
    items: list[object] = []
    reader = threading.Thread(target=lambda: items.extend(live))
    reader.start()
    until(lambda: any(isinstance(item, Failure) for item in items))
    live.close()
    live.close()
    reader.join(60)
    assert not reader.is_alive()


def test_driver_error_is_a_failure() -> None:
    class Faulty(Fake):
        def read(self) -> tuple[bool, Any]:
            if self.given.empty():
                raise RuntimeError("bad driver")
            return super().read()

    fake = Faulty(1)
    with Camera(0, opener=Opener(fake)) as live:
        last = list(live)[-1]
    assert isinstance(last, Failure) and "bad driver" in last.reason
    assert fake.released


class Mjpeg(http.server.BaseHTTPRequestHandler):
    """A network camera: JPEG images, with a connection that ends after some of them."""

    pictures = 40

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for k in range(self.pictures):
            data = cv2.imencode(".jpg", np.full((48, 64, 3), 3 * k, np.uint8))[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            try:
                self.wfile.write(head.encode() + data + b"\r\n")
            except OSError:  # nobody watches any more
                return
            time.sleep(0.005)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def test_real_stream_is_read_and_reopened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "_TIMEOUT", 60.0)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mjpeg)
    server.daemon_threads = True
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    try:
        with Camera(f"http://127.0.0.1:{server.server_port}/cam", retries=(0.0, 0.0), patience=0.1) as live:
            frames, failures = [], []
            for item in live:
                (frames if isinstance(item, Frame) else failures).append(item)
                if failures and isinstance(item, Frame):
                    break
        assert "the stream has stopped" in failures[0].reason
        assert frames[0].image.shape == (48, 64, 3)
        assert frames[-1].index >= Mjpeg.pictures - 5  # goes on counting
        indices = [frame.index for frame in frames]
        assert indices == sorted(set(indices))
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
