"""Malformed requests to a real `mien serve`, the same in each run: no 5xx but 503, no hang, and it keeps serving."""

from __future__ import annotations

import base64
import http.client
import importlib
import json
import re
import select
import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from test_serve import encoded, halves, png
from test_server import FORM, HEAD, TOKEN, Served, form, serving

from test_pipeline import PORTRAIT

BOUND = 600  # seconds; answers take a few, but many on a busy machine
SUDDEN = 1000  # bytes of a slow request that are sent at once
MARK = b"\r\n\r\n"
JSON = "Content-Type: application/json\r\n"
FORMATS = {suffix: encoded(halves(), suffix) for suffix in (".png", ".jpg", ".bmp", ".webp", ".tiff", ".ppm", ".gif")}
OTHERS = {
    "zip": b"PK\x03\x04" + bytes(60),
    "pdf": b"%PDF-1.7\n",
    "elf": b"\x7fELF" + bytes(60),
    "text": b"hello",
    "html": b"<script>alert(1)</script>",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "gzip": b"\x1f\x8b\x08",
    "mp4": b"\0\0\0\x18ftypmp42" + bytes(60),
    "exr": b"v/1\x01" + bytes(60),
    "jp2": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60),
    "hdr": b"#?RADIANCE\n\n-Y 9 +X 9\n",
    "pfm": b"PF\n9 9\n-1\n",
    "noise": np.random.default_rng(0).bytes(5000),
    "null": bytes(5000),
}
BODIES = (
    b"[" * 100_000,
    b'{"images":' * 100_000,
    b"9" * 100_000,
    b'{"images": 1e999}',
    b'{"images": [NaN]}',
    b'{"images": [{"data": "=="}]}',
    b'{"images": [{"data": "data:"}]}',
    b'{"images": [[[]]]}',
    b'{"images": [' + b"{}," * 5000 + b"{}]}",
    b'{"images": [{"data": "", "data": 1}]}',
    b'{"images": [{"data": "' + b"A" * 99_999 + b'"}]}',
    b'{"images": [{"data": "\\ud800"}]}',
    b"null",
    b'"x"',
    b"{\0}",
    b"\xff" * 99,
    b"\xef\xbb\xbf{}",
)
CHUNKS = (
    "zz\r\n",
    "-5\r\nabc",
    "f" * 17 + "\r\n",
    "5\r\nabcdefgh\r\n0\r\n\r\n",
    "5;" + "x" * 70_000,
    "\r\n",
    "0x5\r\n",
)
LOCAL = "Host: localhost\r\n"
LINES = (
    "GET\r\n\r\n",
    "\r\n" * 4,
    "GET / HTTP/3.0\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "GET /%zz HTTP/1.1\r\n\r\n",
    f"GET /\xe4 HTTP/1.1\r\n{LOCAL}\r\n",
    f"GET /health HTTP/1.1\r\n{LOCAL}" + "a: b\r\n" * 9999 + "\r\n",
    f"GET /health HTTP/1.1\r\n{LOCAL} folded: x\r\n\r\n",
    "GET /health HTTP/1.1\nHost: localhost\n\n",
    "GET /health HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "GET /health HTTP/1.1\r\nHo\0st: localhost\r\n\r\n",
    f"GET http://localhost:x/health HTTP/1.1\r\n{LOCAL}\r\n",
    f"CONNECT a:1 HTTP/1.1\r\n{LOCAL}\r\n",
    f"TRACE / HTTP/1.1\r\n{LOCAL}\r\n",
    f"OPTIONS * HTTP/1.1\r\n{LOCAL}\r\n",
    f"GET /?{'%00' * 999} HTTP/1.0\r\n{LOCAL}\r\n",
    f"POST /v1/predict?crops=%ff HTTP/1.0\r\n{LOCAL}\r\n",
    f"GET /models/%2e%2e%2fx.onnx HTTP/1.0\r\n{LOCAL}\r\n",
    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
)
Random = np.random.Generator


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    limits = ("--header-seconds", "2", "--read-seconds", "1", "--idle-seconds", "2", "--work-seconds", "600")
    with serving(tmp_path_factory.mktemp("serve") / "log.txt", *limits) as running:
        yield running


