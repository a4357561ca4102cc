"""Training. The only package that may import torch, lightning_fabric or kornia."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mien.train.config import FINETUNE, TrainConfig, read_recipe
    from mien.train.export import export_all
    from mien.train.finetune import plan
    from mien.train.log import Epoch, tensorboard
    from mien.train.torch_classifier import TorchClassifier
    from mien.train.trainer import Trainer, fit

_MODULES = {
    "FINETUNE": "mien.train.config",
    "Epoch": "mien.train.log",
    "TorchClassifier": "mien.train.torch_classifier",
    "TrainConfig": "mien.train.config",
    "Trainer": "mien.train.trainer",
    "export_all": "mien.train.export",
    "fit": "mien.train.trainer",
    "plan": "mien.train.finetune",
    "read_recipe": "mien.train.config",
    "tensorboard": "mien.train.log",
}

__all__ = [
    "FINETUNE", "Epoch", "TorchClassifier", "TrainConfig", "Trainer", "export_all", "fit", "plan", "read_recipe",
    "tensorboard",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
