"""Peak memory of a process that finds the faces of a picture and their emotions; started by footprint.py.

It runs in an environment that has `mien` or `fer`, and uses what a user would: `mien.load()`, or `FER()`, whose
TensorFlow is replaced as peer_fer_video.py says where it is missing. Prints JSON.

Usage: python benchmarks/peer_memory.py mien|fer PICTURE
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2

from peer_fer_video import stand_ins

TIMES = 5


def main() -> None:
    name, picture = sys.argv[1:]
    image, find = cv2.imread(picture), finder(name)
    faces = [find(image) for _ in range(TIMES)]
    print(json.dumps({"faces": faces[-1], "peak_mb": peak(), "version": importlib.metadata.version(name)}))


def finder(name: str) -> Callable[[Any], int]:
    """From a picture to the number of its faces, each of them classified."""
    if name == "mien":
        import mien

        pipeline = mien.load()
        return lambda image: len(pipeline(image).faces)
    stand_ins()
    from fer.fer import FER  # only there in the peer's environment

    network = FER()
    return lambda image: len(network.detect_emotions(image))


def peak() -> float:
    """Most memory that this process ever held, in MB. The parent's is in what `resource` says on Linux, not in this."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if "VmHWM" in line) * 1024 / 1e6
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most) * (1 if sys.platform == "darwin" else 1024) / 1e6


if __name__ == "__main__":
    main()
