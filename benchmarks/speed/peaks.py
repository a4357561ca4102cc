"""Measure the peak rates of one core: multiply-adds in fp32 and int8, and bytes to and from memory.

The floors of frame_profile.py rest on it, so each rate is the best of several ways. Multiply-adds: matrix products and
stacks of convolutions of several shapes, in ONNX Runtime with one thread, and for fp32 NumPy's product as well. Memory:
NumPy fills, copies and adds arrays far larger than the cache, as STREAM does (McCalpin, 1995); bytes read and written
count. Data in the cache can be faster. Of each way the best of many short rounds counts, in CPU time of the thread: on
a busy machine a long round hardly ever has a core to itself.

Usage: python -m benchmarks.speed.peaks
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from threadpoolctl import threadpool_limits

from benchmarks import harness
from mien.faces.onnx import open_session

SHAPES = ((48, 48, 4), (64, 48, 4), (96, 24, 6), (128, 12, 8), (256, 24, 4), (256, 6, 8), (512, 12, 4))
"""Channels, side of the image, and number of 3x3 convolutions."""

SIDES = (512, 1024)
"""Sides of the multiplied matrices."""

BYTES = 256_000_000
"""Size of each array that goes through memory."""


def multiply_adds_a_second(kind: str, rounds: int = 60) -> dict[str, float]:
    """Return the rate of each way, by name; `kind` is "fp32" or "int8"."""
    found: dict[str, float] = {}
    int8 = kind == "int8"
    with threadpool_limits(1), TemporaryDirectory() as folder:
        path = Path(folder) / "peak.onnx"
        for channels, side, depth in SHAPES:
            onnx.save(convolutions(channels, side, depth, int8), path)
            count = depth * 9 * channels**2 * side**2
            found[f"{depth} convolutions, {channels} channels, {side} pixels"] = count / best(call(path), rounds)
        for side in SIDES:
            onnx.save(product(side, int8), path)
            found[f"product of {side}x{side}"] = side**3 / best(call(path), rounds)
            if not int8:
                a, b = np.random.default_rng(0).random((2, side, side), np.float32)
                out = np.empty_like(a)
                seconds = best(lambda a=a, b=b, out=out: np.matmul(a, b, out=out), rounds)
                found[f"product of {side}x{side}, NumPy"] = side**3 / seconds
    return found


def bytes_a_second(rounds: int = 12) -> dict[str, float]:
    """Return the rate of each way to move bytes, by name."""
    a, b, c = np.ones((3, BYTES // 8))
    ways: dict[str, tuple[int, Callable[[], object]]] = {
        "fill": (1, lambda: a.fill(2)),
        "copy": (2, lambda: np.copyto(a, b)),
        "add": (3, lambda: np.add(b, c, out=a)),
    }
    return {name: arrays * a.nbytes / best(work, rounds) for name, (arrays, work) in ways.items()}


def best(work: Callable[[], object], rounds: int) -> float:
    """Return the CPU seconds of the fastest call; the first one is not counted."""
    work()
    seconds = []
    for _ in range(rounds):
        start = time.thread_time()
        work()
        seconds.append(time.thread_time() - start)
    return min(seconds)


def call(path: Path) -> Callable[[], object]:
    """Return a function that calls a model file once, opened as mien opens it."""
    session = open_session(path, "", threads=1)
    given = session.get_inputs()[0]
    kind = np.uint8 if given.type == "tensor(uint8)" else np.float32
    data = np.random.default_rng(0).integers(0, 255, given.shape).astype(kind)
    return lambda: session.run(None, {given.name: data})


def convolutions(channels: int, side: int, depth: int, int8: bool) -> onnx.ModelProto:
    """Return a stack of 3x3 convolutions that keep the size: fp32, or uint8 by int8 as in the shipped files."""
    rng = np.random.default_rng(0)
    shape, nodes, constants = [1, channels, side, side], [], []
    if int8:
        constants += [scalar("scale", np.float32(0.01)), scalar("middle", np.uint8(128)), scalar("zero", np.int8(0))]
    for k in range(depth):
        weights = rng.integers(-64, 64, (channels, channels, 3, 3))
        constants.append(numpy_helper.from_array(weights.astype(np.int8 if int8 else np.float32), f"w{k}"))
        if int8:
            given = [f"x{k}", "scale", "middle", f"w{k}", "scale", "zero", "scale", "middle"]
            nodes.append(helper.make_node("QLinearConv", given, [f"x{k + 1}"], pads=[1] * 4))
        else:
            nodes.append(helper.make_node("Conv", [f"x{k}", f"w{k}"], [f"x{k + 1}"], pads=[1] * 4))
    kind = TensorProto.UINT8 if int8 else TensorProto.FLOAT
    return model(nodes, constants, ("x0", kind, shape), (f"x{depth}", kind, shape))


def product(side: int, int8: bool) -> onnx.ModelProto:
    """Return the product of a matrix and a constant one: fp32, or uint8 by int8."""
    weights = np.random.default_rng(0).integers(-64, 64, (side, side)).astype(np.int8 if int8 else np.float32)
    node = helper.make_node("MatMulInteger" if int8 else "MatMul", ["x", "w"], ["y"])
    kinds = (TensorProto.UINT8, TensorProto.INT32) if int8 else (TensorProto.FLOAT, TensorProto.FLOAT)
    shape = [side, side]
    return model([node], [numpy_helper.from_array(weights, "w")], ("x", kinds[0], shape), ("y", kinds[1], shape))


def scalar(name: str, value: np.generic) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value), name)


def model(
    nodes: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
    given: tuple[str, int, list[int]],
    asked: tuple[str, int, list[int]],
) -> onnx.ModelProto:
    ends = [[helper.make_tensor_value_info(*each)] for each in (given, asked)]
    graph = helper.make_graph(nodes, "peak", *ends, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def main() -> None:
    harness.parser(__doc__).parse_args()
    for title, rates in (
        ("fp32 multiply-adds", multiply_adds_a_second("fp32")),
        ("int8 multiply-adds", multiply_adds_a_second("int8")),
        ("bytes", bytes_a_second()),
    ):
        for name, rate in rates.items():
            print(f"{title}, {name}: {rate / 1e9:.1f} G/s")


if __name__ == "__main__":
    main()
