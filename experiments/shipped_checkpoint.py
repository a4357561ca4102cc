"""Turn a shipped int8 file, of `baseline` or `mien-m`, back into a checkpoint, from which `mien train` can go on.

The file holds convolutions with the batch norm inside. Each batch norm is put beside its convolution again with the
statistics of augmented Training images, and weights with which it changes nothing: so training begins with the answers
of the file, up to its rounding to eight bits. The FER+ head, and classes that the file leaves out, begin anew.

Usage: python -m experiments.shipped_checkpoint {baseline,mien-m} --data fer2013.zip --out CHECKPOINT.safetensors
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from mien.data.fer2013 import load_fer2013
from mien.faces.onnx import ASSETS
from mien.train import checkpoint, models
from mien.train.augment import augment, normalize
from mien.train.config import from_dict
from mien.types import EMOTIONS, EMOTIONS7, label_columns

IMAGES = 2048


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("model", choices=("baseline", "mien-m"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    file = onnx.load(ASSETS / f"{options.model}.onnx")
    facts = {each.key: each.value for each in file.metadata_props}
    config = from_dict(json.loads(facts["recipe"]))
    mean, std = float(facts["mean"]), float(facts["std"])
    faces = load_fer2013(options.data).split("Training")
    chosen = np.random.default_rng(0).permutation(len(faces))[:IMAGES]
    torch.manual_seed(0)
    views = augment(torch.from_numpy(faces.images[chosen, None]).float() / 255, config)
    labels = EMOTIONS7 if config.extra_classes else EMOTIONS
    model = models.build(config.network, len(labels), config.width, 0.0, 8)
    found = weights(file.graph)
    found |= first_weights(file.graph, "features.0" if config.network == "baseline" else "0.conv")
    for name, values in found.items():
        if len(values) == len(EMOTIONS):  # the last layer
            found[name] = np.zeros((len(labels), *values.shape[1:]), np.float32)
            found[name][label_columns(labels, EMOTIONS)] = values
    fill(model, found, normalize(views, mean, std))
    meta = {"config": config.to_dict(), "labels": list(labels), "mean": mean, "std": std, "epoch": config.epochs}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(options.out, model.state_dict(), meta)


def weights(graph: onnx.GraphProto) -> dict[str, NDArray[np.float32]]:
    """Return weights and biases by name, dequantized."""
    stored = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    found = {}
    for name, values in stored.items():
        layer, _, kind = name.removesuffix("_quantized").rpartition(".")
        if kind not in ("weight", "bias"):
            continue
        if name.endswith("_quantized"):
            scale = stored[f"{layer}.weight_scale" if kind == "weight" else f"{name}_scale"]
            values = values.astype(np.float32) * scale.reshape(-1, *[1] * (values.ndim - 1))
        found[f"{layer.removeprefix('model.')}.{kind}"] = np.asarray(values, np.float32)
    return found


def first_weights(graph: onnx.GraphProto, layer: str) -> dict[str, NDArray[np.float32]]:
    """Return weight and bias of the first convolution, which `mien.train.int8_stem` repeats for four pixels."""
    stored = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    repeated = stored["stem_weights_int8"]
    filters = len(repeated) // 4
    scale = stored["stem_weights_scale"][:filters, None, None]
    # For the first pixel of a block: the last channel of the block before, and two of its own.
    columns = [repeated[:filters, channel, :, block] for channel, block in ((3, 0), (0, 1), (1, 1))]
    bias = (stored["stem_bias_int32"] * stored["stem_bias_scale"])[:filters]
    return {f"{layer}.weight": (np.stack(columns, -1) * scale)[:, None], f"{layer}.bias": bias.astype(np.float32)}


@torch.no_grad()
def fill(model: nn.Module, found: Mapping[str, NDArray[np.float32]], images: Tensor) -> None:
    """Set the weights; give each batch norm the statistics of what its convolution answers for the images."""
    layers = dict(model.named_modules())
    biases = {}
    for name, values in found.items():
        layer, _, kind = name.rpartition(".")
        target = getattr(_layer(layers, layer), kind)
        value = torch.from_numpy(values.copy())
        if target is None:  # the batch norm has it
            biases[_layer(layers, layer)] = value
        else:
            target.copy_(value.reshape(target.shape))
    model.eval()
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    for convolution, norm in zip(convolutions, norms, strict=True):
        answers = _answers(model, convolution, images)
        bias = biases.get(convolution, torch.zeros(norm.num_features))
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.copy_(answers.mean((0, 2, 3)))
        norm.running_var.copy_(answers.var((0, 2, 3)))
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())
        norm.bias.copy_(norm.running_mean + bias)


def _layer(layers: Mapping[str, nn.Module], name: str) -> nn.Module:
    """Return the layer of that name in the exported model, which numbers the blocks and the head of `Rep` together."""
    if name in layers:
        return layers[name]
    number, _, rest = name.partition(".")
    blocks = sum(1 for each in layers if each.startswith("features.") and each.count(".") == 1)
    return layers[f"features.{number}.{rest}" if int(number) < blocks else f"head.{rest}"]


def _answers(model: nn.Module, convolution: nn.Conv2d, images: Tensor) -> Tensor:
    """Return what a convolution answers for images, (N, C, H, W)."""
    found: list[Tensor] = []
    handle = convolution.register_forward_hook(lambda _layer, _given, answer: found.append(answer))
    for part in images.split(64):
        model(part)
    handle.remove()
    return torch.cat(found)


if __name__ == "__main__":
    main()
