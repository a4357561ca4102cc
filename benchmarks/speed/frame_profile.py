"""Measure where the time of one frame of `mien video --save` goes, and the least time each step could take.

The video is scaled to 640x480 and goes through the steps of `mien video`, with one thread a network and one thread for
OpenCV. There the steps run side by side in three threads; here they run one after the other, so that each can be timed:
wall time, and CPU time of all threads, which a busy machine disturbs less. Given is the median over the frames. One
classifier call serves a block of frames and counts in equal parts.

Detection has two rows: nearby, for faces about as large as the known ones, and full, twice a second. A second pass
runs full detection in every frame for more samples. `all` adds each step as often as the frames of a video have it.

The floor of a step is its work divided by the best rate of this machine (see peaks.py), in one thread:
    detect    multiply-adds of YuNet at the size of its input, at the fp32 rate;
    classify  multiply-adds of the network at the int8 rate, or the fp32 rate for an fp32 file;
    others    bytes read and written, at the bandwidth of memory.
A step whose best time is below its floor shows that the floor is wrong; the run then ends with an error.

Usage: python -m benchmarks.speed.frame_profile --video single_face.mp4 [--frames 240]
       [--model mien-s mien-xs mien-m baseline mien-s-fp32] [--out FILE]
"""

from __future__ import annotations

import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx

from benchmarks import harness
from benchmarks.pages.speed import frame_tables
from benchmarks.speed import peaks
from benchmarks.speed.video import SIZE, looped, scaled
from experiments.yunet import PUBLISHED
from mien.draw import Overlay
from mien.faces.classifier import OnnxClassifier
from mien.faces.crop import crops as cut
from mien.faces.onnx import ASSETS
from mien.faces.tracker import Tracker
from mien.faces.yunet import YuNet
from mien.media.video import Video
from mien.media.video_writer import VideoWriter
from mien.types import Face, Floats, Frame, Image, Result
from mien.video_pipeline import REDETECT_EVERY

STEPS = ("decode", "detect, nearby", "detect, full", "crop", "classify", "track", "draw", "encode")
BLOCK = 16
NEARBY = 0.6
"""Share of the smallest known face that nearby detection looks for, as in `VideoPipeline`."""
YUNET = PUBLISHED
"""The same convolutions as the shipped detector, with the height and width as inputs of their own."""
FACE = 4 + 1 + 10 + 5
"""Numbers of a face that the tracker reads and writes: box, score, landmarks, probabilities."""


