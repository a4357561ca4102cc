"""The network of the package `fer`, run as `fer` runs it by default; started by peers.py in an environment of its own.

`fer` itself wants TensorFlow, facenet-pytorch and moviepy. Here only its weights are used, by the LiteRT interpreter,
which is what TensorFlow Lite has become. What `fer/fer.py` does with a crop is done here: resized to 64x64 (bilinear),
scaled to -1..1, and one crop a call, because its file has a batch of one. Its margins around a detected box are left
out: the crops are FER2013's own, which are cut already.

Talks in lines of JSON on standard input and output: {"threads": n} loads, {"crops": FILE.npy, "out": FILE.npy} answers,
{"crops": FILE.npy, "seconds": s} repeats the file's batch for s seconds and says how long one call took.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

WEIGHTS = "data/emotion_model_quantized.tflite"


class Fer:
    """uint8 (N, 48, 48) -> float32 (N, 7): angry, disgust, fear, happy, sad, surprise, neutral."""

    def __init__(self, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter  # only there in the peer's environment

        path = importlib.metadata.distribution("fer").locate_file(f"fer/{WEIGHTS}")
        self.interpreter = Interpreter(model_path=str(path), num_threads=threads)
        self.interpreter.allocate_tensors()
        self.input = self.interpreter.get_input_details()[0]["index"]
        self.output = self.interpreter.get_output_details()[0]["index"]

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        faces = np.array([cv2.resize(crop, (64, 64)) for crop in crops], np.float32)
        faces = ((faces / 255.0 - 0.5) * 2.0)[..., None]
        found = []
        for i in range(len(faces)):
            self.interpreter.set_tensor(self.input, faces[i : i + 1])
            self.interpreter.invoke()
            found.append(self.interpreter.get_tensor(self.output)[0])
        return np.array(found)


def main() -> None:
    cv2.setNumThreads(1)
    versions = {name: importlib.metadata.version(name) for name in ("fer", "ai-edge-litert", "numpy")}
    answer({"versions": {**versions, "cv2": cv2.__version__, "python": platform.python_version()}})
    network = None
    for line in sys.stdin:
        asked = json.loads(line)
        if "threads" in asked:
            network = Fer(asked["threads"])
            answer({"ready": True})
        elif network is not None:
            crops = np.load(asked["crops"])
            if "out" in asked:
                np.save(Path(asked["out"]), network(crops))
                answer({"faces": len(crops)})
            else:
                answer({"seconds": timed(network, crops, asked["seconds"])})


def timed(network: Any, crops: np.ndarray, seconds: float) -> float:
    """Median seconds of one call, over calls for about `seconds`; the first is not counted."""
    network(crops)
    found, end = [], time.perf_counter() + seconds
    while not found or time.perf_counter() < end:
        start = time.perf_counter()
        network(crops)
        found.append(time.perf_counter() - start)
    return float(np.median(found))


def answer(values: dict[str, Any]) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    main()
