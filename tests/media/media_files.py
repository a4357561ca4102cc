"""Small videos made by PyAV, and a web server that sends them well or badly."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np

WIDTH, HEIGHT = 160, 96


def numbered(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Return a BGR image that shows a number of 0..255 as black and white stripes, with a red upper left corner."""
    image = np.zeros((height, width, 3), np.uint8)
    for bit in range(8):
        image[:, bit * width // 8 : (bit + 1) * width // 8] = 255 * (number >> bit & 1)
    image[: height // 4, : width // 8] = (0, 0, 255)
    return image


def number(image: np.ndarray) -> int:
    """Return what `numbered` shows."""
    width = image.shape[1]
    row = image[image.shape[0] // 2].mean(axis=1)
    return sum(1 << bit for bit in range(8) if row[bit * width // 8 + width // 16] > 127)


def natural(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Return a smooth BGR image with colours like those of skin and cloth."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [90 + 60 * np.sin(x / 23), 110 + 50 * np.cos(y / 17), 160 + 60 * np.sin((x + y) / 31)]
    return np.stack(planes, axis=2).astype(np.uint8)


def write_video(
    path: Path,
    times: Sequence[float],
    codec: str = "libx264",
    draw: Callable[[int], np.ndarray] = numbered,
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    sound: tuple[str, np.ndarray] | None = None,
    ticks: int = 90_000,
    setup: Callable[[Any], None] | None = None,
    **settings: Any,
) -> Path:
    """Write a frame `draw(k)` for each time in seconds.

    Args:
        path: the suffix chooses the format.
        times: of the frames, in seconds.
        codec: the encoder.
        draw: makes the frames, BGR, all of one size.
        pixels: the pixel format.
        options: of the encoder.
        container: options of the format.
        sound: an encoder, and int16 (N,) samples at 48 kHz that start at time 0.
        ticks: in a second.
        setup: is given the stream of video before anything is written.
        settings: of `av.open`.
    """
    with av.open(str(path), "w", options=container or {}, **settings) as out:
        video: Any = out.add_stream(codec, rate=30, options=options or {})
        video.height, video.width = draw(0).shape[:2]
        video.pix_fmt = pixels
        video.codec_context.time_base = Fraction(1, ticks)
        if setup:
            setup(video)
        packets: list[Any] = _encode_sound(out, *sound) if sound else []
        for k, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(draw(k), "bgr24")
            frame.pts, frame.time_base = round(time * ticks), Fraction(1, ticks)
            packets += video.encode(frame)
        packets += video.encode(None)
        for packet in sorted(packets, key=lambda each: each.dts * each.time_base):
            out.mux(packet)
    return path


def click(at: float, length: float = 3.0) -> np.ndarray:
    """Return silence at 48 kHz, with a click of 20 ms at a time in seconds."""
    samples = np.zeros(round(length * 48_000), np.int16)
    samples[round(at * 48_000) : round((at + 0.02) * 48_000)] = 20_000
    return samples


def _encode_sound(out: Any, codec: str, samples: np.ndarray) -> list[Any]:
    audio: Any = out.add_stream(codec, rate=48_000)
    audio.layout = "mono"
    packets: list[Any] = []
    for at in range(0, len(samples), 960):
        block = av.AudioFrame.from_ndarray(samples[None, at : at + 960], "s16", "mono")
        block.sample_rate, block.pts, block.time_base = 48_000, at, Fraction(1, 48_000)
        packets += audio.encode(block)
    return packets + audio.encode(None)


@contextmanager
def serve(
    data: bytes,
    ranges: bool = False,
    length: bool = True,
    stop_at: int | None = None,
    stall: threading.Event | None = None,
) -> Iterator[tuple[str, list[str]]]:
    """Serve bytes under http://127.0.0.1:<port>/video; give that address and the list of parts that were asked for.

    Args:
        data: the file.
        ranges: whether parts of it can be asked for.
        length: whether its length is said; else it is sent in chunks.
        stop_at: bytes after which the connection breaks off.
        stall: the connection then stays open until this is set.
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            self.close_connection = True
            part = self.headers.get("Range", "")
            asked.append(part)
            start = 0
            if ranges and (found := re.match(r"bytes=(\d+)-", part)):
                start = int(found[1])
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            else:
                self.send_response(200)
            if length:
                self.send_header("Content-Length", str(len(data) - start))
            else:
                self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            body = data[start:stop_at]
            try:
                for at in range(0, len(body), 4096):
                    block = body[at : at + 4096]
                    self.wfile.write(block if length else b"%x\r\n%b\r\n" % (len(block), block))
                if not length and stop_at is None:
                    self.wfile.write(b"0\r\n\r\n")
                if stall is not None:
                    self.wfile.flush()
                    stall.wait(30)
            except OSError:
                pass  # the reader has gone

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/video", asked
    finally:
        if stall is not None:
            stall.set()
        server.shutdown()
        server.server_close()
        thread.join()
