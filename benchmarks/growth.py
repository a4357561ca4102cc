"""Whether the speed holds as the work grows: faces a second in one call, pictures a second and memory over a folder.

The first row of numbers is the classifier on 1 to 10,000 crops of PublicTest in one call, with a thread a core. The
second is what `mien predict` runs (`run.pictures` with a pipeline of one thread a call, and one thread for OpenCV) on
folders of 100 to 50,000 small pictures (PublicTest crops, 96 pixels wide with a made border), read, searched for faces
and classified; with the process's memory at the end of each.

Usage: python benchmarks/growth.py --data fer2013.zip [--faces 1 10 100 1000 10000] [--pictures 100 1000 10000 50000]
       [--out FILE]   (Linux; writes FILE and a plot beside it)
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np

from mien import classify, files, load, run
from mien.report_page import environment
from mien.train import data
from mien.types import Result

matplotlib.use("Agg")
AT_LEAST = 2.0
"""Seconds of calls that are timed for each number of faces."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--faces", nargs="+", type=int, default=[1, 10, 100, 1000, 10_000])
    parser.add_argument("--pictures", nargs="+", type=int, default=[100, 1000, 10_000, 50_000])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "growth.json")
    options = parser.parse_args()
    crops = data.load(options.data).split("PublicTest").images
    values: dict[str, Any] = {"faces": [call(crops, count) for count in options.faces]}
    with tempfile.TemporaryDirectory() as folder:
        values["pictures"] = [walk(crops, count, Path(folder) / str(count)) for count in options.pictures]
    files.write_text(options.out, json.dumps(values | {"environment": environment()}, indent=1) + "\n")
    plot(values, options.out.with_suffix(".png"))
    print(json.dumps(values, indent=1))


def call(crops: np.ndarray, count: int) -> dict[str, float]:
    """The classifier on `count` crops a call, as often as it takes to time it."""
    model = classify.model()
    batch = crops[np.arange(count) % len(crops)]
    model(batch)
    calls, start = 0, time.perf_counter()
    while time.perf_counter() - start < AT_LEAST:
        model(batch)
        calls += 1
    return {"count": count, "per_second": calls * count / (time.perf_counter() - start)}


def walk(crops: np.ndarray, count: int, folder: Path) -> dict[str, float]:
    """`mien predict` on a folder of that many pictures."""
    folder.mkdir()
    for k in range(count):
        face = cv2.resize(crops[k % len(crops)], (64, 64))
        cv2.imwrite(str(folder / f"{k:06d}.jpg"), cv2.copyMakeBorder(face, 16, 16, 16, 16, cv2.BORDER_REFLECT))
    cv2.setNumThreads(1)  # as `mien predict` does it, and one thread a network
    pipeline, faces, seen = load(threads=1), 0, 0
    start = time.perf_counter()
    for item in run.pictures(folder, pipeline):
        assert isinstance(item, Result), item
        seen, faces = seen + 1, faces + len(item.faces)
    seconds = time.perf_counter() - start
    assert seen == count
    return {"count": count, "per_second": count / seconds, "faces": faces, "memory_mb": resident()}


def resident() -> float:
    """Memory of this process now, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000


def plot(values: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure((8, 3.4), layout="constrained")
    for axes, key, title in zip(
        figure.subplots(1, 2), ("faces", "pictures"), ("faces in one call", "pictures in a folder"), strict=True
    ):
        rows = values[key]
        axes.plot([row["count"] for row in rows], [row["per_second"] for row in rows], "o-", color="#0072B2")
        most = max(row["per_second"] for row in rows)
        axes.set(xscale="log", xlabel=title, ylabel=f"{key} a second", ylim=(0, 1.15 * most))  # room above the line
        axes.grid(alpha=0.3)
    with files.draft(path) as place:
        figure.savefig(place, dpi=110, format="png")


if __name__ == "__main__":
    main()
