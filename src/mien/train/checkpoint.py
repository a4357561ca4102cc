"""Checkpoints: safetensors files with JSON in the header, written whole or not at all, and never unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from mien.errors import ConfigError, ModelError
from mien.faces.models import current_name
from mien.faces.onnx import ASSETS, check_shipped
from mien.media import atomic
from mien.media.foreign import parsing
from mien.train.config import TrainConfig, from_dict


def save(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    with atomic.draft(path) as draft:
        # safetensors' own save_file leaves a file that only its owner can read.
        copies = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        draft.write_bytes(serialize(copies, {"mien": json.dumps(meta)}))


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and metadata of a file that `save` wrote."""
    check_shipped(path)
    with reading(path), safe_open(path, "pt") as file:
        meta = json.loads((file.metadata() or {})["mien"])
        if not isinstance(meta, dict):
            raise ValueError("its metadata is no object")
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise ValueError(f"{name} holds numbers that are not finite")
        return tensors, meta


def reading(path: Path) -> AbstractContextManager[None]:
    """Turn any exception about the content of a checkpoint into a ModelError."""
    return parsing(path, ModelError, "not a readable mien checkpoint", "train again or give another file")


def resolve(name: str) -> Path:
    """Return the path of a shipped checkpoint by name; a path stays as it is."""
    path = Path(name)
    return path if path.suffix == ".safetensors" else ASSETS / f"{current_name(name)}.safetensors"


def load_mean(names: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Load a checkpoint by name or path, or the mean of the weights of several, joined by +."""
    loaded = [load(resolve(name)) for name in names.split("+")]
    first, meta = loaded[0]
    for name, (tensors, other) in zip(names.split("+"), loaded, strict=True):
        if [(k, v.shape) for k, v in tensors.items()] != [(k, v.shape) for k, v in first.items()]:
            raise ConfigError(f"{name} has other layers than {names.split('+')[0]}: their mean makes no sense")
        with reading(resolve(name)):
            same = all(other[key] == meta[key] for key in ("mean", "std", "labels"))
        if not same:
            raise ConfigError(f"{name} has another normalisation or other classes than {names.split('+')[0]}")
    means = {
        name: torch.stack([tensors[name].double() for tensors, _ in loaded]).mean(0).to(value.dtype)
        for name, value in first.items()
    }
    return means, meta


def find_resumable(
    config: TrainConfig, info: Mapping[str, Any], last: Path, resume: bool
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return the state in `last` to continue from, or None for a fresh run; refuse that of another recipe or data.

    `info` describes the data; without `resume` no state may exist.
    """
    if not last.exists():
        return None
    if not resume:
        raise ConfigError(f"{last.parent} already holds a run: continue it with --resume or choose another --out")
    tensors, meta = load(last)
    changed = []
    with reading(last):
        if _past(from_dict(meta["config"]), int(meta["epoch"])) != _past(config, int(meta["epoch"])):
            changed.append("another recipe")
    if differences := _differences(meta, info):
        changed.append(f"other data ({'; '.join(differences)})")
    if changed:
        raise ConfigError(
            f"the run in {last.parent} was started with {' and '.join(changed)}; resume it with the original ones, or "
            "choose another --out"
        )
    if meta["epoch"] >= config.epochs and not last.with_name("best.safetensors").exists():
        raise ConfigError(
            f"the run in {last.parent} has no epoch left and no best.safetensors; add a stage to the recipe, or choose "
            "another --out"
        )
    if "scheduler" not in meta:
        raise ModelError(f"{last} was written by an older version; start again with another --out")
    return tensors, meta


_DATA = {
    "labels": "classes",
    "answers": "classes to choose from",
    "train": "Training images",
    "valid": "PublicTest images",
    "mean": "mean of the pixels",
    "std": "standard deviation of the pixels",
}


def _differences(saved: Mapping[str, Any], info: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: {_text(saved[key])}, now {_text(info[key])}"
        for key, name in _DATA.items()
        if key in saved and _text(saved[key]) != _text(info[key])
    ]


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else " ".join(value) if isinstance(value, list) else str(value)


def _past(config: TrainConfig, epoch: int) -> TrainConfig:
    """Drop what had no effect on the first `epoch` epochs: later stages, an unused teacher, settings of the export."""
    stages = config.stages[: config.stage_at(epoch - 1)[0] + 1] if epoch < config.epochs else config.stages
    if any(stage.distill for stage in stages):
        return replace(config, stages=stages, blend=0.0, mirror=False, class_bias={}, variants=())
    return replace(
        config, stages=stages, blend=0.0, mirror=False, class_bias={}, variants=(), teacher="", soft_labels=""
    )
