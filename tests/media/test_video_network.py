"""Videos on servers: with parts or without, of known length or not, cut off and stalling."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest
from media_files import number, serve, write_video

from mien.errors import VideoError
from mien.media.http_file import HttpFile
from mien.media.video_reader import VideoReader

TIMES = [k / 30 for k in range(60)]
# One that can be read from the front, and one whose index comes last.
CONTAINERS = {"front": {"movflags": "faststart"}, "back": {}}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("videos")
    made = {}
    for name, container in CONTAINERS.items():
        options = {"g": "10", "crf": "10"}
        made[name] = write_video(folder / f"{name}.mp4", TIMES, options=options, container=container).read_bytes()
    for suffix, codec in ((".mkv", "libx264"), (".ts", "libx264"), (".avi", "mpeg4")):
        made[suffix] = write_video(folder / f"a{suffix}", TIMES, codec, ticks=30).read_bytes()
    return made


def read(url: str, timeout: float = 5.0) -> tuple[list[int], str]:
    """Return the numbers that the frames show, and the message of the error that ended them, or ""."""
    seen: list[int] = []
    try:
        for frame in VideoReader(url, timeout):
            seen.append(number(frame.bgr()))
            assert frame.index == len(seen) - 1
    except VideoError as error:
        return seen, str(error)
    return seen, ""


@pytest.mark.parametrize("name", ["front", "back", ".mkv", ".ts", ".avi"])
@pytest.mark.parametrize("ranges", [True, False])
def test_servers_with_and_without_ranges_are_read(videos: dict[str, bytes], name: str, ranges: bool) -> None:
    with serve(videos[name], ranges) as (url, asked):
        assert read(url) == (list(range(60)), "")
        if not ranges:
            assert len(asked) == 1


@pytest.mark.parametrize("name", ["front", ".mkv", ".ts"])
def test_response_of_unknown_length_is_read(videos: dict[str, bytes], name: str) -> None:
    with serve(videos[name], length=False) as (url, _):
        assert read(url) == (list(range(60)), "")


@pytest.mark.parametrize("name", ["front", ".mkv", ".ts", ".avi"])
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("length", [True, False])
def test_broken_connection_is_an_error_after_the_frames(
    videos: dict[str, bytes], name: str, ranges: bool, length: bool
) -> None:
    with serve(videos[name], ranges, length, stop_at=len(videos[name]) * 3 // 4) as (url, _):
        seen, error = read(url)
    assert 20 < len(seen) < 60
    assert seen[:-1] == list(range(len(seen) - 1))
    assert "broke off" in error and "try again" in error


def test_broken_connection_before_the_index_is_an_error(videos: dict[str, bytes]) -> None:
    with serve(videos["back"], stop_at=len(videos["back"]) // 2) as (url, _):
        assert read(url)[1].endswith("(the connection broke off); check the address and the network")


def test_stalled_server_times_out(videos: dict[str, bytes]) -> None:
    with serve(videos["front"], stop_at=len(videos["front"]) // 2, stall=threading.Event()) as (url, _):
        seen, error = read(url, timeout=0.3)
    assert 10 < len(seen) < 60
    assert "does not answer in time" in error


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_silent_server_times_out(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"{scheme}://me:secret@127.0.0.1:{server.getsockname()[1]}/a.mp4"
        with pytest.raises(VideoError, match=rf"^{scheme}://\*\*\*@127.0.0.1:\d+/a.mp4: no video can be opened"):
            VideoReader(url, timeout=0.3)


def test_refusal_of_the_server_is_named() -> None:
    with pytest.raises(VideoError, match=r"^http://\*\*\*@127.0.0.1:9/a.mp4: .*refused.*check the address") as caught:
        VideoReader("http://me:secret@127.0.0.1:9/a.mp4")
    assert "secret" not in str(caught.value)
    with pytest.raises(VideoError, match="no video can be opened there"):
        VideoReader("strange://127.0.0.1/a.mp4")


def test_close_ends_a_read_that_waits_for_the_server(videos: dict[str, bytes]) -> None:
    ended = threading.Event()
    with serve(videos["front"], stop_at=len(videos["front"]) // 2, stall=threading.Event()) as (url, _):
        video = VideoReader(url, timeout=30)

        def run() -> None:
            for _ in video:
                pass
            ended.set()

        thread = threading.Thread(target=run)
        thread.start()
        time.sleep(0.2)  # until it waits
        video.close()
        assert ended.wait(5)
        thread.join()


def test_password_is_sent_to_the_server_only(tmp_path: Path) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer

    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            allowed = self.headers.get("Authorization", "")
            seen.append(allowed)
            self.send_response(200 if allowed else 401)
            if not allowed:
                self.send_header("WWW-Authenticate", 'Basic realm="videos"')
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"abcd")

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    file = HttpFile(f"http://me:s%40crt@127.0.0.1:{server.server_port}/a b.mp4", 5)
    assert file.read(10) == b"abcd" and file.read(10) == b"" and file.error == ""
    file.close()
    server.shutdown()
    server.server_close()
    thread.join()
    assert seen == ["", "Basic bWU6c0BjcnQ="]


@pytest.mark.parametrize("ranges", [True, False])
def test_any_part_of_a_file_can_be_read(ranges: bool) -> None:
    data = bytes(k * 7919 % 251 for k in range(900_000))
    with serve(data, ranges) as (url, _):
        file = HttpFile(url, 5)
        assert file.size == len(data) and file.seekable()
        for at, size in ((0, 100), (600_000, 50), (10, 70_000), (899_990, 100), (300, 5), (301, 4), (900_000, 8)):
            file.seek(at)
            found = b""
            while len(found) < size and (block := file.read(size - len(found))):
                found += block
            assert found == data[at : at + size]
            assert file.tell() == min(at + size, len(data))
        assert file.error == ""
        file.close()
