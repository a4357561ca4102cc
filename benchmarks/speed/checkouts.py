"""Compare the speed of `mien video` in several checkouts: wall time and processor time of the same videos.

Each checkout runs in a process of its own, with its `src` first on PYTHONPATH; `git worktree add` makes a checkout of
an older commit. A turn processes one video from its first frame to its last, as `mien video` does, with nothing
written or, with `--save`, with an annotated copy. The checkouts take turns, so that other work on the machine slows
all of them. Processor time (user and system, all threads) suffers least from it.

Usage: python -m benchmarks.speed.checkouts --video single_face.mp4 NAME=CHECKOUT NAME=CHECKOUT ...
       [--sizes 640x480 1920x1080] [--frames 480] [--save] [--rounds 7] [--out FILE]
The first checkout is the one to which the others are compared.
"""

from __future__ import annotations

import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from benchmarks.pages.speed import checkout_table
from benchmarks.speed.video import scaled
from benchmarks.speed.worker import Checkout


def main() -> None:
    parser = harness.parser(__doc__, "checkouts")
    parser.add_argument("checkouts", nargs="+", help="NAME=FOLDER")
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--sizes", nargs="+", default=["640x480", "1920x1080"])
    parser.add_argument("--frames", type=int, default=480, help="of each video")
    parser.add_argument("--save", action="store_true", help="write an annotated copy")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    folders = dict(each.split("=", 1) for each in options.checkouts)
    with tempfile.TemporaryDirectory() as folder:
        workers = {name: Checkout(Path(checkout)) for name, checkout in folders.items()}
        values = {
            size: measure(
                workers,
                scaled(options.video, Path(folder) / f"{size}.mp4", dimensions(size), options.frames),
                Path(folder) / "copy.mp4" if options.save else None,
                options.rounds,
            )
            for size in options.sizes
        }
        for worker in workers.values():
            worker.close()
    commits = {name: commit(Path(checkout)) for name, checkout in folders.items()}
    settings = {name: getattr(options, name) for name in ("rounds", "frames", "save")}
    harness.save(options.out, {"commits": commits, **settings, "sizes": values})
    print(checkout_table({"sizes": values, "environment": harness.environment()}))


def dimensions(size: str) -> tuple[int, int]:
    """Return width and height of a text such as 640x480."""
    width, height = map(int, size.split("x"))
    return width, height


def commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def measure(workers: dict[str, Checkout], video: Path, copy: Path | None, rounds: int) -> dict[str, Any]:
    """Return milliseconds a frame of each checkout, and the quartiles of its turns over those of the first."""
    answers: dict[str, list[dict[str, float]]] = {name: [] for name in workers}

    def turn(name: str) -> float:
        answers[name].append(workers[name].ask("video", str(video), copy and str(copy)))
        return answers[name][-1]["wall"]

    harness.take_turns({name: partial(turn, name) for name in workers}, rounds)
    values: dict[str, Any] = {}
    for kind in ("cpu", "wall"):
        per_frame = {
            name: np.array([1000 * each[kind] / each["items"] for each in given[1:]]) for name, given in answers.items()
        }
        first = next(iter(per_frame.values()))
        values[kind] = {
            name: {"median": float(np.median(each)), "all": each.tolist(), "ratio": harness.quartiles(each / first)}
            for name, each in per_frame.items()
        }
    return values


if __name__ == "__main__":
    main()
