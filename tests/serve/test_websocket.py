"""The WebSocket: ids and smoothing, skipped frames, limits and protocol errors."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect
from test_middleware import STREAM
from test_serve import IMAGE, LEFT, Gated, client, encoded, value
from test_serve import server as server  # a fixture

import mien
from mien import Pipeline
from test_pipeline import PORTRAIT, Brightness


def until(condition: Callable[[], bool]) -> None:
    end = monotonic() + 10
    while not condition():
        assert monotonic() < end, "the condition never held"
        sleep(0.005)


def closed(socket: Any) -> int:
    with pytest.raises(WebSocketDisconnect) as caught:
        socket.receive_json()
    return int(caught.value.code)


def test_frames_are_answered_with_stable_ids(server: Any) -> None:
    with server.websocket_connect(STREAM) as socket:
        answers = []
        for _ in range(3):
            socket.send_bytes(IMAGE)
            answers.append(socket.receive_json())
    assert [answer["index"] for answer in answers] == [0, 1, 2]
    assert [[face["id"] for face in answer["faces"]] for answer in answers] == [[1, 2]] * 3
    assert answers[0]["time"] <= answers[1]["time"] <= answers[2]["time"]
    assert {"width", "height", "left_out", "skipped"} <= answers[0].keys()


def test_probabilities_are_smoothed(server: Any) -> None:
    white = encoded(np.full((60, 120, 3), 255, np.uint8))
    with server.websocket_connect(STREAM) as socket:
        socket.send_bytes(IMAGE)
        before = socket.receive_json()["faces"][1]["probabilities"]["bright"]
        socket.send_bytes(white)
        after = socket.receive_json()["faces"][1]["probabilities"]["bright"]
    assert before == 0
    assert 0 < after < 1


def test_each_connection_has_its_own_tracker(server: Any) -> None:
    with server.websocket_connect(STREAM) as one, server.websocket_connect(STREAM) as other:
        for socket in (one, other):
            socket.send_bytes(IMAGE)
            assert [face["id"] for face in socket.receive_json()["faces"]] == [1, 2]


def test_real_face_gets_an_id() -> None:
    with client(mien.load()) as api, api.websocket_connect(STREAM) as socket:
        socket.send_bytes(PORTRAIT.read_bytes())
        (face,) = socket.receive_json()["faces"]
    assert (face["id"], face["emotion"]) == (1, "happy")


def test_newest_frame_replaces_waiting_ones() -> None:
    detector = Gated()
    detector.gate.set()
    with client(Pipeline(detector, Brightness())) as api, api.websocket_connect(STREAM) as socket:
        detector.gate.clear()
        warm = detector.entered
        socket.send_bytes(IMAGE)
        until(lambda: detector.entered == warm + 1)
        for _ in range(4):
            socket.send_bytes(IMAGE)
        until(lambda: value(api, "mien_stream_frames_total", outcome="skipped") == 3)
        detector.gate.set()
        answers = [socket.receive_json() for _ in range(2)]
        assert [(answer["index"], answer["skipped"]) for answer in answers] == [(0, 0), (4, 3)]
        assert value(api, "mien_streams") == 1
        until(lambda: value(api, "mien_stream_frames_total", outcome="answered") == 2)
    assert value(api, "mien_streams") == 0


@pytest.mark.parametrize("bad", [b"", b"text", IMAGE[:50], bytes(100_000)])
def test_bad_frame_is_reported_and_the_stream_continues(server: Any, bad: bytes) -> None:
    with server.websocket_connect(STREAM) as socket:
        socket.send_bytes(bad)
        answer = socket.receive_json()
        assert answer["index"] == 0
        assert answer["error"].startswith("frame 0: ")
        socket.send_bytes(IMAGE)
        assert len(socket.receive_json()["faces"]) == 2


@pytest.mark.parametrize("text", ["hello", "", "{}"])
def test_text_closes_the_stream(server: Any, text: str) -> None:
    with server.websocket_connect(STREAM) as socket:
        socket.send_text(text)
        assert closed(socket) == 1003


def test_large_frame_closes_the_stream() -> None:
    with client(limits={"frame_bytes": 1000}) as api, api.websocket_connect(STREAM) as socket:
        socket.send_bytes(bytes(1000))
        assert "error" in socket.receive_json()
        socket.send_bytes(bytes(1001))
        assert closed(socket) == 1009


def test_idle_stream_is_closed() -> None:
    with client(limits={"idle_seconds": 0.05}) as api, api.websocket_connect(STREAM) as socket:
        assert closed(socket) == 1001


def test_streams_beyond_the_limit_are_refused_until_one_ends() -> None:
    with client(limits={"streams": 1}) as api:
        with api.websocket_connect(STREAM) as first:
            first.send_bytes(IMAGE)
            first.receive_json()
            with pytest.raises(WebSocketDenialResponse) as refused, api.websocket_connect(STREAM):
                pass
            assert refused.value.status_code == 503
            assert "retry-after" in refused.value.headers
        until(lambda: value(api, "mien_streams") == 0)
        with api.websocket_connect(STREAM) as second:
            second.send_bytes(IMAGE)
            assert second.receive_json()["index"] == 0


def test_full_queue_and_slow_work_are_reported() -> None:
    detector = Gated()
    detector.gate.set()
    limits = {"queue": 1, "images": 1, "work_seconds": 0.05, "threads": 2}
    with client(Pipeline(detector, Brightness()), limits=limits) as api, api.websocket_connect(STREAM) as socket:
        detector.gate.clear()
        socket.send_bytes(IMAGE)
        assert "took too long" in socket.receive_json()["error"]
        detector.gate.set()
        until(lambda: value(api, "mien_queue_images") == 0)
        with api.app.state.serving.engine.admit():
            socket.send_bytes(IMAGE)
            assert "are waiting" in socket.receive_json()["error"]
        socket.send_bytes(IMAGE)
        assert [face["box"] for face in socket.receive_json()["faces"]] == [list(LEFT)]


def test_disconnecting_during_a_frame_is_harmless(caplog: pytest.LogCaptureFixture) -> None:
    detector = Gated()
    detector.gate.set()
    with client(Pipeline(detector, Brightness())) as api:
        detector.gate.clear()
        with api.websocket_connect(STREAM) as socket:
            socket.send_bytes(IMAGE)
            until(lambda: api.app.state.serving.engine.pending == 1)
        threading.Timer(0.05, detector.gate.set).start()
        until(lambda: api.app.state.serving.engine.pending == 0)
        with api.websocket_connect(STREAM) as socket:
            socket.send_bytes(IMAGE)
            assert len(socket.receive_json()["faces"]) == 1
    assert caplog.text == ""


def test_other_routes_refuse_websockets(server: Any) -> None:
    for path in ("/", "/v1/predict", "/v1/nothing"):
        with pytest.raises((WebSocketDisconnect, WebSocketDenialResponse)), server.websocket_connect(path):
            pass
