"""A real `mien serve`: slow and broken clients, what it prints, and how it ends."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import cv2
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from mien import ConfigError, cli
from test_pipeline import PORTRAIT

TOKEN = "secret-token"
HEAD = f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
FORM = "Content-Type: multipart/form-data; boundary=x\r\n"


@dataclass
class Served:
    process: subprocess.Popen[str]
    port: int
    log: Path

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def talk(self, *pieces: str, pause: float = 0.0) -> tuple[bytes, float]:
        """Send pieces with pauses between them; all that came back, and the seconds until the server closed."""
        start = monotonic()
        with self.connect() as line:
            try:
                for piece in pieces:
                    line.sendall(piece.encode())
                    sleep(pause)
                return b"".join(iter(lambda: line.recv(65536), b"")), monotonic() - start
            except (ConnectionResetError, BrokenPipeError):
                return b"", monotonic() - start

    def post(self, body: bytes) -> tuple[int, bytes]:
        headers = {"Content-Type": "multipart/form-data; boundary=x", "Authorization": f"Bearer {TOKEN}"}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as made:
            made.request("POST", "/v1/predict", body, headers)
            answer = made.getresponse()
            return answer.status, answer.read()


def form(picture: bytes, name: bytes = b"private.jpg") -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="pictures"; filename="' + name + b'"\r\n\r\n'
    return head + picture + b"\r\n--x--\r\n"


def noise(side: int) -> bytes:
    return cv2.imencode(".png", np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8))[1].tobytes()


@contextmanager
def serving(log: Path, *flags: str, token: str | None = TOKEN, cwd: Path | None = None) -> Iterator[Served]:
    """A server of its own on any free port, ready; killed in the end if it still runs.

    `token` is what MIEN_TOKEN holds; `cwd` is also the folder for temporary files.
    """
    command = [sys.executable, "-m", "mien", "serve", "--port", "0", *flags]
    environment = {key: value for key, value in os.environ.items() if key != "MIEN_TOKEN"}
    if cwd:
        environment |= {"TMPDIR": str(cwd), "HOME": str(cwd)}
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True,
            env=environment | ({"MIEN_TOKEN": token} if token else {}), cwd=cwd,
        ) as process,
    ):  # fmt: skip
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
            assert found, line + log.read_text()
            made = Served(process, int(found[1]), log)
            end = monotonic() + 60
            while monotonic() < end and b"200 OK" not in made.talk("GET /ready HTTP/1.0\r\nHost: localhost\r\n\r\n")[0]:
                sleep(0.1)
            yield made
        finally:
            process.kill()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("serve") / "log.txt", "--header-seconds", "2", "--read-seconds", "1") as made:
        yield made


def test_a_picture_is_answered_to_who_has_the_token_of_the_environment(served: Served) -> None:
    assert b" 401 " in served.talk("GET /v1/model HTTP/1.0\r\nHost: localhost\r\n\r\n")[0]
    status, content = served.post(form(PORTRAIT.read_bytes()))
    assert status == 200
    assert json.loads(content)["results"][0]["faces"][0]["emotion"] == "happy"


@pytest.mark.parametrize(
    "pieces",
    [(), ("POST /v1/pre",), (HEAD,), tuple(HEAD)],
    ids=["silent", "part of a line", "part of the headers", "drop by drop"],
)
def test_headers_that_come_too_slowly_end_the_connection(served: Served, pieces: tuple[str, ...]) -> None:
    came, seconds = served.talk(*pieces, pause=0.05)
    assert came == b""
    assert seconds < 10


def test_a_second_request_on_the_same_connection_has_the_deadline_too(served: Served) -> None:
    first = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    came, seconds = served.talk(first, *("GET /health HTTP/1.1\r\nX: " + "y" * 60), pause=0.05)
    assert came.count(b"200 OK") <= 1  # it may be lost when the connection is reset
    assert seconds < 10


@pytest.mark.parametrize("pieces", [1, 60])
def test_a_body_that_comes_too_slowly_is_408(served: Served, pieces: int) -> None:
    with served.connect() as line:
        line.sendall((HEAD + FORM + "Content-Length: 1000\r\n\r\n--x\r\nA: ").encode())
        stop = threading.Event()

        def drip() -> None:
            for _ in range(pieces):
                if stop.wait(0.1):
                    return
                try:
                    line.sendall(b"b")
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        answer = line.recv(65536)
        stop.set()
        dripping.join()
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in answer.lower()


def test_who_sends_too_much_still_reads_the_answer(served: Served) -> None:
    assert served.post(form(bytes(17_000_000)))[0] == 413


def test_a_body_over_the_limit_is_refused_before_it_is_sent(served: Served) -> None:
    with served.connect() as line:
        line.sendall((HEAD + FORM + "Expect: 100-continue\r\nContent-Length: 40000000\r\n\r\n").encode())
        assert line.recv(65536).startswith(b"HTTP/1.1 413")


def test_who_hangs_up_in_the_middle_does_no_harm(served: Served) -> None:
    for _ in range(3):
        with served.connect() as line:
            line.sendall((HEAD + FORM + "Content-Length: 1000\r\n\r\n--x\r\n").encode())
    assert served.post(form(PORTRAIT.read_bytes()))[0] == 200


def test_who_takes_no_answer_is_cut_off(served: Served) -> None:
    body = form(noise(1900))  # more than the system's buffers hold
    head = HEAD.replace("predict", "annotate?format=png") + FORM + f"Content-Length: {len(body)}\r\n\r\n"
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.settimeout(20)
        line.connect(("127.0.0.1", served.port))
        line.sendall(head.encode() + body)
        line.recv(1, socket.MSG_PEEK)
        sleep(2)
        came = b"".join(iter(lambda: line.recv(1 << 20), b""))
    length = re.search(rb"content-length: (\d+)", came)
    assert came.startswith(b"HTTP/1.1 200")
    assert length is not None
    assert len(came) < int(length[1])


@pytest.mark.parametrize(
    "request_line", ["\x00\x01\x02\r\n\r\n", "GET / HTTP/9.9\r\nConnection: close\r\n\r\n", "GET /" + "a" * 100_000]
)
def test_what_is_not_http_is_refused(served: Served, request_line: str) -> None:
    came, _ = served.talk(request_line)
    assert came.startswith((b"HTTP/1.1 400", b"HTTP/1.1 421")) or came == b""
    assert served.post(form(PORTRAIT.read_bytes()))[0] == 200


def test_a_stream_over_a_real_socket(served: Served) -> None:
    address = f"ws://127.0.0.1:{served.port}/v1/stream?token={TOKEN}"
    with connect(address) as line:
        for _ in range(2):
            line.send(PORTRAIT.read_bytes())
            assert [face["id"] for face in json.loads(line.recv())["faces"]] == [1]
        with pytest.raises(ConnectionClosed) as caught:
            line.send(bytes(5_000_000))
            line.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1009
    assert "permessage-deflate" not in line.response.headers.get("Sec-WebSocket-Extensions", "")  # type: ignore[union-attr]


def test_neither_names_nor_tokens_are_logged(served: Served) -> None:
    with connect(f"ws://127.0.0.1:{served.port}/v1/stream?token={TOKEN}"):
        pass
    served.post(form(b"no picture"))
    text = served.log.read_text()
    assert TOKEN not in text
    assert "private" not in text
    assert "Traceback" not in text


def test_the_token_may_be_given_on_the_command_line_and_goes_before_the_environment_s(tmp_path: Path) -> None:
    with serving(tmp_path / "log.txt", "--token", "from-the-flag", token="from-the-environment") as made:
        for given, status in (("from-the-flag", 200), ("from-the-environment", 401), ("", 401)):
            request = f"GET /v1/model HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer {given}\r\n\r\n"
            assert f" {status} ".encode() in made.talk(request)[0][:20]


NAMES = {
    b"../../../x.jpg": "x.jpg",
    b"/x/../../x.jpg": "x.jpg",
    b"C:\\x\\x.jpg": "x.jpg",
    b"x\0.jpg": None,
    b"x\nSet-Cookie: a=b.jpg": None,
    b"x\r\nX-Other: b.jpg": None,
    b"%2e%2e%2fx.jpg": "%2e%2e%2fx.jpg",
    b"x\x1b[31m\xff.jpg": None,
    b"": "",
    b"..": "..",
    b"|touch x": "|touch x",
    b"$(touch x)": "$(touch x)",
    b"<img src=x onerror=alert(1)>.jpg": None,
    b"x" * 2000: "x" * 100,
    b"x" * 9000: None,
    "\u202egpj.x".encode(): "?gpj.x",
}


def test_names_of_a_form_s_files_touch_no_file_and_are_shown_harmless(tmp_path: Path) -> None:
    inside = tmp_path / "a/b/c"
    inside.mkdir(parents=True)
    with serving(tmp_path / "log.txt", cwd=inside) as made:
        before = sorted(tmp_path.rglob("*"))
        for given, shown in NAMES.items():
            status, content = made.post(form(PORTRAIT.read_bytes(), given))
            assert status in ((200,) if shown is not None else (200, 422)), given
            if status == 200:
                name = json.loads(content)["results"][0]["name"]
                assert shown is None or name == shown
                assert name.isprintable() and not set(name) & set("/\\") and len(name) <= 100
            made.post(form(b"no picture", given))
            assert sorted(tmp_path.rglob("*")) == before
        assert "jpg" not in made.log.read_text()


def test_connections_over_the_limit_are_refused_like_all_else_and_counted(tmp_path: Path) -> None:
    with serving(tmp_path / "log.txt", "--connections", "2") as made:
        request = "GET {} HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer " + TOKEN + "\r\n\r\n"
        with made.connect() as first, made.connect() as second:
            for line in (first, second):
                line.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert line.recv(65536).startswith(b"HTTP/1.1 200")
            for path in ("/v1/model", "/", "/metrics"):
                came = made.talk(request.format(path))[0].decode()
                head, _, content = came.partition("\r\n\r\n")
                assert head.startswith("HTTP/1.1 503")
                assert "too many connections" in json.loads(content)["detail"]
                for header in ("retry-after: 1", "connection: close", "x-frame-options: deny"):
                    assert header in head.lower()
            assert b"200 OK" in made.talk(request.format("/health"))[0]  # it lives
            with pytest.raises(InvalidStatus) as caught, connect(f"ws://127.0.0.1:{made.port}/v1/stream?token={TOKEN}"):
                pass
            assert caught.value.response.status_code == 503
        end = monotonic() + 20
        while b" 503 " in (came := made.talk(request.format("/metrics"))[0])[:20]:
            assert monotonic() < end
        assert re.search(rb'mien_requests_total\{method="GET",route="other",status="503"\} [3-9]', came)


def test_sigterm_finishes_what_was_taken(served: Served) -> None:
    # Large enough to be under way when the signal comes.
    large = noise(1500)
    made = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    made.request(
        "POST", "/v1/predict", form(large),
        {"Content-Type": "multipart/form-data; boundary=x", "Authorization": f"Bearer {TOKEN}"},
    )  # fmt: skip
    with connect(f"ws://127.0.0.1:{served.port}/v1/stream?token={TOKEN}") as line:
        served.process.send_signal(signal.SIGTERM)
        answer = made.getresponse()
        assert answer.status == 200
        assert json.loads(answer.read())["results"][0]["width"] == 1500
        with pytest.raises(ConnectionClosed) as caught:
            line.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1012  # the service restarts
    assert served.process.wait(30) == -signal.SIGTERM
    made.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_what_the_document_asks_with_curl_is_answered(tmp_path: Path) -> None:
    document = (Path(__file__).parents[1] / "docs/serve.md").read_text("utf-8")
    commands = re.findall(r"^curl .*$", document, re.M)
    assert len(commands) > 8
    (tmp_path / "photo.jpg").write_bytes(PORTRAIT.read_bytes())
    with serving(tmp_path / "log.txt") as made:
        for command in commands:
            asked = command.replace("curl", "curl --fail --silent --show-error", 1).replace(":8000/", f":{made.port}/")
            subprocess.run(["bash", "-c", asked], cwd=tmp_path, env=os.environ | {"MIEN_TOKEN": TOKEN}, check=True)
    assert cv2.imread(str(tmp_path / "drawn.png")).shape == (512, 512, 3)


def test_the_document_s_program_follows_a_face(tmp_path: Path) -> None:
    document = (Path(__file__).parents[1] / "docs/serve.md").read_text("utf-8")
    program = document.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "photo.jpg").write_bytes(PORTRAIT.read_bytes())
    with serving(tmp_path / "log.txt") as made:
        ran = subprocess.run(
            [sys.executable, "-c", program.replace(":8000/", f":{made.port}/")],
            cwd=tmp_path, env=os.environ | {"MIEN_TOKEN": TOKEN}, capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert ran.stdout.splitlines() == [f"{k} 0 [(1, 'happy')]" for k in range(3)]


def test_without_a_token_it_does_not_start_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MIEN_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="MIEN_TOKEN"):
        cli.app(["serve", "--host", "0.0.0.0", "--port", "0"], result_action="return_value")
