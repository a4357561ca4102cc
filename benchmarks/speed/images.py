"""Measure images a second of `mien predict` on a folder, and whether the speed holds as the work grows.

The folders hold scaled copies of given images and of the first frame of given videos, as JPEG. `read` decodes in the
main thread, `read, T threads` ahead of it; `one by one` reads, detects and classifies image by image; `predict` is
`runner.images`: threads read and detect ahead, and faces are classified in batches. `predict, quick search` is that
with `--quick-search`, and `predict, whole files` decodes each file wholly, as `--save` does. They take turns, so that a
busy machine slows all of them; only ratios mean something there.

With `--data`, two more tables: the classifier on 1 to 10,000 crops in one call, with a thread a core, and `predict` on
folders of 100 to 100,000 small images (PublicTest crops, 96 pixels wide with a made border), with the memory at the
end.

Usage: python -m benchmarks.speed.images --media single_face.jpg multi_face.jpg single_face.mp4 [--data fer2013.zip]
       [--count 120] [--rounds 3] [--sides 640 1280 2560] [--threads T] [--out FILE]     (Linux)
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import mien
from benchmarks import harness
from benchmarks.pages.speed import image_tables
from mien import runner
from mien.data.fer2013 import load_fer2013
from mien.faces.models import load_classifier
from mien.media import paths, readers
from mien.media.video import Video
from mien.types import Frame, Image, Result

FACES, FOLDERS = (1, 10, 100, 1000, 10_000), (100, 1000, 10_000, 100_000)
SECONDS = 2.0
"""Time of the calls for each number of faces."""


def main() -> None:
    parser = harness.parser(__doc__, "images")
    parser.add_argument("--media", nargs="+", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="fer2013.zip; without it the growth is not measured")
    parser.add_argument("--count", type=int, default=120, help="images in the folder of one size")
    parser.add_argument("--sides", nargs="+", type=int, default=[640, 1280, 2560, 4000], help="longer side, pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=runner.THREADS)
    options = parser.parse_args()
    samples = [first_image(path) for path in options.media]
    rows = []
    for side in options.sides:
        with tempfile.TemporaryDirectory() as folder:
            size = fill(Path(folder), samples, side, options.count)
            rates = speeds(Path(folder), options)
        rows.append({"side": side, "kilobytes": size / options.count / 1000, "images_per_second": rates})
    values: dict[str, Any] = {
        "media": [path.name for path in options.media], "count": options.count, "rounds": options.rounds,
        "threads": options.threads, "sizes": rows, "environment": harness.environment(),
    }  # fmt: skip
    if options.data:
        crops = load_fer2013(options.data).split("PublicTest").images
        values["growth"] = {"faces": [call(crops, count) for count in FACES], "images": []}
        for count in FOLDERS:
            with tempfile.TemporaryDirectory() as folder:
                values["growth"]["images"].append(walk(crops, count, Path(folder)))
    harness.save(options.out, values)
    print(image_tables(values))


def first_image(path: Path) -> Image:
    """Return an image, or the first frame of a video."""
    readable = Video(path) if path.suffix.lower() in paths.VIDEO_SUFFIXES else readers.read_images(path)
    frame = next(iter(readable))
    if not isinstance(frame, Frame):
        raise SystemExit(frame.reason)
    return frame.image


def fill(folder: Path, samples: list[Image], side: int, count: int) -> int:
    """Write `count` images whose longer side is `side` pixels; return their size in bytes."""
    for k in range(count):
        image = samples[k % len(samples)]
        scale = side / max(image.shape[:2])
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        cv2.imwrite(str(folder / f"{k:06d}.jpg"), cv2.resize(image, None, fx=scale, fy=scale, interpolation=how))
    return sum(path.stat().st_size for path in folder.iterdir())


def speeds(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return images a second of each way, turn by turn."""
    files, pipeline, single = paths.expand_images([folder]), mien.load(), mien.load(threads=1)
    cv2.setNumThreads(1)
    ways: dict[str, Callable[[], Iterable[Any]]] = {
        "read": lambda: readers.read_images(files),
        f"read, {options.threads} threads": lambda: readers.read_images(files, options.threads),
        "one by one": lambda: map(pipeline.process, readers.read_images(files)),  # type: ignore[arg-type]
        "predict": lambda: runner.images(files, single, options.threads),
        "predict, quick search": lambda: runner.images(files, single, options.threads, quick_search=True),
        "predict, whole files": lambda: runner.images(files, single, options.threads, keep_pixels=True),
    }

    def run(way: Callable[[], Iterable[Any]]) -> None:
        assert sum(1 for _ in way()) == options.count

    contestants = {name: harness.stopwatch(lambda way=way: run(way)) for name, way in ways.items()}
    seconds = harness.take_turns(contestants, options.rounds)
    return {name: harness.rate(options.count, each) for name, each in seconds.items()}


def call(crops: np.ndarray, count: int) -> dict[str, float]:
    """Return faces a second of the classifier with `count` crops a call."""
    classifier = load_classifier()
    batch = crops[np.arange(count) % len(crops)]
    return {"count": count, "per_second": count / harness.median_seconds(lambda: classifier(batch), SECONDS)}


def walk(crops: np.ndarray, count: int, folder: Path) -> dict[str, float]:
    """Return images a second of `predict` on a folder of `count` small images, and the memory at the end."""
    for k in range(count):
        face = cv2.resize(crops[k % len(crops)], (64, 64))
        cv2.imwrite(str(folder / f"{k:06d}.jpg"), cv2.copyMakeBorder(face, 16, 16, 16, 16, cv2.BORDER_REFLECT))
    cv2.setNumThreads(1)
    faces: list[int] = []

    def run() -> None:
        for item in runner.images(folder, mien.load(threads=1)):
            assert isinstance(item, Result), item
            faces.append(len(item.faces))

    seconds = harness.stopwatch(run)()
    assert len(faces) == count
    return {"count": count, "per_second": count / seconds, "faces": sum(faces), "memory_mb": harness.resident_mb()}


if __name__ == "__main__":
    main()
