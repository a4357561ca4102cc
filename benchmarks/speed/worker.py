"""A process that runs the steps of one checkout of mien, of today or older, and answers with their times.

It runs as a script, with the checkout's `src` first on PYTHONPATH, and imports nothing of the benchmarks. Each line of
its input is a JSON list, each line of its output the answer: seconds of wall time, seconds of processor time (user and
system, all threads), and the number of items.

- ["video", file, copy or null]: a video from its first frame to its last, as `mien video` does.
- ["folder", folder]: a folder of images, as `mien predict` does.
- ["crops", count, threads]: classify crops in one call, often enough for a tenth of a second.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


class Checkout:
    """The process of one checkout, for the benchmark that asks it."""

    def __init__(self, folder: Path) -> None:
        """Start the process; `folder` holds `src`."""
        environment = {**os.environ, "PYTHONPATH": str(folder.absolute() / "src")}
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )

    def ask(self, *task: Any) -> dict[str, float]:
        """Return wall, cpu and items of a task."""
        assert self._process.stdin and self._process.stdout
        print(json.dumps(task), file=self._process.stdin, flush=True)
        answer: dict[str, float] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    """Answer the tasks of the standard input."""
    formatter = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(description=__doc__, formatter_class=formatter).parse_args()
    import cv2
    import numpy as np

    import mien

    try:
        runner: Any = __import__("mien.runner", fromlist=["runner"])
        images = runner.images
    except ImportError:  # its first name
        runner = __import__("mien.run", fromlist=["run"])
        images = runner.pictures
    pipeline: Any = mien.load(threads=1)
    classifiers: dict[int, Any] = {}
    cv2.setNumThreads(1)
    for line in sys.stdin:
        kind, *task = json.loads(line)
        if kind == "crops":
            count, threads = task
            classify = classifiers.setdefault(threads, mien.load(threads=threads).classifier)
            crops = np.random.default_rng(0).integers(0, 256, (count, 48, 48), dtype=np.uint8)
            classify(crops)
        cpu, wall = time.process_time(), time.perf_counter()
        if kind == "video":
            items = runner.video(task[0], pipeline, save=task[1]).frames
        elif kind == "folder":
            items = sum(1 for _ in images(task[0], pipeline))
        else:
            items = 0
            while time.perf_counter() - wall < 0.1:
                classify(crops)
                items += count
        answer = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "items": items}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
