"""The WebSocket: ids and smoothing a connection, the newest frame alone, and what breaks the protocol."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

import mien
from mien import Pipeline
from test_pipeline import PORTRAIT, Brightness
from test_security import STREAM
from test_serve import LEFT, PICTURE, Gated, client, encoded, value
from test_serve import server as server  # a fixture


def until(condition: Callable[[], bool]) -> None:
    end = monotonic() + 10
    while not condition():
        assert monotonic() < end, "it never happened"
        sleep(0.005)


def closed(socket: Any) -> int:
    with pytest.raises(WebSocketDisconnect) as caught:
        socket.receive_json()
    return int(caught.value.code)


def test_each_frame_is_answered_with_ids_that_stay(server: Any) -> None:
    with server.websocket_connect(STREAM) as socket:
        answers = []
        for _ in range(3):
            socket.send_bytes(PICTURE)
            answers.append(socket.receive_json())
    assert [answer["index"] for answer in answers] == [0, 1, 2]
    assert [[face["id"] for face in answer["faces"]] for answer in answers] == [[1, 2]] * 3
    assert answers[0]["time"] <= answers[1]["time"] <= answers[2]["time"]
    assert {"width", "height", "left_out", "skipped"} <= answers[0].keys()


def test_probabilities_are_smoothed_over_time(server: Any) -> None:
    white = encoded(np.full((60, 120, 3), 255, np.uint8))
    with server.websocket_connect(STREAM) as socket:
        socket.send_bytes(PICTURE)
        before = socket.receive_json()["faces"][1]["probabilities"]["bright"]
        socket.send_bytes(white)
        after = socket.receive_json()["faces"][1]["probabilities"]["bright"]
    assert before == 0
    assert 0 < after < 1


def test_each_connection_has_a_tracker_of_its_own(server: Any) -> None:
    with server.websocket_connect(STREAM) as one, server.websocket_connect(STREAM) as other:
        for socket in (one, other):
            socket.send_bytes(PICTURE)
            assert [face["id"] for face in socket.receive_json()["faces"]] == [1, 2]


def test_a_real_face_gets_an_id() -> None:
    with client(mien.load()) as made, made.websocket_connect(STREAM) as socket:
        socket.send_bytes(PORTRAIT.read_bytes())
        (face,) = socket.receive_json()["faces"]
    assert (face["id"], face["emotion"]) == (1, "happy")


def test_of_frames_that_come_too_fast_the_newest_counts() -> None:
    detector = Gated()
    detector.gate.set()
    with client(Pipeline(detector, Brightness())) as made, made.websocket_connect(STREAM) as socket:
        detector.gate.clear()
        warm = detector.entered
        socket.send_bytes(PICTURE)
        until(lambda: detector.entered == warm + 1)
        for _ in range(4):
            socket.send_bytes(PICTURE)
        until(lambda: value(made, "mien_stream_frames_total", outcome="skipped") == 3)
        detector.gate.set()
        answers = [socket.receive_json() for _ in range(2)]
        assert [(answer["index"], answer["skipped"]) for answer in answers] == [(0, 0), (4, 3)]
        assert value(made, "mien_streams") == 1
        until(lambda: value(made, "mien_stream_frames_total", outcome="answered") == 2)
    assert value(made, "mien_streams") == 0


@pytest.mark.parametrize("bad", [b"", b"text", PICTURE[:50], bytes(100_000)])
def test_a_bad_frame_is_told_and_the_stream_goes_on(server: Any, bad: bytes) -> None:
    with server.websocket_connect(STREAM) as socket:
        socket.send_bytes(bad)
        answer = socket.receive_json()
        assert answer["index"] == 0
        assert answer["error"].startswith("frame 0: ")
        socket.send_bytes(PICTURE)
        assert len(socket.receive_json()["faces"]) == 2


@pytest.mark.parametrize("text", ["hello", "", "{}"])
def test_text_ends_the_stream(server: Any, text: str) -> None:
    with server.websocket_connect(STREAM) as socket:
        socket.send_text(text)
        assert closed(socket) == 1003


def test_an_oversized_frame_ends_the_stream() -> None:
    with client(limits={"frame_bytes": 1000}) as made, made.websocket_connect(STREAM) as socket:
        socket.send_bytes(bytes(1000))
        assert "error" in socket.receive_json()
        socket.send_bytes(bytes(1001))
        assert closed(socket) == 1009


def test_a_silent_client_is_sent_away() -> None:
    with client(limits={"idle_seconds": 0.05}) as made, made.websocket_connect(STREAM) as socket:
        assert closed(socket) == 1001


def test_more_streams_than_allowed_are_refused_and_a_place_comes_free() -> None:
    with client(limits={"streams": 1}) as made:
        with made.websocket_connect(STREAM) as first:
            first.send_bytes(PICTURE)
            first.receive_json()
            with pytest.raises(WebSocketDenialResponse) as refused, made.websocket_connect(STREAM):
                pass
            assert refused.value.status_code == 503
            assert "retry-after" in refused.value.headers
        until(lambda: value(made, "mien_streams") == 0)
        with made.websocket_connect(STREAM) as second:
            second.send_bytes(PICTURE)
            assert second.receive_json()["index"] == 0


def test_a_full_queue_and_slow_work_are_told() -> None:
    detector = Gated()
    detector.gate.set()
    limits = {"queue": 1, "pictures": 1, "work_seconds": 0.05, "threads": 2}
    with client(Pipeline(detector, Brightness()), limits=limits) as made, made.websocket_connect(STREAM) as socket:
        detector.gate.clear()
        socket.send_bytes(PICTURE)
        assert "took too long" in socket.receive_json()["error"]
        detector.gate.set()
        with made.app.state.serving.engine.admit():
            socket.send_bytes(PICTURE)
            assert "wait already" in socket.receive_json()["error"]
        socket.send_bytes(PICTURE)
        assert [face["box"] for face in socket.receive_json()["faces"]] == [list(LEFT)]


def test_who_leaves_in_the_middle_of_a_frame_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    detector = Gated()
    detector.gate.set()
    with client(Pipeline(detector, Brightness())) as made:
        detector.gate.clear()
        with made.websocket_connect(STREAM) as socket:
            socket.send_bytes(PICTURE)
            until(lambda: made.app.state.serving.engine.inside == 1)
        threading.Timer(0.05, detector.gate.set).start()
        until(lambda: made.app.state.serving.engine.inside == 0)
        with made.websocket_connect(STREAM) as socket:
            socket.send_bytes(PICTURE)
            assert len(socket.receive_json()["faces"]) == 1
    assert caplog.text == ""


def test_other_addresses_take_no_stream(server: Any) -> None:
    for path in ("/", "/v1/predict", "/v1/nothing"):
        with pytest.raises((WebSocketDisconnect, WebSocketDenialResponse)), server.websocket_connect(path):
            pass