class Clock:
    """Wall and CPU seconds of each step, and the bytes or multiply-adds that it cannot avoid."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.work: dict[str, list[float]] = defaultdict(list)

    def __call__(self, step: str, call: Callable[..., Any], *arguments: Any, times: int = 1) -> Any:
        """Return the answer of a call that does the step `times` times."""
        start, cpu = time.perf_counter(), time.process_time()
        answer = call(*arguments)
        self.add(step, time.perf_counter() - start, time.process_time() - cpu, times)
        return answer

    def add(self, step: str, wall: float, cpu: float, times: int = 1) -> None:
        self.seconds[step] += [(wall / times, cpu / times)] * times

    def row(self, step: str, rate: float) -> dict[str, float]:
        """Return the milliseconds of a step, and its floor at a rate of work a second."""
        wall, cpu = 1000 * np.median(self.seconds[step], axis=0)
        best = 1000 * min(each for _, each in self.seconds[step])
        least = 1000 * np.array(self.work[step]) / rate
        times = {"milliseconds": float(wall), "cpu_milliseconds": float(cpu), "best_cpu_milliseconds": best}
        floors = {"floor_milliseconds": float(np.median(least)), "lowest_floor_milliseconds": float(least.min())}
        return {**times, **floors, "below_floor": best < floors["lowest_floor_milliseconds"]}


class InputSizes:
    """YuNet's network; notes the sizes of its inputs, (height, width), after padding."""

    def __init__(self, network: Callable[..., list[Floats]]) -> None:
        self.network = network
        self.sizes: list[tuple[int, int]] = []

    def __call__(self, image: Image, *settings: Floats) -> list[Floats]:
        height, width = (-(-side // YuNet.step) * YuNet.step for side in image.shape[:2])
        self.sizes.append((height, width))
        return self.network(image, *settings)


def main() -> None:
    parser = harness.parser(__doc__, "frame_profile")
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=240)
    models = ["mien-s", "mien-xs", "mien-m", "baseline", "mien-s-fp32"]
    parser.add_argument("--model", nargs="*", default=models, help="shipped models; the first one is profiled")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rates = {f"{kind}_multiply_adds_a_second": peaks.multiply_adds_a_second(kind) for kind in ("fp32", "int8")}
    rates["bytes_a_second"] = peaks.bytes_a_second()
    most = {name: max(each.values()) for name, each in rates.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = scaled(options.video, Path(folder) / "in.mp4")
        clock, share = watch(path, Path(folder) / "out.mp4", options.model[0], options.frames, REDETECT_EVERY)
        again, _ = watch(path, Path(folder) / "out.mp4", options.model[0], options.frames, 0.0)
    for name in ("seconds", "work"):  # the first pass runs few full detections
        getattr(clock, name)["detect, full"] = getattr(again, name)["detect, full"]
    if not clock.seconds["detect, nearby"]:
        raise SystemExit(f"{options.video}: no face in most frames; give a video that shows one")
    rows = {step: clock.row(step, rate_of(step, options.model[0], most)) for step in STEPS}
    alone = [classify_alone(ASSETS / f"{name}.onnx", most, options.frames) for name in options.model]
    values = {
        "video": options.video.name, "size": SIZE, "frames": options.frames, "model": options.model[0],
        "detector": "yunet", "block": BLOCK, "steps": rows, "full_share": share, "rates": rates, "most": most,
        "classify_one_thread": alone, "environment": harness.environment(),
    }  # fmt: skip
    harness.save(options.out, values)
    print(frame_tables(values))
    if wrong := below(values):
        raise SystemExit(f"below its floor: {', '.join(wrong)}; the floor is wrong")


def rate_of(step: str, model: str, most: dict[str, float]) -> float:
    """Return the work a second that bounds a step."""
    if step.startswith("detect") or (step == "classify" and "fp32" in model):
        return most["fp32_multiply_adds_a_second"]
    return most["int8_multiply_adds_a_second" if step == "classify" else "bytes_a_second"]


def watch(path: Path, copy: Path, model: str, count: int, redetect_every: float) -> tuple[Clock, float]:
    """Return the times of the steps, and the share of frames with full detection; a block warms up."""
    detector, classifier = YuNet(threads=1), OnnxClassifier(ASSETS / f"{model}.onnx", threads=1)
    network = detector._net = InputSizes(detector._net)
    tracker, overlay, source, writer = Tracker(), Overlay(), looped(path), VideoWriter(copy, *SIZE)
    packed = path.stat().st_size / (Video(path).frame_count or 1)
    work = multiply_adds(ASSETS / f"{model}.onnx")
    clock, known, redetected, full = Clock(), [], -math.inf, 0
    for first in range(-BLOCK, count, BLOCK):
        if first == 0:
            clock, full = Clock(), 0
        frames, faces, crops = [], [], []
        for _ in range(BLOCK):
            frame: Frame = clock("decode", next, source)
            clock.work["decode"].append(packed + frame.nbytes)
            start, cpu = time.perf_counter(), time.process_time()
            network.sizes.clear()
            expected, nearby = len(known), bool(known) and frame.time - redetected < redetect_every
            if nearby:
                smallest = min(min(x2 - x1, y2 - y1) for x1, y1, x2, y2 in (face.box for face in known))
                known = detector.find(frame.pixels, max(NEARBY * smallest, 1.0))
                nearby = len(known) >= expected
            if not nearby:
                known, redetected, full = detector.find(frame.pixels), frame.time, full + 1
            step = "detect, nearby" if nearby else "detect, full"
            clock.add(step, time.perf_counter() - start, time.process_time() - cpu)
            clock.work[step].append(float(sum(multiply_adds(YUNET, size) for size in network.sizes)))
            crops.append(clock("crop", cut, frame.pixels, known))
            clock.work["crop"].append(sum(map(pixels, known)) + crops[-1].nbytes)
            frames.append(frame)
            faces.append(known)
        rows = iter(clock("classify", classifier, np.concatenate(crops), times=BLOCK).tolist())
        clock.work["classify"] += [work * sum(map(len, faces)) / BLOCK] * BLOCK
        for frame, found, own in zip(frames, faces, crops, strict=True):
            answers = [
                replace(face, probabilities=dict(zip(classifier.labels, next(rows), strict=True))) for face in found
            ]
            tracked = clock("track", tracker.update, answers, frame.time)
            clock.work["track"].append(2 * 8 * FACE * len(found))
            drawn = clock("draw", overlay, Result(frame, tracked, own))
            clock.work["draw"].append(2 * drawn.nbytes)
            clock("encode", writer.write, drawn, frame.time)
            clock.work["encode"].append(drawn.nbytes + packed)
    writer.close()
    return clock, full / count


def pixels(face: Face) -> int:
    x1, y1, x2, y2 = face.box
    return round((x2 - x1) * (y2 - y1))


def classify_alone(path: Path, most: dict[str, float], rounds: int) -> dict[str, Any]:
    """Return the time of one crop in one thread, and its floor."""
    count, classifier, clock = multiply_adds(path), OnnxClassifier(path, threads=1), Clock()
    crop = np.random.default_rng(0).integers(0, 256, (1, 48, 48), np.uint8)
    classifier(crop)
    for _ in range(rounds):
        clock("classify", classifier, crop)
        clock.work["classify"].append(count)
    return {"model": path.stem, "multiply_adds": count, **clock.row("classify", rate_of("classify", path.stem, most))}


@lru_cache(64)
def multiply_adds(path: Path, size: tuple[int, int] | None = None) -> int:
    """Return the multiply-adds of convolutions and matrix products for one crop, or one image of (height, width)."""
    graph = onnx.load(str(path))
    given = graph.graph.input[0].type.tensor_type.shape.dim
    for dim, value in zip(given, (1, 3, *size) if size else (1, 48, 48), strict=True):
        dim.dim_value = value
    inferred = onnx.shape_inference.infer_shapes(graph).graph
    known = [*inferred.value_info, *inferred.output]
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in known}
    shapes |= {value.name: list(value.dims) for value in inferred.initializer}
    count = 0
    for node in inferred.node:
        if node.op_type == "Conv":  # weights (out, in / groups, height, width)
            count += math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])
        elif node.op_type in ("Gemm", "MatMul"):
            count += math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
    return count


def below(values: dict[str, Any]) -> list[str]:
    """Return the steps and models that were faster than their floor."""
    rows = values["steps"] | {row["model"]: row for row in values["classify_one_thread"]}
    return [name for name, row in rows.items() if row["below_floor"]]


if __name__ == "__main__":
    main()
