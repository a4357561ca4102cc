"""Checkpoints: safetensors files with JSON in the header, whole or not there at all; nothing is unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialized
from torch import Tensor

from mien import files
from mien.classify import ASSETS
from mien.train.config import TrainConfig, from_dict
from mien.types import ConfigError, ModelError


def save(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write a safetensors file with `meta` as JSON in its header, to a temporary file first."""
    with files.draft(path) as place:
        # save_file would leave a file that only its owner can read.
        here = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        place.write_bytes(serialized(here, {"mien": json.dumps(meta)}))


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of `save`; nothing is unpickled.

    Raises:
        ModelError: missing, damaged, or not written by mien.
    """
    try:
        with safe_open(path, "pt") as file:
            meta = json.loads((file.metadata() or {})["mien"])
            return {key: file.get_tensor(key) for key in file.keys()}, meta  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ModelError(
            f"{path} is not a readable mien checkpoint ({error}); train again or give another file"
        ) from error


def earlier(
    config: TrainConfig, facts: Mapping[str, Any], last: Path, resume: bool
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The checkpoint to go on with, after a look at whether it is of this run; None where there is none.

    Args:
        config: the recipe.
        facts: what the run knows of its data.
        last: the checkpoint; `best.safetensors` lies beside it.
        resume: whether there may be one.

    Raises:
        ConfigError: there may be none, it is of another recipe or of other data, or nothing is left to train.
        ModelError: it is damaged.
    """
    if not last.exists():
        return None
    if not resume:
        raise ConfigError(f"{last.parent} already holds a run: continue it with --resume or choose another --out")
    tensors, meta = load(last)
    recipes = [so_far(each, meta["epoch"]) for each in (from_dict(meta["config"]), config)]
    changed = ["another recipe"] if recipes[0] != recipes[1] else []
    if other := _other(meta, facts):
        changed.append(f"other data ({'; '.join(other)})")
    if changed:
        raise ConfigError(
            f"the run in {last.parent} was started with {' and '.join(changed)}; resume it with what it was started "
            "with, or choose another --out"
        )
    if meta["epoch"] >= config.epochs and not last.with_name("best.safetensors").exists():
        raise ConfigError(
            f"the run in {last.parent} has no epoch left and no best.safetensors; add a stage to the recipe, or choose "
            "another --out"
        )
    return tensors, meta


_DATA = {
    "labels": "classes",
    "answers": "classes to choose from",
    "train": "Training images",
    "valid": "PublicTest images",
    "mean": "mean of the pixels",
    "std": "standard deviation of the pixels",
}


def _other(saved: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """What a checkpoint knows of its data that is not so of those at hand, in words."""
    return [
        f"{name}: {_text(saved[key])}, now {_text(facts[key])}"
        for key, name in _DATA.items()
        if key in saved and _text(saved[key]) != _text(facts[key])
    ]


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else " ".join(value) if isinstance(value, list) else str(value)


def so_far(config: TrainConfig, epoch: int) -> TrainConfig:
    """What has had an effect after `epoch` epochs: stages not begun, a teacher not yet asked, and the export have none.

    Two recipes that agree in it give the same run so far, so that the stages to come may still be changed.
    """
    first = [sum(stage.epochs for stage in config.stages[:number]) for number in range(len(config.stages))]
    stages = tuple(stage for stage, start in zip(config.stages, first, strict=True) if start < epoch)
    so_far = replace(config, stages=stages, blend=0.0, mirror=False)
    return so_far if any(stage.distill for stage in stages) else replace(so_far, teacher="", soft_labels="")


def named(name: str) -> Path:
    """The file of a shipped checkpoint, or of one given by its path."""
    path = Path(name)
    return path if path.suffix == ".safetensors" else ASSETS / f"{name}.safetensors"
