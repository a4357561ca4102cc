"""Pictures a second of `mien predict` on a folder: reading alone, one picture after the other, and the way it goes.

The folder holds scaled copies of given pictures and of the first frame of given videos, as JPEG. `read` decodes in the
main thread, `read, T threads` ahead of it; `one by one` reads, finds, cuts and classifies picture by picture; `predict`
is `run.pictures`: threads read and search ahead, and faces go to the classifier in blocks. They take turns, so that a
busy machine hits all; only ratios mean something there.

Usage: python benchmarks/folder.py --media single_face.jpg multi_face.jpg single_face.mp4 [--count 120] [--rounds 3]
       [--sides 640 1280 2560] [--threads T] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mien import Pipeline, files, load, run, sources
from mien.report_page import environment
from mien.types import Frame, Image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", nargs="+", type=Path, required=True)
    parser.add_argument("--count", type=int, default=120, help="pictures in the folder of one size")
    parser.add_argument("--sides", nargs="+", type=int, default=[640, 1280, 2560, 4000], help="longer side, pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=run.THREADS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "folder.json")
    options = parser.parse_args()
    pictures = [first(path) for path in options.media]
    rows = []
    for side in options.sides:
        with tempfile.TemporaryDirectory() as folder:
            bytes_ = fill(Path(folder), pictures, side, options.count)
            rates = speeds(Path(folder), options)
        rows.append({"side": side, "kilobytes": bytes_ / options.count / 1000, "pictures_per_second": rates})
    values = {
        "media": [path.name for path in options.media],
        "count": options.count,
        "rounds": options.rounds,
        "threads": options.threads,
        "sizes": rows,
        "environment": environment(),
    }
    files.write_text(options.out, json.dumps(values, indent=1) + "\n")
    print(markdown(values))


def first(path: Path) -> Image:
    """A picture, or the first frame of a video."""
    readable = sources.Video(path) if path.suffix.lower() in sources.VIDEOS else sources.frames(path)
    frame = next(iter(readable))
    if not isinstance(frame, Frame):
        raise SystemExit(frame.reason)
    return frame.image


def fill(folder: Path, pictures: list[Image], side: int, count: int) -> int:
    """Write `count` pictures whose longer side is `side`; their size in bytes."""
    for k in range(count):
        image = pictures[k % len(pictures)]
        scale = side / max(image.shape[:2])
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        cv2.imwrite(str(folder / f"{k:06d}.jpg"), cv2.resize(image, None, fx=scale, fy=scale, interpolation=how))
    return sum(path.stat().st_size for path in folder.iterdir())


def speeds(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Pictures a second of each way, turn by turn."""
    paths, pipeline, single = sources.expand([folder]), Pipeline(), load(threads=1)
    cv2.setNumThreads(1)
    ways: dict[str, Callable[[], Iterable[Any]]] = {
        "read": lambda: sources.frames(paths),
        f"read, {options.threads} threads": lambda: sources.frames(paths, options.threads),
        "one by one": lambda: map(pipeline.process, sources.frames(paths)),  # type: ignore[arg-type]
        "predict": lambda: run.pictures(paths, single, options.threads),  # as `mien predict` does it
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(options.rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            seen = sum(1 for _ in way())
            assert seen == options.count
            if turn:  # the first is not counted
                seconds[name].append(time.perf_counter() - start)
    rates = {name: options.count / np.array(each) for name, each in seconds.items()}
    return {name: {"median": float(np.median(each)), "all": each.tolist()} for name, each in rates.items()}


def markdown(values: dict[str, Any]) -> str:
    """A table for a document."""
    names = list(values["sizes"][0]["pictures_per_second"])
    lines = [
        f"| pictures/s | {' | '.join(names)} | predict, times one by one | predict, share of reading |",
        "|---" * (len(names) + 3) + "|",
    ]
    for row in values["sizes"]:
        rates = row["pictures_per_second"]
        ratio, share = (
            np.median(np.divide(rates["predict"]["all"], rates[one]["all"])) for one in (names[2], names[1])
        )
        figures = " | ".join(f"{rates[name]['median']:.1f}" for name in names)
        lines.append(f"| {row['side']} pixels, {row['kilobytes']:.0f} kB | {figures} | {ratio:.2f} | {share:.2f} |")
    machine = values["environment"]
    return "\n".join([*lines, "", f"{machine['processor']}, {machine['cores']} cores."])


if __name__ == "__main__":
    main()