# HTTP


@dataclass(frozen=True)
class Sent:
    """A request as bytes.

    Attributes:
        raw: the whole request.
        statuses: accepted answers; empty for anything but a 5xx, also no answer.
        drip: seconds between the bytes after the first SUDDEN ones.
    """

    raw: bytes
    statuses: tuple[int, ...] = ()
    drip: float = 0.0


def post(body: bytes, kind: str = FORM, path: str = "/v1/predict", length: str | None = None, **more: Any) -> Sent:
    size = f"Content-Length: {len(body) if length is None else length}\r\n"
    head = HEAD.replace("/v1/predict", path) + kind + size + "\r\n"
    return Sent(head.encode("latin-1") + body, **more)


def part(content: bytes, name: str = "a.jpg", kind: str = "") -> bytes:
    """A form of one file."""
    media_type = f"Content-Type: {kind}\r\n" if kind else ""
    head = f'--x\r\nContent-Disposition: form-data; name="images"; filename="{name}"\r\n{media_type}\r\n'
    return head.encode() + content + b"\r\n--x--\r\n"


def truncated(random: Random) -> Iterator[Sent]:
    for suffix, whole in FORMATS.items():
        for end in (0, 1, 8, *random.integers(9, len(whole) - 8, 3)):
            yield post(part(whole[:end], f"cut{suffix}"), statuses=(200, 422))  # some decoders accept truncated files


def damaged(random: Random) -> Iterator[Sent]:
    for whole in FORMATS.values():
        for _ in range(4):
            bad = bytearray(whole)
            for at in random.integers(0, min(len(whole), 2000), 12):
                bad[at] = random.integers(256)
            path = random.choice(["/v1/predict", "/v1/predict?crops=true", "/v1/annotate"])
            yield post(part(bytes(bad)), path=str(path), statuses=(200, 422))


def mislabelled(random: Random) -> Iterator[Sent]:
    suffixes = list(FORMATS)
    for suffix, whole in FORMATS.items():
        wrong = suffixes[(suffixes.index(suffix) + 1) % len(suffixes)]
        yield post(part(whole, f"a{wrong}", f"image/{wrong[1:]}"), statuses=(200,))
        yield post(part(whole, f"a{suffix}", "text/html; charset=utf-7"), statuses=(200,))
    for name, content in OTHERS.items():
        for claimed in ("jpg", "png"):
            yield post(part(content, f"{name}.{claimed}", f"image/{claimed}"), statuses=(422,))


def jpeg(width: int, height: int) -> bytes:
    """A JPEG that declares the wrong size."""
    whole = FORMATS[".jpg"]
    at = whole.index(b"\xff\xc0") + 5
    return whole[:at] + struct.pack(">HH", height, width) + whole[at + 4 :]


