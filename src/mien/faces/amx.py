"""Int8 model files on processors with a matrix unit (AMX).

ONNX Runtime multiplies int8 matrices on the matrix unit, but computes a convolution whose weights have the zero point 0
with other instructions. One less in the weights and in their zero points is the same function to the last bit, and it
is computed as a product of matrices, in less time (benchmarks/speed/machine.py). On processors without AMX it would
take more, so files keep the zero point 0 and are changed when they are loaded.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

VARIABLE = "MIEN_AMX"
_CPUINFO = Path("/proc/cpuinfo")
_LENGTH_DELIMITED = 2
_INT8 = 3  # in TensorProto.data_type


class _Field(NamedTuple):
    """A field of a protocol buffer message: its content is `data[start:end]`, or `value` for a number."""

    number: int
    start: int
    end: int
    value: int


class _Tensor(NamedTuple):
    is_int8: bool
    content: slice


class _Node(NamedTuple):
    kind: bytes
    inputs: list[bytes]
    outputs: list[bytes]


def has_amx() -> bool:
    """Return whether Linux reports a matrix unit for int8, and the environment does not say MIEN_AMX=0."""
    if os.environ.get(VARIABLE) == "0":
        return False
    try:
        with _CPUINFO.open(encoding="utf-8", errors="replace") as lines:
            return "amx_int8" in next((line for line in lines if line.startswith("flags")), "").split()
    except OSError:
        return False


def shift_weights(content: bytes) -> bytes:
    """Return an ONNX file with the zero point -1 for the int8 weights of convolutions, which answers the same.

    Changed are weights that a `DequantizeLinear` reads for a `Conv`, with the zero point 0 and without the value -128,
    that nothing else uses. A file without such weights, or that is no ONNX file, is returned as it is.
    """
    try:
        nodes, tensors = _read(content)
    except (IndexError, KeyError, TypeError, ValueError):
        return content
    uses = Counter(name for node in nodes for name in node.inputs)
    dequantized = {node.outputs[0]: node.inputs for node in nodes if node.kind == b"DequantizeLinear" and node.outputs}
    changed = np.frombuffer(content, np.int8).copy()
    for node in nodes:
        sources = dequantized.get(node.inputs[1], []) if node.kind == b"Conv" and len(node.inputs) > 1 else []
        if len(sources) != 3 or any(uses[name] != 1 for name in (sources[0], sources[2])):
            continue
        parts = [tensors.get(name) for name in (sources[0], sources[2])]
        if all(part is not None and part.is_int8 for part in parts):
            weights, zero_points = (changed[part.content] for part in parts if part is not None)
            if len(weights) and len(zero_points) and weights.min() > -128 and not zero_points.any():
                weights -= 1
                zero_points -= 1
    return changed.tobytes()


def _read(content: bytes) -> tuple[list[_Node], dict[bytes, _Tensor]]:
    """Return the nodes and the named tensors of a file's graph (onnx.proto of the ONNX project)."""
    nodes, tensors = [], {}
    for graph in _fields(content, 0, len(content), 7):
        for field in _fields(content, graph.start, graph.end, 1, 5):
            parts = list(_fields(content, field.start, field.end))
            if field.number == 1:
                texts = {number: [content[part.start : part.end] for part in parts if part.number == number]
                         for number in (1, 2, 4)}  # fmt: skip
                nodes.append(_Node(b"".join(texts[4]), texts[1], texts[2]))
            else:
                by_number = {part.number: part for part in parts}
                if 8 in by_number and 9 in by_number:
                    name, raw = by_number[8], by_number[9]
                    is_int8 = 2 in by_number and by_number[2].value == _INT8
                    tensors[content[name.start : name.end]] = _Tensor(is_int8, slice(raw.start, raw.end))
    return nodes, tensors


def _fields(data: bytes, start: int, end: int, *numbers: int) -> Iterator[_Field]:
    """Yield the fields of a message, only those with the given numbers if there are any."""
    while start < end:
        key, start = _varint(data, start)
        number, kind, value = key >> 3, key & 7, 0
        if not number:
            raise ValueError("no field has the number 0")
        if kind == 0:
            value, after = _varint(data, start)
        elif kind == _LENGTH_DELIMITED:
            length, start = _varint(data, start)
            after = start + length
        else:
            after = start + {1: 8, 5: 4}[kind]
        if after > end:
            raise ValueError("a field is longer than its message")
        if not numbers or number in numbers:
            yield _Field(number, start, after, value)
        start = after


def _varint(data: bytes, start: int) -> tuple[int, int]:
    """Return the number at a place, in groups of seven bits, and the place after it."""
    value = shift = 0
    while True:
        byte = data[start]
        value |= (byte & 127) << shift
        start, shift = start + 1, shift + 7
        if byte < 128:
            return value, start
        if shift > 63:
            raise ValueError("a number has more than ten bytes")
