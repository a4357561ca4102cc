"""Frames a second from a video file: OpenCV's whole BGR frames against mien's reader, on two threads.

One thread reads; another takes the frames from a queue and does what the detector and the network ask of each. The ways
take turns in one run, so that a busy machine hits all; only ratios mean something there.

    opencv          OpenCV gives a whole BGR frame; nothing is done with it
    opencv parts    the same, then the detector's small image and one face in gray, by OpenCV
    mien parts      small image and face from the decoder's planes; no whole frame
    mien whole      a whole BGR frame; nothing is done with it
    mien alone      decoded only

Usage: python benchmarks/speed/video_decode.py --video single_face.mp4 [--sizes 640x480 1920x1080] [--small 320]
       [--rounds 9] [--frames 300] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import queue
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import av
import cv2

from mien.media.video_reader import VideoReader

REST = 0.1
"""Seconds between turns, in which the threads of the one before come to rest."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--sizes", nargs="*", default=["640x480", "1920x1080"])
    parser.add_argument("--small", type=int, default=320, help="longer side of the detector's image, in pixels")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--frames", type=int, default=300, help="of each turn")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    values = {}
    with tempfile.TemporaryDirectory() as folder:
        for text in options.sizes:
            width, height = map(int, text.split("x"))
            path = scaled(options.video, Path(folder) / f"{text}.mp4", (width, height), options.frames)
            values[text] = measure(path, (width, height), options)
    if options.out:
        options.out.write_text(json.dumps(values, indent=1) + "\n", "utf-8")


def scaled(source: Path, path: Path, size: tuple[int, int], count: int) -> Path:
    """Write `count` frames of a video, again and again from its start, at another size."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=30, options={"preset": "medium", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        frames = chain.from_iterable(VideoReader(source) for _ in repeat(None))
        for k, frame in zip(range(count), frames, strict=False):
            picture = av.VideoFrame.from_ndarray(cv2.resize(frame.bgr(), size), "bgr24")
            picture.pts, picture.time_base = k, Fraction(1, 30)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def measure(path: Path, size: tuple[int, int], options: argparse.Namespace) -> dict[str, Any]:
    width, height = size
    scale = options.small / max(size)
    small = (round(width * scale), round(height * scale))
    side = height // 3  # of the face
    box = (width // 2, height // 4, width // 2 + side, height // 4 + side)

    def opencv_parts(image: Any) -> None:
        cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        cv2.cvtColor(image[box[1] : box[3], box[0] : box[2]], cv2.COLOR_BGR2GRAY)

    def mien_parts(frame: Any) -> None:
        frame.small(*small)
        frame.gray(box)

    ways: dict[str, tuple[Callable[[Path], Iterator[Any]], Callable[[Any], object]]] = {
        "opencv": (opencv, lambda image: None),
        "opencv parts": (opencv, opencv_parts),
        "mien parts": (lambda path: iter(VideoReader(path)), mien_parts),
        "mien whole": (lambda path: iter(VideoReader(path)), lambda frame: frame.bgr()),
        "mien alone": (lambda path: iter(VideoReader(path)), lambda frame: None),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for k in range(options.rounds + 1):
        for name, (source, use) in ways.items():
            time.sleep(REST)
            rate = speed(source(path), use)
            if k:  # the first turn of each loads libraries
                rates[name].append(rate)
    print(f"{width}x{height}, small image {small[0]}x{small[1]}, {options.frames} frames, {options.rounds} rounds")
    found: dict[str, Any] = {}
    for name in ways:
        # the median of the ratios within a round: load that comes and goes hits both sides of it
        ratio = statistics.median(mine / base for mine, base in zip(rates[name], rates["opencv"], strict=True))
        found[name] = {"frames_per_second": statistics.median(rates[name]), "ratio_to_opencv": ratio}
        print(f"  {name:13} {statistics.median(rates[name]):7.0f} frames/s  {ratio:5.2f} x opencv")
    return found


def opencv(path: Path) -> Iterator[Any]:
    capture = cv2.VideoCapture(str(path))
    while True:
        there, image = capture.read()
        if not there:
            return
        yield image


def speed(frames: Iterator[Any], use: Callable[[Any], object]) -> float:
    """Return how many frames a second one thread reads and another one uses."""
    waiting: queue.Queue[Any] = queue.Queue(16)

    def read() -> None:
        for frame in frames:
            waiting.put(frame)
        waiting.put(None)

    start, count = time.perf_counter(), 0
    reader = threading.Thread(target=read)
    reader.start()
    while (frame := waiting.get()) is not None:
        use(frame)
        count += 1
    reader.join()
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