def bombs(random: Random) -> Iterator[Sent]:
    for side in (5001, 20_000, 65_535, 2**31 - 1):
        for size in ((side, side), (side, 2**31 - 1)):
            yield post(part(png(*size, zlib.compress(bytes(1_000_000), 9))), statuses=(422,))
    for size in ((65_535, 65_535), (65_500, 65_500), (30_000, 30_000)):
        yield post(part(jpeg(*size)), statuses=(422,))
    for side in (50_000, 2**31 - 1, -1):
        bad = bytearray(FORMATS[".bmp"])
        bad[18:26] = struct.pack("<ii", side, side)
        yield post(part(bytes(bad)), statuses=(422,))
    yield post(part(b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\0;"), statuses=(422,))
    yield post(part(b"P6\n99999 99999\n255\n"), statuses=(422,))
    yield post(part(b"P5 " + b"9" * 3000 + b" 1 255 "), statuses=(422,))
    white = zlib.compress(bytes(4900 * 4901), 9)  # 24 MB in 24 kB: within the limit of pixels
    yield post(part(png(4900, 4900, white)), statuses=(200,))
    yield post(part(png(4900, 4900, white)).removesuffix(b"--x--\r\n") * 15 + part(b"text"), statuses=(200,))
    text = FORMATS[".png"]
    chunk = b"zTXtkey\0\0" + zlib.compress(bytes(30_000_000), 9)
    packed = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    yield post(part(text[:33] + packed + text[33:]), statuses=(200, 422))
    for kind in ("gzip", "deflate", "br"):
        bomb = zlib.compress(bytes(10_000_000), 9)
        yield post(bomb, JSON + f"Content-Encoding: {kind}\r\n", statuses=(415,))
    yield post(b"--x\r\n\r\n" * 20_000, statuses=(422,))
    yield post(part(b"text").removesuffix(b"--\r\n") * 17, statuses=(422,))
    yield post(part(bytes(17_000_000)), statuses=(413,))


def forms(random: Random) -> Iterator[Sent]:
    whole = part(FORMATS[".png"])
    for end in (2, 5, 30, 60, 100, *random.integers(101, len(whole) - 8, 5)):
        yield post(whole[:end], statuses=(422,))
    for _ in range(12):  # damaged head of the part
        bad = bytearray(whole)
        for at in random.integers(0, whole.index(MARK) + 4, 3):
            bad[at] = random.integers(256)
        yield post(bytes(bad), statuses=(200, 422))
    for name in ('"', "\0", "\r\nX: y", "=?utf-8?b?Li4v?=", "%22", "\\", "a" * 70_000, "\xed\xb3\xbf"):
        yield post(part(b"text", name), statuses=(422,))
    for kind in (
        "form-data", "form-data; boundary=", f"form-data; boundary={'x' * 300}", 'form-data; boundary="x',
        "mixed; boundary=x", "form-data; boundary=x; boundary=z", "form-data; boundary*=utf-8''x",
    ):  # fmt: skip
        yield post(whole, f"Content-Type: multipart/{kind}\r\n", statuses=(200, 415, 422))
    yield post(whole.replace(b"\r\n", b"\n"), statuses=(422,))
    yield post(b"\r\n" * 1000 + whole, statuses=(200, 422))


def texts(random: Random) -> Iterator[Sent]:
    whole = json.dumps({"images": [{"name": "a", "data": base64.b64encode(FORMATS[".png"]).decode()}]}).encode()
    for end in (0, 1, 10, 14, *random.integers(15, len(whole) - 1, 6)):
        yield post(whole[:end], JSON, statuses=(422,))
    for _ in range(8):
        bad = bytearray(whole)
        for at in random.integers(0, 40, 3):
            bad[at] = random.integers(256)
        yield post(bytes(bad), JSON, statuses=(200, 422))
    for body in (*BODIES, whole.decode().encode("utf-16"), whole + b"x"):
        yield post(body, JSON, statuses=(413, 422))


def labels(random: Random) -> Iterator[Sent]:
    """Wrong content types and lengths."""
    whole = part(FORMATS[".png"])
    for kind in (
        "",
        "image/png",
        "text/plain",
        "a",
        "application/x-www-form-urlencoded",
        "application/json2",
        "\xff\xfe",
    ):
        yield post(whole, f"Content-Type: {kind}\r\n", statuses=(415,))
    yield post(whole, "", statuses=(415,))
    yield post(whole, JSON, statuses=(422,))
    for length in ("-1", "1e3", "0x10", " ", "1, 2", "9" * 30, "\xb2", "18446744073709551616", "+5"):
        yield post(whole, length=length, statuses=(400, 413))
    yield post(whole, FORM + "Content-Length: 5\r\n", statuses=(400,))
    for short in (0, 1, 50, len(whole) - 9):  # the rest is read as another request
        yield post(whole, length=str(short), statuses=(422,))
    yield post(whole, length=str(len(whole) + 1), statuses=(408,))
    chunked = HEAD + FORM + "Transfer-Encoding: chunked\r\n\r\n"
    for body in CHUNKS:
        yield Sent((chunked + body).encode(), statuses=(400, 408, 422))
    yield Sent(chunked.replace("multipart", "other").encode() + b"5\r\nabcdefgh" * 3, statuses=(400, 415))
    for coding in ("gzip", "chunked, gzip", "identity", "chunked\r\nContent-Length: 3", "\x0bchunked"):
        raw = HEAD + FORM + f"Transfer-Encoding: {coding}\r\n\r\n0\r\n\r\n"
        yield Sent(raw.encode(), statuses=(400, 422, 501))


def lines(random: Random) -> Iterator[Sent]:
    """Malformed HTTP."""
    for raw in LINES:
        yield Sent(raw.encode("latin-1"))
    for _ in range(8):
        yield Sent(random.bytes(300) + b"\r\n\r\n")


def slow(random: Random) -> Iterator[Sent]:
    """Bodies that arrive byte by byte, longer than the deadline."""
    for suffix, whole in FORMATS.items():
        yield post(part(whole + bytes(4000), f"slow{suffix}"), drip=0.05, statuses=(408,))
    yield post(b'{"images": [{"data": "' + b"A" * 3000, JSON, drip=0.05, statuses=(408,))
    yield post(b"--x\r\nA: ", length="1000", drip=0.05, statuses=(408,))


KINDS: list[Callable[[Random], Iterator[Sent]]] = [
    truncated, damaged, mislabelled, bombs, forms, texts, labels, lines, slow,
]  # fmt: skip


def answer(served: Served, sent: Sent) -> int:
    """Return the status of the answer, or 0 when the server closes without one."""
    start = monotonic()
    with served.connect() as line:
        line.settimeout(BOUND)
        try:
            line.sendall(sent.raw[:SUDDEN] if sent.drip else sent.raw)
            rest = iter(sent.raw[SUDDEN:])
            while sent.drip and not select.select([line], [], [], sent.drip)[0]:
                line.sendall(bytes([next(rest, 65)]))
                assert monotonic() - start < BOUND
            received = http.client.HTTPResponse(line)
            received.begin()
            received.read()
            return received.status
        except ConnectionError:  # also http.client's error for a closed connection
            return 0


def assert_still_serving(served: Served) -> None:
    assert b" 200 OK" in served.talk("GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")[0]
    status, content = served.post(form(PORTRAIT.read_bytes()))
    assert status == 200
    assert len(json.loads(content)["results"][0]["faces"]) == 1
    assert "Traceback" not in served.log.read_text()


def test_flood_of_unread_pings_is_stopped(served: Served) -> None:
    flood = frame(PING, bytes(125)) * 1000
    sent = 0
    with served.connect() as line, pytest.raises(ConnectionError):
        line.settimeout(BOUND)
        line.sendall(f"{UPGRADE}\r\n".encode())
        assert line.recv(12) == b"HTTP/1.1 101"
        while sent < 1 << 30:
            sent += line.send(flood)
    assert sent < 100_000_000  # the buffers of the system
    assert memory(served) < 600_000_000
    assert_still_serving(served)


def memory(served: Served) -> int:
    """Return the memory of the server, in bytes."""
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)) as connection:
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        text = connection.getresponse().read().decode()
    match = re.search(r"^process_resident_memory_bytes (\S+)", text, re.M)
    assert match
    return int(float(match[1]))


