"""Where the time of one frame of `mien video` goes, and the least that each step could take on this machine.

(It is not called profile.py because the standard library has a module of that name.)

The given video is scaled to 640x480 and goes through what `mien video --save` runs: `load(threads=1)`, one thread for
OpenCV (but for Haar, as there), `Stream.seek` frame by frame, `Stream.look` for blocks of frames, the overlay and the
encoder. There these steps run side by side in three threads; here they run one after the other, so that each can be
timed: by the clock, and in time of the processor (of all threads together, which a busy machine disturbs less). The
median over the frames of one run is given. A block's classifier call counts for each of its frames in equal parts.

The search has two rows: near the known faces, as in most frames, and whole, as twice a second or with `--whole 0`; it
is also timed whole in each frame of a second run. `all` adds each step as often as the frames of a video have it.

Floors, of one thread:
    detect    multiply-adds of YuNet for the picture that it is given, by the best rate in fp32 of this machine;
    classify  multiply-adds of the network by the best rate in int8, or in fp32 for an fp32 file;
    others    bytes that must be read and written (decode: compressed and BGR picture; crop: the boxes' pixels and the
              crops; track: the faces' numbers; draw: the picture and its copy; encode: picture and compressed), by the
              bandwidth of memory.
benchmarks/peaks.py measures the rates, and takes the best of several ways. A step whose best time is below its floor
is marked, and the run ends with an error, for then the floor is wrong.

Usage: python benchmarks/frame_profile.py --video single_face.mp4 [--frames 240] [--detector yunet]
       [--model rep swift wide baseline rep-fp32] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import onnx

import peaks
from mien import files, image, load, run, search, sources, video
from mien.classify import ASSETS, OnnxClassifier
from mien.draw import Overlay
from mien.pipeline import WHOLE, Sought
from mien.report_page import environment
from mien.types import Face, Floats, Frame
from video import SIZE, looped, scaled

STEPS = ("decode", "detect, near", "detect, whole", "crop", "classify", "track", "draw", "encode")
WARM = run.BLOCK
"""Frames at the start that are not counted."""

YUNET = search.ASSETS / "face_detection_yunet_2023mar.onnx"
FACE = 4 + 1 + 10 + 5
"""Numbers of a face that the tracker reads and writes: box, score, landmarks, probabilities."""


class Clock:
    """Seconds of each step, by the clock and of the processor, and the bytes or multiply-adds that it cannot avoid."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.work: dict[str, list[float]] = defaultdict(list)

    def __call__(self, step: str, work: Callable[..., Any], *args: Any, times: int = 1) -> Any:
        """The answer of a call that does the step `times` times."""
        start, cpu = time.perf_counter(), time.process_time()
        found = work(*args)
        self.add(step, time.perf_counter() - start, time.process_time() - cpu, times)
        return found

    def add(self, step: str, wall: float, cpu: float, times: int = 1) -> None:
        self.seconds[step] += [(wall / times, cpu / times)] * times

    def clear(self) -> None:
        self.seconds.clear()
        self.work.clear()

    def row(self, step: str, rate: float) -> dict[str, float]:
        """Milliseconds of a step, and its floor where this much of its work is done in a second."""
        wall, cpu = 1000 * np.median(self.seconds[step], axis=0)
        best = 1000 * min(each for _, each in self.seconds[step])
        least = 1000 * np.array(self.work[step]) / rate
        found = {"milliseconds": float(wall), "cpu_milliseconds": float(cpu), "best_cpu_milliseconds": best}
        found |= {"floor_milliseconds": float(np.median(least)), "lowest_floor_milliseconds": float(least.min())}
        return found | {"below_floor": best < found["lowest_floor_milliseconds"]}


