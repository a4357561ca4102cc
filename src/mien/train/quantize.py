"""ONNX file -> int8."""

from __future__ import annotations

import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from mien.train.onnx_file import write_model


def quantize(source: Path, path: Path, crops: NDArray[np.uint8]) -> Path:
    """Static int8 (QDQ, per channel), calibrated on training crops; the rarest 0.01 % of the activations are clipped.

    Weights are held to seven bits: without VNNI, eight-bit products saturate in 16-bit sums.

    Args:
        source: the fp32 file.
        path: where the int8 file goes.
        crops: uint8 (N, 48, 48), some hundreds of training pictures.
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
            size = min(64, len(crops))  # the histograms want parts of one size: what is left over is left out
            self.parts = iter([{"crops": crops[i : i + size]} for i in range(0, len(crops) - size + 1, size)])

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            return next(self.parts, None)

    facts = {entry.key: entry.value for entry in onnx.load(source).metadata_props}
    with tempfile.TemporaryDirectory() as folder:
        ready, quantised = Path(folder) / "ready.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
        with redirect_stdout(StringIO()):
            quantize_static(
                str(ready), str(quantised), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                reduce_range=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                op_types_to_quantize=["Conv", "Gemm", "MaxPool", "Add", "Relu"],
                nodes_to_exclude=_exact(onnx.load(ready)), calibrate_method=CalibrationMethod.Percentile,
                extra_options={"CalibPercentile": 99.99},
            )  # fmt: skip
        write_model(onnx.load(quantised), path, facts)
    return path


def _exact(graph: onnx.ModelProto) -> list[str]:
    """Names of the nodes that stay fp32: the normalisation of the pixels and the first convolution.

    All that follows depends on them, and with one channel to read, int8 is the slower of the two.
    """
    constants = {value.name for value in graph.graph.initializer}
    additions = [node.name for node in graph.graph.node if node.op_type == "Add" and constants & set(node.input)]
    return additions + [node.name for node in graph.graph.node if node.op_type == "Conv"][:1]
