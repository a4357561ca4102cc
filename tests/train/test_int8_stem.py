"""int8 files begin with an int8 convolution that answers like the fp32 one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper
from onnxruntime import InferenceSession

from mien.train import checkpoint, export, int8_stem, models, quantize
from mien.train.config import Stage, TrainConfig
from mien.types import EMOTIONS

pytestmark = pytest.mark.filterwarnings("ignore")  # the exporter and the quantiser warn about their own insides


@pytest.fixture(scope="module")
def crops() -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).integers(0, 256, (64, 6, 6)).repeat(8, 1).repeat(8, 2)
    return np.asarray(noise, np.uint8)


def write(folder: Path, network: str, size: int, mirror: bool = False) -> Path:
    """Export a network with random weights; return the fp32 file."""
    torch.manual_seed(0)
    net = models.build(network, 5).train()
    with torch.no_grad():
        net(torch.randn(4, 1, size, size))
    config = TrainConfig(network=network, stages=(Stage(size=size),), mirror=mirror)
    meta = {"config": config.to_dict(), "labels": list(EMOTIONS), "mean": 0.507, "std": 0.255}
    checkpoint.save(folder / "best.safetensors", net.state_dict(), {**meta, "train": 1, "valid": 1, "epoch": 1})
    return export.export(folder / "best.safetensors", folder / "fp32.onnx", "1", fold=False)


def run(model: onnx.ModelProto, crops: NDArray[np.uint8], name: str) -> NDArray[np.float32]:
    """Return the values of one tensor of a model."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    model.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None))
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run([name], {"crops": crops})[0], np.float32)


@pytest.mark.parametrize(("network", "size"), [("rep", 48), ("rep", 32)])
def test_first_features_are_those_of_the_fp32_convolution(
    tmp_path: Path, crops: NDArray[np.uint8], network: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = write(tmp_path, network, size)
    model = onnx.load(quantize.quantize(full, tmp_path / "int8.onnx", crops))
    assert all(tensor.raw_data for tensor in model.graph.initializer), "as bytes, for mien.faces.amx"
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    makers = {node.output[0]: node.op_type for node in model.graph.node}
    assert {makers.get(node.input[1]) for node in convolutions} == {"DequantizeLinear"}, "all weights are int8"
    monkeypatch.setattr(quantize, "quantize_stem", lambda model: None)
    before = onnx.load(quantize.quantize(full, tmp_path / "before.onnx", crops))
    first = next(node for node in before.graph.node if node.op_type == "QuantizeLinear").output[0]
    expected, found = run(before, crops, first), run(model, crops, first)
    assert expected.shape == found.shape and expected.max() > 200
    assert np.abs(expected - found).max() <= 4
    assert np.abs(expected - found).mean() < 0.5


@pytest.mark.parametrize(("size", "mirror"), [(48, True), (46, False)])
def test_other_beginnings_stay(tmp_path: Path, crops: NDArray[np.uint8], size: int, mirror: bool) -> None:
    model = onnx.load(quantize.quantize(write(tmp_path, "rep", size, mirror), tmp_path / "int8.onnx", crops))
    assert not [node for node in model.graph.node if node.output[0].startswith("stem_")]


def test_filters_of_zeros_and_large_biases_do_not_overflow() -> None:
    quantizer = helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["features"])
    weights = np.zeros((2, 1, 3, 3), np.float32)
    weights[1] = 1e-9
    stem = int8_stem._Stem("crops", 48, 1 / 64, -2.0, weights, np.array([0.5, 900.0], np.float32), quantizer)
    constants = int8_stem._build(stem)[1]
    bias = constants["stem_bias_int32"] * constants["stem_bias_scale"]
    np.testing.assert_allclose(bias[:2], [0.5, 900.0], rtol=1e-5)
