"""Measure frames a second of `mien video` with each detector, beside `fer`, and what the detectors find.

1. A video, scaled to `--size`, is decoded, and its faces are detected, classified and tracked as in `mien video`, with
   nothing written. `fer`, where its environment is given, decodes the same file and calls `detect_emotions` on every
   frame. They take turns, so that a busy machine slows both; only ratios mean something there.
2. The default, which runs full detection twice a second and nearby detection in between, against full detection in
   every frame of the same videos.
3. Time and faces of each detector alone, on images and videos whose number of faces is known. Recall is the share of
   these faces that were found; boxes beyond their number are false positives.

Usage: python -m benchmarks.speed.video --video single_face.mp4 [--media single_face.mp4=1 no_face.mp4=0 group.jpg=5]
       [--peer-python ENV/bin/python] [--size 640 480] [--detectors yunet ...] [--rounds 7] [--frames 96] [--out FILE]
ENV is the folder that `python -m benchmarks.peers.fer --env` fills.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import mien
from benchmarks import harness
from benchmarks.pages.speed import FULL, video_tables
from benchmarks.peers.environment import PeerProcess
from mien.faces.detectors import DETECTORS, load_detector
from mien.media import readers
from mien.media.paths import VIDEO_SUFFIXES
from mien.media.prefetch import Prefetch
from mien.media.video import Video
from mien.media.video_writer import VideoWriter
from mien.types import Face, Frame, Image, Result
from mien.video_pipeline import REDETECT_EVERY, VideoPipeline

SIZE = (640, 480)
FRAMES = 480


def main() -> None:
    parser = harness.parser(__doc__, "video")
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--media", nargs="*", default=[], help="FILE=FACES, faces in the image or in each frame")
    parser.add_argument("--peer-python", type=Path, help="Python of an environment with fer")
    parser.add_argument("--size", type=int, nargs=2, default=list(SIZE), help="width and height of the first table")
    parser.add_argument("--detectors", nargs="*", default=list(DETECTORS), help="detectors of the first table")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--frames", type=int, default=96, help="frames a turn; whole blocks")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = scaled(options.video, Path(folder) / "video.mp4", tuple(options.size))
        values = speeds(path, options)
    media = [each.rsplit("=", 1) for each in options.media]
    films = [path for path, _ in media if Path(path).suffix.lower() in VIDEO_SUFFIXES]
    values["agreement"] = [agreement(film) for film in films]
    values["detectors"] = [detect(name, path, int(faces)) for path, faces in media for name in DETECTORS]
    values["environment"] = harness.environment()
    harness.save(options.out, values)
    print(video_tables(values))


def scaled(path: Path, goal: Path, size: tuple[int, int] = SIZE, count: int = FRAMES) -> Path:
    """Write the video at one size, as H.264; a short one is repeated."""
    with VideoWriter(goal, *size) as writer:
        for frame in islice(looped(path), count):
            writer.write(cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA), frame.time)
    return goal


def speeds(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return frames a second of each contestant, turn by turn."""
    contestants = {name: ours(path, name, options.frames) for name in options.detectors}
    contestants[FULL] = ours(path, "yunet", options.frames, 0.0)
    values: dict[str, Any] = {"size": options.size, "rounds": options.rounds, "frames": options.frames}
    peer = PeerProcess(options.peer_python, "video", path) if options.peer_python else None
    if peer:
        contestants["fer"] = lambda: float(peer.ask(str(options.frames))["seconds"])
        values["peer"] = peer.hello
    seconds = harness.take_turns(contestants, options.rounds)
    if peer:
        peer.close()
    values["rates"] = {name: harness.rate(options.frames, each) for name, each in seconds.items()}
    if peer:
        theirs = np.array(values["rates"]["fer"]["all"])
        values["ratio_to_fer"] = {
            name: harness.quartiles(np.array(each["all"]) / theirs)
            for name, each in values["rates"].items()
            if name != "fer"
        }
    return values


def ours(path: Path, detector: str, count: int, redetect_every: float = REDETECT_EVERY) -> Callable[[], float]:
    """Return a function that processes the next `count` frames and returns the seconds."""
    pipeline = mien.load(detector=detector, threads=1)
    frames = Prefetch(lambda frame: frame, looped(path), lambda frame: frame.nbytes)
    results = VideoPipeline(pipeline, redetect_every=redetect_every).track(frames)

    def turn() -> float:
        cv2.setNumThreads(-1 if detector == "haar" else 1)  # as `mien video` sets it; -1 is OpenCV's own choice
        start = time.perf_counter()
        done = sum(1 for _ in islice(results, count))
        assert done == count
        return time.perf_counter() - start

    return turn


def looped(path: Path) -> Iterator[Frame]:
    """Yield the frames of a video again and again, with times that go on."""
    index, offset, step = 0, 0.0, 1 / Video(path).rate
    while True:
        last = 0.0
        for frame in Video(path):
            assert isinstance(frame, Frame), frame
            yield replace(frame, index=index, time=offset + frame.time)
            index, last = index + 1, frame.time
        offset += last + step


def agreement(path: str) -> dict[str, Any]:
    """Return how often the default detection agrees with full detection in every frame."""
    pipeline = mien.load()
    default, full = (
        [item for item in VideoPipeline(pipeline, redetect_every=seconds).track(Video(path))
         if isinstance(item, Result)]
        for seconds in (REDETECT_EVERY, 0.0)
    )  # fmt: skip
    same = [len(a.faces) == len(b.faces) for a, b in zip(default, full, strict=True)]
    pairs = [
        pair
        for a, b, equal in zip(default, full, same, strict=True)
        if equal
        for pair in zip(*(sorted(one.faces, key=lambda face: face.box) for one in (a, b)), strict=True)
    ]
    values: dict[str, Any] = {"media": Path(path).name, "frames": len(same), "same_number": sum(same) / len(same)}
    if pairs:
        values |= {
            "same_label": sum(a.emotion == b.emotion for a, b in pairs) / len(pairs),
            "probability": float(np.mean([np.abs(probabilities(a) - probabilities(b)).max() for a, b in pairs])),
            "overlap": float(np.mean([overlap(a, b) for a, b in pairs])),
        }
    return values


def probabilities(face: Face) -> np.ndarray:
    return np.array(list(face.probabilities.values()))


def overlap(one: Face, other: Face) -> float:
    """Return the intersection over union of the boxes."""
    a, b = np.array(one.box), np.array(other.box)
    common = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return float(common / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common))


def detect(name: str, path: str, faces: int) -> dict[str, Any]:
    """Return time and faces of one detector on an image, ten times, or on the first hundred frames of a video."""
    detector = load_detector(name)
    images: list[Image] = []
    readable = Video(path) if Path(path).suffix.lower() in VIDEO_SUFFIXES else readers.read_images(path)
    for frame in islice(readable, 100):
        assert isinstance(frame, Frame), frame
        images.append(frame.image)
    images *= 10 if len(images) == 1 else 1
    detector(images[0])
    counts: list[int] = []
    seconds = [harness.stopwatch(lambda image=image: counts.append(len(detector(image))))() for image in images]
    height, width = images[0].shape[:2]
    found = sum(min(count, faces) for count in counts)
    return {
        "detector": name, "media": Path(path).name, "size": [width, height], "faces": faces, "frames": len(images),
        "milliseconds": harness.quartiles(1000 * np.array(seconds)),
        "recall": found / (faces * len(counts)) if faces else None,
        "false": sum(max(count - faces, 0) for count in counts) / len(counts),
    }  # fmt: skip


if __name__ == "__main__":
    main()
