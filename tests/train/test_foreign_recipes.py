"""Hostile recipes and damaged checkpoints end in one line that names the file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from mien.errors import ConfigError, ModelError
from mien.faces import onnx
from mien.train import checkpoint
from mien.train.config import read_recipe
from mien.train.export import load_network

BOMB = "network: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" + "".join(
    f"{name}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for name, old, new in zip(
        ("init", "teacher", "seed", "batch", "name", "sets", "flip"), "abcdefg", "bcdefgh", strict=True
    )
)
RECIPES = {
    "not UTF-8": b"name: \xff",
    "a date": b"name: 2024-01-01",
    "an impossible date": b"name: 2024-99-99",
    "number as key": b"1: 2\nname: x",
    "number as key of a stage": b"stages: [{1: 2}]",
    "number as class": b"class_bias: {1: 2}",
    "nested deeply": b"name: " + b"[" * 20_000,
    "not a number": b"warmup: .nan",
    "infinite": b"stages: [{lr: .inf}]",
    "negative": b"weight_decay: -1000",
    "path as name": b"name: ../../../x",
    "huge number": b"seed: " + b"9" * 6000,
    "number too large for a float": b"seed: 1" + b"0" * 400,
    "sexagesimal number too large for a float": b"stages: [{epochs: 1" + b":1" * 400 + b"}]",
    "bias too large for a float": b"class_bias: {sad: 1" + b"0" * 400 + b"}",
    "bias without bound": b"variants: [{name: x, class_bias: {sad: 1.0e+300}}]",
    "long list": b"seed: [" + b"1," * 10_001 + b"]",
    "many stages": b"stages: [" + b"{}," * 10_000 + b"]",
    "nested anchors": BOMB.encode(),
    "anchor in itself": b"stages: &a [*a]",
    "long name": b"name: " + b"x" * 100_000,
    "not a recipe": b"a" * 2_000_000,
}


@pytest.mark.parametrize("content", RECIPES.values(), ids=RECIPES)
def test_hostile_recipe_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        read_recipe(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value) and len(str(error.value)) < 700


@pytest.mark.parametrize(
    ("tensors", "meta"),
    [
        ({"a": torch.full((3,), float("nan"))}, '{"config": {}}'),
        ({"a": torch.ones(2)}, "[" * 50_000),
        ({"a": torch.ones(2)}, "[]"),
        ({"a": torch.ones(2)}, '{"config": 7}'),
        ({"a": torch.ones(2)}, '{"config": {}, "labels": ["x"]}'),
    ],
)
def test_damaged_checkpoint_raises_model_error(tmp_path: Path, tensors: dict[str, torch.Tensor], meta: str) -> None:
    path = tmp_path / "best.safetensors"
    path.write_bytes(save(tensors, {"mien": meta}))
    with pytest.raises(ModelError) as error:
        load_network(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_replaced_shipped_checkpoint_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / onnx.SUMS).write_text(f"{'0' * 64}  mien-s.safetensors\n")
    (tmp_path / "mien-s.safetensors").write_bytes((onnx.ASSETS / "mien-s.safetensors").read_bytes())
    monkeypatch.setattr(onnx, "ASSETS", tmp_path)
    with pytest.raises(ModelError, match="another file than the one shipped"):
        checkpoint.load(tmp_path / "mien-s.safetensors")
