"""Optimizer, learning-rate schedule and moving average of the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, OneCycleLR, SequentialLR
from torch.optim.swa_utils import AveragedModel

from mien.train.config import Stage, TrainConfig


def make_optimizer(config: TrainConfig, stage: Stage, model: nn.Module) -> torch.optim.Optimizer:
    """Build the recipe's optimizer for what is not frozen; biases and batch norms have no weight decay."""
    learning = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learning if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in learning if p.dim() <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=stage.lr, momentum=0.9, nesterov=True)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=stage.lr)


def make_scheduler(
    config: TrainConfig, stage: Stage, optimizer: torch.optim.Optimizer, steps_per_epoch: int
) -> LRScheduler:
    """Build the schedule of a stage; it advances once a step."""
    warmup, total = int(config.warmup * steps_per_epoch), stage.epochs * steps_per_epoch
    if config.schedule == "one-cycle":
        total = max(4, total)  # fewer steps have no cycle
        rise = min(max(warmup, 0.3 * total), 0.9 * total)
        final = stage.lr / 25 / stage.lr_end if stage.lr_end else 1e4
        return OneCycleLR(optimizer, stage.lr, total, pct_start=rise / total, div_factor=25, final_div_factor=final)
    cosine = CosineAnnealingLR(optimizer, max(1, total - warmup), stage.lr_end)
    if not warmup:
        return cosine
    linear = LinearLR(optimizer, 1 / warmup, total_iters=warmup - 1)
    return SequentialLR(optimizer, [linear, cosine], [warmup])


def make_average(model: nn.Module, decay: float) -> AveragedModel:
    """Build an exponential moving average of weights and batch-norm statistics that is faster in its first steps."""

    @torch.no_grad()
    def update(averages: list[Tensor], values: list[Tensor], count: int) -> None:
        if not averages[0].is_floating_point():  # batch norm's count of batches
            torch._foreach_copy_(averages, values)
        else:
            rate = min(decay, (1 + int(count)) / (10 + int(count))) if decay else 0.0
            torch._foreach_lerp_(averages, values, 1 - rate)

    average = AveragedModel(model, multi_avg_fn=update, use_buffers=True)  # type: ignore[arg-type]
    average.update_parameters(model)  # the first call only copies
    return average.eval()
