"""Where the time of one frame of `mien video` goes: decode, detect, crop, classify, track, draw, encode.

The given video is scaled to 640x480; each step is timed on each frame, by the clock and in time of the processor (of
all threads together, which a busy machine disturbs less), and the table gives the median over the frames of one run.

`classify` is also timed in one thread and set against a floor: the multiply-adds of the network, by the rate at which
one thread multiplies two large matrices in fp32 (the best of many products, in its own time). int8 can go below
that floor; fp32 cannot, so where its best time does, the rate was measured wrong, and the table says so.

Usage: python benchmarks/frame_profile.py --video single_face.mp4 [--frames 100] [--model rep rep-fp32] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from threadpoolctl import threadpool_limits

from mien import Pipeline, files, image, sources, video
from mien.classify import ASSETS, OnnxClassifier
from mien.draw import Overlay
from mien.report_page import environment
from mien.track import Tracker
from mien.types import Frame, Result
from video import SIZE, scaled

STEPS = ("decode", "detect", "crop", "classify", "track", "draw", "encode")
WARM = 5
"""Frames at the start that are not counted."""


class Clock:
    """Seconds of each step, by the clock and of the processor."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def __call__(self, step: str, work: Callable[..., Any], *args: Any) -> Any:
        start, cpu = time.perf_counter(), time.process_time()
        found = work(*args)
        self.seconds[step].append((time.perf_counter() - start, time.process_time() - cpu))
        return found

    def medians(self, step: str) -> dict[str, float]:
        wall, cpu = 1000 * np.median(self.seconds[step][WARM:], axis=0)
        return {"milliseconds": float(wall), "cpu_milliseconds": float(cpu)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--model", nargs="*", default=["rep", "rep-fp32"], help="shipped ones; the first is profiled")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "frame_profile.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        frames = steps(scaled(options.video, Path(folder) / "in.mp4"), options, Path(folder) / "out.mp4")
    peak = multiply_adds_a_second()
    values = {
        "video": options.video.name,
        "size": SIZE,
        "frames": options.frames,
        "model": options.model[0],
        "steps": frames,
        "fp32_multiply_adds_a_second": peak,
        "classify_one_thread": [floor(ASSETS / f"{name}.onnx", peak, options.frames) for name in options.model],
        "environment": environment(),
    }
    files.write_text(options.out, json.dumps(values, indent=1) + "\n")
    print(markdown(values))


def steps(path: Path, options: argparse.Namespace, copy: Path) -> dict[str, dict[str, float]]:
    """The medians of each step, frame by frame."""
    clock, pipeline, tracker, overlay = Clock(), Pipeline(classifier=options.model[0]), Tracker(), Overlay()
    source = sources.Video(path)
    readable, writer, offset, time_ = iter(source), video.encoder(copy), 0.0, 0.0
    for _ in range(options.frames + WARM):
        frame = clock("decode", next, readable, None)
        if frame is None:  # from the start again, with times that go on
            clock.seconds["decode"].pop()
            readable, offset = iter(source), time_ + 1 / source.fps
            frame = next(readable)
        assert isinstance(frame, Frame), frame
        time_ = offset + frame.time
        faces = clock("detect", pipeline.detector, frame.image)
        crops = clock("crop", image.crops, frame.image, faces)
        if not faces:
            continue
        rows = clock("classify", pipeline.classifier, crops).tolist()
        labels = pipeline.classifier.labels
        named = [
            replace(f, probabilities=dict(zip(labels, row, strict=True))) for f, row in zip(faces, rows, strict=True)
        ]
        followed = clock("track", tracker.update, named, time_)
        shown = clock("draw", overlay, Result(replace(frame, time=time_), followed, crops))
        clock("encode", writer.write, shown, time_)
    writer.finish()
    if len(clock.seconds["classify"]) <= WARM:
        raise SystemExit(f"{options.video}: no face in most frames; give a video that shows one")
    return {step: clock.medians(step) for step in STEPS}


def multiply_adds_a_second(side: int = 512, rounds: int = 200) -> float:
    """Of one thread, in the product of two large fp32 matrices; the best of some rounds, each a few milliseconds.

    A longer product would hardly ever have a core to itself on a busy machine.
    """
    a, b = np.random.default_rng(0).random((2, side, side), dtype=np.float32)
    seconds = []
    with threadpool_limits(1):
        for _ in range(rounds):
            start = time.thread_time()
            a @ b
            seconds.append(time.thread_time() - start)
    return float(side**3 / min(seconds))


def floor(path: Path, peak: float, rounds: int) -> dict[str, Any]:
    """What one crop takes in one thread, and the least it could take."""
    count, classifier, clock = multiply_adds(path), OnnxClassifier(path, threads=1), Clock()
    crop = np.random.default_rng(0).integers(0, 256, (1, 48, 48), np.uint8)
    for _ in range(rounds + WARM):
        clock("classify", classifier, crop)
    least = 1000 * count / peak
    best = 1000 * min(cpu for _, cpu in clock.seconds["classify"])
    medians = clock.medians("classify")
    return {
        "model": path.stem,
        "multiply_adds": count,
        **medians,
        "best_cpu_milliseconds": best,
        "floor_milliseconds": least,
    }


def multiply_adds(path: Path) -> int:
    """Of the convolutions and matrix products of a model, for one crop."""
    model = onnx.load(str(path))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in graph.value_info}
    shapes |= {value.name: list(value.dims) for value in graph.initializer}
    count = 0
    for node in graph.node:
        if node.op_type == "Conv":  # weights (out, in / groups, height, width)
            count += math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])
        elif node.op_type in ("Gemm", "MatMul"):
            count += math.prod(shapes[node.input[1]])
    return count


def markdown(values: dict[str, Any]) -> str:
    """Tables for a document."""
    total = sum(row["milliseconds"] for row in values["steps"].values())
    lines = ["| 640x480, one face | ms | share | ms of the processor |", "|---|---|---|---|"]
    for name, row in values["steps"].items():
        share = row["milliseconds"] / total
        lines.append(f"| {name} | {row['milliseconds']:.2f} | {share:.0%} | {row['cpu_milliseconds']:.2f} |")
    cpu = sum(row["cpu_milliseconds"] for row in values["steps"].values())
    lines += [f"| all | {total:.2f} | | {cpu:.2f} |", ""]
    lines += [
        "| one crop, one thread | million multiply-adds | ms | best, of the processor | floor in fp32 |",
        "|---|---|---|---|---|",
    ]
    for row in values["classify_one_thread"]:
        figures = [row[f"{kind}milliseconds"] for kind in ("", "best_cpu_", "floor_")]
        named = " | ".join(f"{value:.2f}" for value in figures)
        lines.append(f"| {row['model']} | {row['multiply_adds'] / 1e6:.1f} | {named} |")
        if "fp32" in row["model"] and row["best_cpu_milliseconds"] < row["floor_milliseconds"]:
            lines.append(f"| {row['model']} is faster than its floor: the rate below is too low | | | | |")
    machine, peak = values["environment"], values["fp32_multiply_adds_a_second"]
    return "\n".join([*lines, "", f"{machine['processor']}, {machine['cores']} cores; {peak / 1e9:.1f} G/s in fp32."])


if __name__ == "__main__":
    main()
