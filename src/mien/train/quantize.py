"""ONNX file -> int8."""

from __future__ import annotations

import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from mien.train.int8_stem import quantize_stem
from mien.train.onnx_file import write_model


def quantize(source: Path, path: Path, crops: NDArray[np.uint8]) -> Path:
    """Write a static int8 file (QDQ, per channel) of an fp32 file, and return its path.

    `crops`, uint8 (N, 48, 48), some hundreds of Training images, set the ranges; the rarest 0.01 % of the activations
    are clipped. Weights have seven bits: without VNNI, eight-bit products saturate in 16-bit sums.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            size = min(64, len(crops))  # the histograms need blocks of one size: the rest is left out
            self.blocks = iter([{"crops": crops[i : i + size]} for i in range(0, len(crops) - size + 1, size)])

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            return next(self.blocks, None)

    facts = {entry.key: entry.value for entry in onnx.load(source).metadata_props}
    with tempfile.TemporaryDirectory() as folder:
        prepared, quantised = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        with redirect_stdout(StringIO()):
            quantize_static(
                str(prepared), str(quantised), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                reduce_range=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                op_types_to_quantize=["Conv", "Gemm", "MaxPool", "Add", "Relu"],
                nodes_to_exclude=_fp32_nodes(onnx.load(prepared)), calibrate_method=CalibrationMethod.Percentile,
                extra_options={"CalibPercentile": 99.99},
            )  # fmt: skip
        model = onnx.load(quantised)
        quantize_stem(model)
        write_model(model, path, facts)
    return path


def _fp32_nodes(graph: onnx.ModelProto) -> list[str]:
    """Name normalisation and first convolution, which `quantize_stem` replaces: on one channel int8 is slower."""
    constants = {value.name for value in graph.graph.initializer}
    additions = [node.name for node in graph.graph.node if node.op_type == "Add" and constants & set(node.input)]
    return additions + [node.name for node in graph.graph.node if node.op_type == "Conv"][:1]
