"""Does a live session stay small? Minutes of what `mien live --headless` runs, on a looping file in place of a camera.

The file is given at 30 frames a second by a capture that drops out after every 1,000 frames, so that opening it again
is part of the test; results go to a JSON Lines file and a table. Memory (resident) is read every second; what counts
is the growth from the end of the first tenth, when all is loaded, to the last tenth. At the end no thread may be left.

Usage: python benchmarks/soak.py --video single_face.mp4 [--minutes 30] [--detector yunet] [--out FILE]   (Linux)
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mien import Pipeline, files, run
from mien.draw import Status
from mien.live import Live
from mien.report_page import environment
from mien.session import Session
from mien.types import Failure, Result

RATE, DROP = 30.0, 1000


class Looped:
    """A capture, as `Live` reads it: the file again and again, and gone after DROP frames."""

    def __init__(self, path: str) -> None:
        self.path, self.capture, self.left = path, cv2.VideoCapture(path), DROP
        self.due = time.monotonic()

    def isOpened(self) -> bool:
        return self.capture.isOpened()

    def read(self) -> tuple[bool, Any]:
        self.left -= 1
        if self.left < 0:
            return False, None
        self.due = max(self.due + 1 / RATE, time.monotonic() - 1)
        time.sleep(max(0.0, self.due - time.monotonic()))
        found = self.capture.read()
        if not found[0]:
            self.capture.release()
            self.capture = cv2.VideoCapture(self.path)
            found = self.capture.read()
        return found

    def release(self) -> None:
        self.capture.release()


class Watch:
    """A sink that counts, and reads the memory once a second."""

    def __init__(self) -> None:
        self.frames = self.faces = self.failures = 0
        self.memory: list[float] = []
        self.last = 0.0

    def write(self, result: Result) -> None:
        self.frames += 1
        self.faces += len(result.faces)
        if time.monotonic() - self.last >= 1:
            self.last = time.monotonic()
            self.memory.append(resident())

    def fail(self, failure: Failure) -> None:
        self.failures += 1

    def close(self) -> None:
        """Nothing to do."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", required=True)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--detector", default="yunet")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "soak.json")
    options = parser.parse_args()
    before = set(threading.enumerate())
    values = soaked(options)
    values["threads_left"] = [thread.name for thread in set(threading.enumerate()) - before]
    files.write_text(options.out, json.dumps(values | {"environment": environment()}, indent=1) + "\n")
    print(json.dumps({key: value for key, value in values.items() if key != "memory_mb"}, indent=1))


def soaked(options: argparse.Namespace) -> dict[str, Any]:
    pipeline = Pipeline(options.detector)
    watch, rates = Watch(), []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tables = run.tables(stack, pipeline.classifier.labels, folder / "soak.jsonl", folder / "soak.csv", None)
        live = Live("soak://file", (0.1,), patience=0.2, opener=lambda _: Looped(options.video))
        stack.enter_context(closing(live))

        def report(result: Result, status: Status) -> None:
            rates.append((status.camera_fps or 0.0, status.inference_fps or 0.0))

        session = Session(live, pipeline.stream(), [*tables, watch], report=report)
        timer = threading.Timer(60 * options.minutes, session.stop)
        timer.start()
        session.run()
        timer.cancel()
        timer.join()
    memory = np.array(watch.memory) / 2**20
    tenth = max(len(memory) // 10, 1)
    start, end = float(np.median(memory[tenth : 2 * tenth])), float(np.median(memory[-tenth:]))
    camera, inference = np.median(rates, axis=0).tolist()
    return {
        "minutes": options.minutes, "detector": options.detector, "frames": watch.frames, "faces": watch.faces,
        "passed_over": live.skipped, "reopened": watch.failures, "camera_fps": camera, "inference_fps": inference,
        "memory_start_mb": start, "memory_end_mb": end, "growth_mb": end - start, "peak_mb": float(memory.max()),
        "memory_mb": memory[:: max(1, len(memory) // 200)].round(1).tolist(),
    }  # fmt: skip


def resident() -> int:
    """Bytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
