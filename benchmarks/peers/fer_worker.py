"""The package `fer`, run in an environment of its own; started by the other scripts of this folder and speed/video.py.

Needs nothing but `fer`, OpenCV and NumPy: this checkout is not importable there. The first argument says what to do.

crops          the network of `fer` alone, run by LiteRT as `fer/fer.py` runs it by default: a crop is resized to 64x64
               (bilinear), scaled to -1..1, one crop a call, because the file has a batch of one. The margin around a
               detected box is left out: FER2013's crops are cut already. Reads lines of JSON: {"threads": n} loads,
               {"crops": FILE.npy, "out": FILE.npy} classifies, {"crops": FILE.npy, "seconds": s} repeats the batch for
               s seconds and returns the median time of one pass.
video FILE     `FER().detect_emotions` on the frames of a video, again and again. Reads a number of frames a line and
               returns the seconds they took, decoding included, and how many had a face.
memory NAME IMAGE   peak memory of this process after finding and classifying the faces of an image five times, with
               NAME `mien` or `fer` as a user would call it.

Where TensorFlow is missing, `fer` gets the LiteRT interpreter, which is what TensorFlow Lite has become; all else is
its own code: OpenCV's Haar cascade, its margins, its network.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np

WEIGHTS = "data/emotion_model_quantized.tflite"
REPEATS = 5


class Network:
    """The network: uint8 (N, 48, 48) -> float32 (N, 7): angry, disgust, fear, happy, sad, surprise, neutral."""

    def __init__(self, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

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
    command, *arguments = sys.argv[1:] or ["--help"]
    if command == "--help":
        print(__doc__)
        return
    {"crops": crops, "video": video, "memory": memory}[command](*arguments)


def crops() -> None:
    cv2.setNumThreads(1)
    versions = {name: importlib.metadata.version(name) for name in ("fer", "ai-edge-litert", "numpy")}
    reply({"versions": {**versions, "cv2": cv2.__version__, "python": platform.python_version()}})
    network = None
    for line in sys.stdin:
        request = json.loads(line)
        if "threads" in request:
            network = Network(request["threads"])
            reply({"ready": True})
        elif network is not None:
            faces = np.load(request["crops"])
            if "out" in request:
                np.save(Path(request["out"]), network(faces))
                reply({"faces": len(faces)})
            else:
                reply({"seconds": median_seconds(network, faces, request["seconds"])})


def median_seconds(network: Network, faces: np.ndarray, seconds: float) -> float:
    """Return the median time of one pass, over passes for about `seconds`; the first is not counted."""
    network(faces)
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while not taken or time.perf_counter() < end:
        start = time.perf_counter()
        network(faces)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def video(path: str) -> None:
    network, source = load_fer(), frames(path)
    reply({"fer": importlib.metadata.version("fer"), "cv2": cv2.__version__})
    for line in sys.stdin:
        start, faces = time.perf_counter(), 0
        for _ in range(int(line)):
            faces += bool(network.detect_emotions(next(source)))
        reply({"seconds": time.perf_counter() - start, "with_face": faces})


def frames(path: str) -> Iterator[np.ndarray]:
    while True:
        capture = cv2.VideoCapture(path)
        while (read := capture.read())[0]:
            yield read[1]
        capture.release()


def memory(name: str, path: str) -> None:
    image, count_faces = cv2.imread(path), face_counter(name)
    counts = [count_faces(image) for _ in range(REPEATS)]
    reply({"faces": counts[-1], "peak_mb": peak_mb(), "version": importlib.metadata.version(name)})


def face_counter(name: str) -> Callable[[Any], int]:
    """Return a function that finds and classifies the faces of an image and returns their number."""
    if name == "mien":
        import mien

        pipeline = mien.load()
        return lambda image: len(pipeline(image).faces)
    network = load_fer()
    return lambda image: len(network.detect_emotions(image))


def peak_mb() -> float:
    """Return the peak memory of this process in MB; on Linux `resource` would include the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if "VmHWM" in line) * 1024 / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) * (1 if sys.platform == "darwin" else 1024) / 1e6


def load_fer() -> Any:
    """Return `fer.FER()`; imports of `fer` that are missing and not needed here are replaced."""
    replaced: dict[str, dict[str, object]] = {"requests": {}, "PIL": {"Image": None}}
    if importlib.util.find_spec("fer") and importlib.util.find_spec("tensorflow") is None:
        from ai_edge_litert.interpreter import Interpreter

        replaced |= {
            "tensorflow": {"lite": SimpleNamespace(Interpreter=Interpreter)},
            "tensorflow.keras": {},
            "tensorflow.keras.models": {"load_model": None},
        }
    for name, values in replaced.items():
        if "." in name or importlib.util.find_spec(name) is None:
            sys.modules[name] = ModuleType(name)
            vars(sys.modules[name]).update(values)
    from fer.fer import FER

    return FER()


def reply(values: dict[str, Any]) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    main()