def test_false_lengths_in_an_image_take_no_memory(served: Served) -> None:
    whole, webp = FORMATS[".png"], FORMATS[".webp"]
    images = (
        png(48, 48)[:33] + b"\xff\xff\xff\xf0IDATIEND",  # a chunk of 4 GB
        whole[:33] + b"\x7f\xff\xff\xfftEXt" + whole[33:],
        webp[:16] + b"\xf0\xff\xff\xff" + webp[20:],
    )
    answer(served, post(part(whole)))  # what decoders take once
    before = peak_memory(served)
    for image in images:
        for path in ("/v1/predict", "/v1/predict?crops=true", "/v1/annotate"):
            assert answer(served, post(part(image), path=path)) == 422
    assert peak_memory(served) < before + 100_000_000
    assert_still_serving(served)


def peak_memory(served: Served) -> int:
    """Return the largest memory that the server had, in bytes."""
    status = Path(f"/proc/{served.process.pid}/status")
    if not status.exists():
        pytest.skip("the peak is read from /proc")
    match = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    assert match
    return 1024 * int(match[1])


def test_broken_body_after_the_answer_closes_only_its_connection(served: Served) -> None:
    head = HEAD.replace("/v1/predict", "/v1/nothing") + "Transfer-Encoding: chunked\r\n\r\n"
    for late in (b"zz\r\n", b"5\r\nabcdefgh", b"\0" * 99):
        with served.connect() as line:
            line.sendall(head.encode())
            received = http.client.HTTPResponse(line)
            received.begin()
            assert received.status == 405
            received.read()
            line.sendall(late)
            with suppress(ConnectionResetError):
                assert line.recv(65536) == b""
    assert_still_serving(served)