class Watched:
    """A detector's network that notes the size of the pictures that it is given."""

    def __init__(self, net: Callable[[Floats], list[Floats]]) -> None:
        self.net = net
        self.sizes: list[tuple[int, int]] = []

    def __call__(self, blob: Floats) -> list[Floats]:
        self.sizes.append((blob.shape[2], blob.shape[3]))
        return self.net(blob)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--detector", default="yunet", choices=("yunet", "haar"), help="haar has no floor")
    parser.add_argument("--model", nargs="*", default=["rep", "swift", "wide", "baseline", "rep-fp32"],
                        help="shipped ones; the first is profiled")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "frame_profile.json")
    options = parser.parse_args()
    cv2.setNumThreads(-1 if options.detector == "haar" else 1)  # as `mien video` does it
    rates = {f"{kind}_multiply_adds_a_second": peaks.multiply_adds_a_second(kind) for kind in ("fp32", "int8")}
    rates["bytes_a_second"] = peaks.bytes_a_second()
    most = {name: max(each.values()) for name, each in rates.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = scaled(options.video, Path(folder) / "in.mp4")
        frames = steps(path, options, Path(folder) / "out.mp4", most)
    values = {"video": options.video.name, "size": SIZE, "frames": options.frames, "model": options.model[0],
              "detector": options.detector, "block": run.BLOCK, **frames, "rates": rates, "most": most}  # fmt: skip
    values["classify_one_thread"] = [alone(ASSETS / f"{name}.onnx", most, options.frames) for name in options.model]
    values["environment"] = environment()
    files.write_text(options.out, json.dumps(values, indent=1) + "\n")
    print(markdown(values))
    if wrong := below(values):
        raise SystemExit(f"below its floor: {', '.join(wrong)}; the floor is wrong")


def steps(path: Path, options: argparse.Namespace, copy: Path, most: dict[str, float]) -> dict[str, Any]:
    """The rows of each step, and the share of frames that were searched whole."""
    clock, share = watch(path, options, WHOLE, copy)
    again, _ = watch(path, options, 0.0, copy)
    for name in ("seconds", "work"):  # a whole search comes twice a second only: the second run has more of them
        getattr(clock, name)["detect, whole"] = getattr(again, name)["detect, whole"]
    if not clock.seconds["detect, near"]:
        raise SystemExit(f"{options.video}: no face in most frames; give a video that shows one")
    moved, counted = most["bytes_a_second"], most["fp32_multiply_adds_a_second"]
    fast = counted if "fp32" in options.model[0] else most["int8_multiply_adds_a_second"]
    rows = {
        step: clock.row(step, fast if step == "classify" else counted if step.startswith("detect") else moved)
        for step in STEPS
    }
    return {"steps": rows, "whole_share": share}


def watch(path: Path, options: argparse.Namespace, whole: float, copy: Path) -> tuple[Clock, float]:
    """One run over the video; what each step took, and the share of frames that were searched whole."""
    clock, overlay = Clock(), Overlay()
    pipeline = load(options.model[0], options.detector, threads=1)
    stream = pipeline.stream(whole=whole)
    net = Watched(getattr(pipeline.detector, "_net", None))  # type: ignore[arg-type]
    if net.net:
        pipeline.detector._net = net  # type: ignore[attr-defined]
    source, writer = looped(path), video.encoder(copy)
    packed = path.stat().st_size / sources.Video(path).total if sources.Video(path).total else 0.0
    searched: list[bool] = []
    for first in range(0, options.frames + WARM, run.BLOCK):
        if first == WARM:
            clock.clear()
            searched.clear()
        block: list[Sought] = []
        for _ in range(run.BLOCK):
            frame: Frame = clock("decode", next, source)
            clock.work["decode"].append(packed + frame.image.nbytes)
            block.append(seek(clock, stream, frame, net, searched))
        results = look(clock, stream, block)
        for result in results:
            shown = clock("draw", overlay, result)
            clock.work["draw"].append(2 * result.frame.image.nbytes)
            clock("encode", writer.write, shown, result.frame.time)
            clock.work["encode"].append(shown.nbytes + packed)
    writer.finish()
    return clock, sum(searched) / len(searched)


def seek(clock: Clock, stream: Any, frame: Frame, net: Watched, searched: list[bool]) -> Sought:
    """`Stream.seek`, booked as a near or a whole search; one that was near first and then whole counts as whole."""
    net.sizes.clear()
    start, cpu = time.perf_counter(), time.process_time()
    sought: Sought = stream.seek(frame)
    seconds = time.perf_counter() - start, time.process_time() - cpu
    searched.append(stream._searched == frame.time)
    step = "detect, whole" if searched[-1] else "detect, near"
    clock.add(step, *seconds)
    clock.work[step].append(float(sum(multiply_adds(YUNET, size) for size in net.sizes)))
    return sought


def look(clock: Clock, stream: Any, block: Sequence[Sought]) -> Any:
    """`Stream.look` for a block of frames, with its steps timed from inside."""
    pipeline, tracker, faces = stream.pipeline, stream.tracker, sum(len(each.faces) for each in block)
    classifier = pipeline.classifier

    def crop(*args: Any) -> Any:
        found = clock("crop", cut, *args)
        clock.work["crop"].append(sum(map(pixels, args[1])) * args[0].shape[2] + found.nbytes)
        return found

    def classify(crops: Any) -> Any:
        count = multiply_adds(ASSETS / f"{classifier.name}.onnx")
        clock.work["classify"] += [count * faces / len(block)] * len(block)
        return clock("classify", classifier, crops, times=len(block))

    def update(found: Sequence[Face], at: float) -> Any:
        clock.work["track"].append(2 * 8 * FACE * len(found))
        return clock("track", follow, found, at)

    cut, follow = image.crops, tracker.update
    stand_in = mock.Mock(side_effect=classify, labels=classifier.labels, uncertain_below=classifier.uncertain_below)
    with (
        mock.patch.object(image, "crops", crop),
        mock.patch.object(tracker, "update", update),
        mock.patch.object(pipeline, "classifier", stand_in),
    ):
        return stream.look(block)


def pixels(face: Face) -> int:
    """Of its box."""
    x1, y1, x2, y2 = face.box
    return round((x2 - x1) * (y2 - y1))


def alone(path: Path, most: dict[str, float], rounds: int) -> dict[str, Any]:
    """What one crop takes in one thread, and the least it could take."""
    count, classifier, clock = multiply_adds(path), OnnxClassifier(path, threads=1), Clock()
    crop = np.random.default_rng(0).integers(0, 256, (1, 48, 48), np.uint8)
    classifier(crop)
    for _ in range(rounds):
        clock("classify", classifier, crop)
        clock.work["classify"].append(count)
    kind = "fp32" if "fp32" in path.stem else "int8"
    return {"model": path.stem, "multiply_adds": count, **clock.row("classify", most[f"{kind}_multiply_adds_a_second"])}


@lru_cache(64)
def multiply_adds(path: Path, size: tuple[int, int] | None = None) -> int:
    """Of the convolutions and matrix products of a model, for one crop or one picture of that height and width."""
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
    """Steps and models that were faster than their floor."""
    rows = values["steps"] | {row["model"]: row for row in values["classify_one_thread"]}
    return [name for name, row in rows.items() if row["below_floor"]]


def total(values: dict[str, Any], key: str) -> float:
    """Milliseconds of all steps of a frame."""
    share = values["whole_share"]
    weights = {"detect, near": 1 - share, "detect, whole": share}
    return float(sum(weights.get(step, 1) * row[key] for step, row in values["steps"].items()))


def markdown(values: dict[str, Any]) -> str:
    """Tables for a document."""
    whole, most = total(values, "milliseconds"), values["most"]
    size = "x".join(map(str, values["size"]))
    lines = [f"| {size}, one face | ms | share | ms of the processor | floor, ms | times the floor |", "|---" * 6 + "|"]
    for name, row in values["steps"].items():
        part = {"detect, near": 1 - values["whole_share"], "detect, whole": values["whole_share"]}.get(name, 1.0)
        share = f"{part * row['milliseconds'] / whole:.0%}"
        lines.append(f"| {name} | {row['milliseconds']:.2f} | {share} | {row['cpu_milliseconds']:.2f} | {floor(row)} |")
    figures = f"{whole:.2f} | | {total(values, 'cpu_milliseconds'):.2f} | {total(values, 'floor_milliseconds'):.2f}"
    lines += [f"| all, {values['whole_share']:.0%} of the frames searched whole | {figures} | |", ""]
    lines += [
        "| one crop, one thread | million multiply-adds | ms | best, of the processor | floor, ms | times the floor |",
        "|---" * 6 + "|",
    ]
    for row in values["classify_one_thread"]:
        times = f"{row['milliseconds']:.2f} | {row['best_cpu_milliseconds']:.2f}"
        lines.append(f"| {row['model']} | {row['multiply_adds'] / 1e6:.1f} | {times} | {floor(row)} |")
    machine = values["environment"]
    peak = f"{most['fp32_multiply_adds_a_second'] / 1e9:.0f} G multiply-adds a second in fp32, "
    peak += f"{most['int8_multiply_adds_a_second'] / 1e9:.0f} G in int8, {most['bytes_a_second'] / 1e9:.0f} GB/s"
    return "\n".join([*lines, "", f"{machine['processor']}, {machine['cores']} cores; one thread: {peak}."])


def floor(row: dict[str, Any]) -> str:
    """Two cells: the floor, and how many times it the step takes."""
    least = row["floor_milliseconds"]
    if not least:  # of Haar nobody counts the operations
        return " | "
    times = row["milliseconds"] / least
    said = "below: the floor is wrong" if row["below_floor"] else f"{times:,.0f}" if times >= 10 else f"{times:.1f}"
    return f"{least:.2g} | {said}" if least < 0.01 else f"{least:.2f} | {said}"


if __name__ == "__main__":
    main()
