"""Optimizer and learning rate."""

from __future__ import annotations

from math import cos, pi
from typing import Any

import torch
from torch import nn

from mien.train.config import Stage, TrainConfig


def make_optimizer(config: TrainConfig, stage: Stage, model: nn.Module) -> torch.optim.Optimizer:
    groups = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in model.parameters() if p.dim() <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=stage.lr, momentum=0.9, nesterov=True)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=stage.lr)


def learning_rate(config: TrainConfig, stage: Stage, step: int, total: int, warm: int) -> float:
    if step < warm:
        return stage.lr * (step + 1) / warm
    done = (step - warm) / max(1, total - warm)
    return stage.lr_end + (stage.lr - stage.lr_end) * (1 + cos(pi * done)) / 2


def set_momentum(group: dict[str, Any], momentum: float) -> None:
    if "momentum" in group:
        group["momentum"] = momentum
    else:
        group["betas"] = (momentum, group["betas"][1])