# WebSocket

UPGRADE = (
    f"GET /v1/stream?token={TOKEN} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def frame(opcode: int, data: bytes = b"", first: int = 0x80, masked: bool = True, length: int | None = None) -> bytes:
    """Encode a WebSocket frame; `first` holds the bits before the opcode, by default FIN alone."""
    size = len(data) if length is None else length
    short = size if size < 126 else 126 if size < 65536 else 127
    extended = b"" if short < 126 else struct.pack(">H" if short == 126 else ">Q", size)
    mask = b"\x01\x02\x03\x04" if masked else b""
    if masked:
        data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
    return bytes([first | opcode, short | 0x80 * masked]) + extended + mask + data


def reserved() -> Iterator[bytes]:
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        yield frame(opcode, b"x")
    for bit in (0x40, 0x20, 0x10, 0x70):
        yield frame(BINARY, b"x", first=0x80 | bit)
        yield frame(PING, b"", first=0x80 | bit)


IMAGE = FORMATS[".jpg"]
MANY = 10_000
BAD_FRAMES: dict[str, tuple[int, list[bytes]]] = {  # the close code, and frames that cause it
    "reserved opcodes and bits": (1002, list(reserved())),
    "unmasked": (1002, [frame(kind, b"x", masked=False) for kind in (TEXT, BINARY, PING, PONG, CLOSE)]),
    "long control frames": (1002, [frame(kind, bytes(size)) for kind in (PING, PONG, CLOSE) for size in (126, 70_000)]),
    "control frames in parts": (1002, [frame(kind, b"xx", first=0) for kind in (PING, PONG, CLOSE)]),
    "parts of nothing": (1002, [frame(0, b"x"), frame(0, b"x", first=0)]),
    "a frame within another": (1002, [frame(BINARY, b"x", first=0) + frame(kind, b"y") for kind in (TEXT, BINARY)]),
    "close with half a code": (1002, [frame(CLOSE, b"\x03")]),
    "close with a code that there is not": (
        1002, [frame(CLOSE, struct.pack(">H", code)) for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 65535)]
    ),
    "bad UTF-8": (1007, [frame(TEXT, data) for data in (b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80")]),
    "bad UTF-8 over two frames": (1007, [frame(TEXT, b"\xc3", first=0) + frame(0, b"\x28")]),
    "text": (1003, [frame(TEXT, b"{}"), frame(TEXT), frame(TEXT, b"a", first=0) + frame(PING) + frame(0, b"b")]),
    "too long": (1009, [frame(BINARY, length=size) for size in (2**24, 2**40, 2**63 - 1)]),
    "longer than any": (1009, [frame(BINARY, length=2**64 - 1)]),
    "parts without end": (1009, [frame(BINARY, b"x", first=0) + frame(0, bytes(60_000), first=0) * 140]),
    "empty parts without end": (1001, [frame(BINARY, b"x", first=0) + frame(0, first=0) * 1024]),
    "cut off": (
        1001,
        [b"\x82", frame(BINARY)[:2], frame(BINARY, IMAGE)[:50], frame(TEXT, b"x", first=0), frame(BINARY, length=9)],
    ),
    "nothing but pings": (1001, [frame(PING, b"x") * MANY, frame(PONG, b"x") * MANY]),
    "close": (1000, [frame(CLOSE, struct.pack(">H", 1000)) + frame(BINARY, IMAGE)]),
}  # fmt: skip


def closed(served: Served, frames: bytes) -> int:
    """Return the code with which the server closes a stream after these frames, or 0 for none."""
    with served.connect() as line:
        line.settimeout(BOUND)
        line.sendall(f"{UPGRADE}\r\n".encode())
        received = line.makefile("rb")
        assert received.readline().startswith(b"HTTP/1.1 101")
        while received.readline() != b"\r\n":
            pass
        try:
            line.sendall(frames)
            while head := received.read(2):
                data = received.read(_length(head, received))
                if head[0] & 15 == CLOSE:
                    return int.from_bytes(data[:2], "big")
        except ConnectionError:
            pass
        return 0


def _length(head: bytes, received: BinaryIO) -> int:
    size = head[1] & 127
    return size if size < 126 else int.from_bytes(received.read(2 if size == 126 else 8), "big")


@pytest.mark.parametrize("kind", BAD_FRAMES)
def test_malformed_frame_closes_only_its_stream(served: Served, kind: str) -> None:
    code, all_frames = BAD_FRAMES[kind]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda frames: closed(served, frames), all_frames)) == [code] * len(all_frames)
    assert_still_serving(served)


MORE = (  # headers
    "Transfer-Encoding: chunked\r\n",
    "Content-Length: 5\r\n",
    "a: b\r\n" * 200,
    f"a: {'b' * 9000}\r\n",
    f"Sec-WebSocket-Protocol: {'bearer.!, ' * 50}\r\n",
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=999\r\n",
    "Sec-WebSocket-Extensions: =;=\r\n",
    "Origin: http://evil.example\r\n",
)


def handshakes(random: Random) -> Iterator[Sent]:
    key, version, upgrade = "Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "Version: 13\r\n", "Upgrade: websocket\r\n"
    for old, news in {
        key: ("Key: short\r\n", "Key: \xff\r\n", "Key: \r\n", key + "Sec-WebSocket-Key: x\r\n"),
        version: ("Version: 12\r\n", "Version: \xb2\r\n", "Version: \r\n", version + f"Sec-WebSocket-{version}"),
        "GET": ("POST", "HEAD", "BREW"),
        "HTTP/1.1": ("HTTP/1.0", "HTTP/1.2"),
        "Connection: Upgrade": ("Connection: close, Upgrade", "Connection: keep-alive"),
        "Host: 127.0.0.1": ("Host: evil.example", "Host: "),
        "/v1/stream": ("/v1/\xff", "/v1/%ff%00", "/v1/predict", "/"),
        f"={TOKEN}": ("=" + "%00" * 2000, "=x"),
        upgrade: ("Upgrade: h2c\r\n", "Upgrade: websocket, h2c\r\n", *(upgrade + more for more in MORE)),
    }.items():
        for new in news:
            assert old in UPGRADE
            yield Sent((UPGRADE.replace(old, new) + "\r\n").encode("latin-1"), (0, 101, *range(400, 500)))


KINDS.append(handshakes)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_malformed_requests_are_refused_and_the_server_keeps_serving(
    served: Served, kind: Callable[[Random], Iterator[Sent]]
) -> None:
    all_sent = list(kind(np.random.default_rng(0)))
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda sent: answer(served, sent), all_sent))
    wrong = [
        (number, status, sent.statuses, sent.raw[len(HEAD) : 600])
        for number, (sent, status) in enumerate(zip(all_sent, statuses, strict=True))
        if status not in (sent.statuses or (0, *range(200, 500), 503))
    ]
    assert not wrong
    assert_still_serving(served)


def test_there_are_more_than_350_malformed_requests() -> None:
    over_http = sum(1 for kind in KINDS for _ in kind(np.random.default_rng(0)))
    assert over_http + sum(len(frames) for _, frames in BAD_FRAMES.values()) > 350


# The OpenAPI description


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_answers_match_the_openapi_description(served: Served, mode: str) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    checks = importlib.import_module("schemathesis.specs.openapi.checks")
    base = f"http://127.0.0.1:{served.port}"
    described = schemathesis.openapi.from_url(f"{base}/openapi.json")
    count = 0
    for result in described.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=20, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode)))
        def send(case: Any) -> None:
            nonlocal count
            count += 1
            answer = case.call(base_url=base, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=BOUND)
            case.validate_response(answer, checks=[checks.status_code_conformance, checks.response_schema_conformance])

        with suppress(Unsatisfiable):  # a route without parameters has no invalid request
            send()
    assert count > 40
    assert_still_serving(served)
