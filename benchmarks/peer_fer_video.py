"""`fer.FER().detect_emotions` on the frames of a video; started by video.py in an environment that has `fer`.

Where TensorFlow is missing, `fer` gets the LiteRT interpreter in its place, which is what TensorFlow Lite has become;
all else is its own code: OpenCV's Haar cascade, its margins, its network.

Talks in lines on standard input and output: a number of frames -> seconds that they took, decoding included, and how
many of them had a face, as JSON. At the end of the file it begins anew.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
import time
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np


def stand_ins() -> None:
    """Put what `fer` imports and does not need here in the place of what is missing."""
    made: dict[str, dict[str, object]] = {"requests": {}, "PIL": {"Image": None}}
    if importlib.util.find_spec("tensorflow") is None:
        from ai_edge_litert.interpreter import Interpreter

        made |= {
            "tensorflow": {"lite": SimpleNamespace(Interpreter=Interpreter)},
            "tensorflow.keras": {},
            "tensorflow.keras.models": {"load_model": None},
        }
    for name, values in made.items():
        if "." in name or importlib.util.find_spec(name) is None:
            sys.modules[name] = ModuleType(name)
            vars(sys.modules[name]).update(values)


def frames(path: str) -> Iterator[np.ndarray]:
    while True:
        capture = cv2.VideoCapture(path)
        while (read := capture.read())[0]:
            yield read[1]
        capture.release()


def main() -> None:
    stand_ins()
    from fer.fer import FER

    network, source = FER(), frames(sys.argv[1])
    print(json.dumps({"fer": importlib.metadata.version("fer"), "cv2": cv2.__version__}), flush=True)
    for line in sys.stdin:
        start, faces = time.perf_counter(), 0
        for _ in range(int(line)):
            faces += bool(network.detect_emotions(next(source)))
        print(json.dumps({"seconds": time.perf_counter() - start, "with_face": faces}), flush=True)


if __name__ == "__main__":
    main()
