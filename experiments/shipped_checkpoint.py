"""Turn the shipped int8 file of `baseline` back into a checkpoint, from which `mien train` can go on.

The file holds convolutions with the batch norm inside. Each batch norm is put beside its convolution again with the
statistics of augmented Training images, and weights with which it changes nothing: so training begins with the answers
of the file, up to its rounding to eight bits. The FER+ head is not in the file and begins anew.

Usage: python -m experiments.baseline_checkpoint --data fer2013.zip --out CHECKPOINT.safetensors
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
from mien.types import EMOTIONS

IMAGES = 2048


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    file = onnx.load(ASSETS / "baseline.onnx")
    facts = {each.key: each.value for each in file.metadata_props}
    config = from_dict(json.loads(facts["recipe"]))
    mean, std = float(facts["mean"]), float(facts["std"])
    faces = load_fer2013(options.data).split("Training")
    chosen = np.random.default_rng(0).permutation(len(faces))[:IMAGES]
    torch.manual_seed(0)
    views = augment(torch.from_numpy(faces.images[chosen, None]).float() / 255, config)
    model = models.build("baseline", len(EMOTIONS), config.width, 0.0, 8)
    fill(model, weights(file.graph), normalize(views, mean, std))
    meta = {"config": config.to_dict(), "labels": list(EMOTIONS), "mean": mean, "std": std, "epoch": config.epochs}
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


@torch.no_grad()
def fill(model: nn.Module, found: Mapping[str, NDArray[np.float32]], images: Tensor) -> None:
    """Set the weights; give each batch norm the statistics of what its convolution answers for the images."""
    layers = dict(model.named_modules())
    for name, values in found.items():
        layer, _, kind = name.rpartition(".")
        target = getattr(layers[layer], kind)
        target.copy_(torch.from_numpy(values.copy()).reshape(target.shape))
    model.eval()
    value = images
    features = model.features
    assert isinstance(features, nn.Sequential)
    for conv, norm in zip(features, [*list(features)[1:], nn.Identity()], strict=True):
        if isinstance(conv, nn.Conv2d):
            assert isinstance(norm, nn.BatchNorm2d) and conv.bias is not None
            value = torch.cat([conv(part) for part in value.split(64)])
            norm.running_mean.copy_(value.mean((0, 2, 3)))  # type: ignore[union-attr]
            norm.running_var.copy_(value.var((0, 2, 3)))  # type: ignore[union-attr]
            norm.weight.copy_((norm.running_var + norm.eps).sqrt())  # type: ignore[operator]
            norm.bias.copy_(norm.running_mean)  # type: ignore[arg-type]
        elif not isinstance(conv, nn.BatchNorm2d):
            value = torch.cat([conv(part) for part in value.split(64)])


if __name__ == "__main__":
    main()
