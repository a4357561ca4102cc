"""Training in several processes, one a device: what DDP and Fabric leave to do.

Every process draws the same order and the same augmented views from the same seed and trains on its share of each
batch. The recipe's batch is that of all processes together, and mixing pairs images across the shares.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.logger import Logger
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, distributed, nn

from mien.errors import ConfigError, Error

TIMEOUT = timedelta(minutes=10)
"""Longest wait for the other processes; the death of one on the same machine is noticed within seconds."""


class Heads(nn.Module):
    """A network with both heads in one forward pass, as DDP needs it to share their gradients."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        """float (N, 1, S, S), normalised -> logits (N, C) of the head, and (N, 8) of the FER+ head or None."""
        features = self.model.features(batch)
        return self.model.head(features), self.model.auxiliary(features) if hasattr(self.model, "auxiliary") else None


def choose_precision(name: str) -> Literal["bf16-mixed", "32-true"]:
    """Resolve "auto": bf16 only where the hardware has it."""
    if name != "auto":
        return "bf16-mixed" if name == "bf16-mixed" else "32-true"
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    # Emulated bf16 is sixteen times slower than float32 on AVX2.
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return "bf16-mixed" if "avx512_bf16" in flags or "amx_bf16" in flags else "32-true"


def make_fabric(devices: int, precision: str, loggers: Sequence[Logger] = ()) -> Fabric:
    """Return a Fabric for this many devices of this machine, or for torchrun's processes; it starts nothing yet."""
    nodes = 1
    environment: ClusterEnvironment = LightningEnvironment()
    if distributed.is_torchelastic_launched():
        local, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        if devices not in (1, local) or world % local:
            raise ConfigError(
                f"torchrun started {local} of {world} processes here: start as many on each node, without --devices"
            )
        devices, nodes, environment = local, world // local, TorchElasticEnvironment()
    if devices < 1:
        raise ConfigError(f"--devices must be at least 1, got {devices}")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # otherwise a line for each process
    # Inside a SLURM job Fabric would wait for processes of srun unless the environment is named.
    strategy: Any = DDPStrategy(cluster_environment=environment, timeout=TIMEOUT) if devices * nodes > 1 else "auto"
    try:
        return Fabric(
            strategy=strategy, devices=devices, num_nodes=nodes, precision=choose_precision(precision),
            loggers=list(loggers),
        )  # fmt: skip
    except (MisconfigurationException, ValueError) as error:
        raise ConfigError(f"cannot train on {devices} devices of this machine: {error}") from error


def is_first_process(devices: int) -> bool:
    """Return whether this process writes and prints; known before the processes have joined."""
    name = "RANK" if distributed.is_torchelastic_launched() else "LOCAL_RANK" if devices > 1 else ""
    return int(os.environ.get(name, 0)) == 0


@contextmanager
def process_group(fabric: Fabric) -> Iterator[None]:
    """Start the other processes (Fabric runs this command again for each) or join torchrun's; leave together."""
    if fabric.world_size == 1:
        yield
        return
    try:
        if fabric.local_rank and not distributed.is_torchelastic_launched():
            threading.Thread(target=_exit_with, args=(os.getppid(),), daemon=True).start()
        fabric.launch()
        yield
        fabric.barrier()
    except RuntimeError as error:
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
            raise
        reason = str(error).splitlines()[0]
        raise Error(
            f"process {fabric.global_rank} lost the others: one has ended or cannot be reached ({reason}); "
            "see its error message, then continue with --resume"
        ) from error
    distributed.destroy_process_group()


def _exit_with(parent: int) -> None:
    # A process that waits for NCCL or for the group to form would outlive a killed parent by minutes.
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def require_same(description: str, fabric: Fabric) -> None:
    """Raise a ConfigError where a process has another description of recipe and data than the first."""
    if fabric.broadcast(description) != description:
        raise ConfigError(f"process {fabric.global_rank} has another recipe or other data than process 0")


def setup(model: nn.Module, fabric: Fabric) -> nn.Module:
    """Wrap a model for training; with several CUDA devices its batch norms become SyncBatchNorm, in place."""
    heads = Heads(model)
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        heads = nn.SyncBatchNorm.convert_sync_batchnorm(heads)  # type: ignore[no-untyped-call]
    return fabric.setup_module(heads, move_to_device=False)


def share(count: int, fabric: Fabric) -> slice:
    """Return the part of `count` rows that this process trains on; parts differ by at most one row."""
    rank, world = fabric.global_rank, fabric.world_size
    return slice(rank * count // world, (rank + 1) * count // world)


def weight(own: slice, count: int, fabric: Fabric) -> float:
    """Return the factor on a share's mean loss that makes DDP's mean over processes the mean over all rows."""
    return float((own.stop - own.start) * fabric.world_size / count)


def total(values: Tensor, fabric: Fabric) -> Tensor:
    """Return the sum over all processes."""
    if fabric.world_size == 1:
        return values
    summed: Tensor = fabric.all_reduce(values.clone(), reduce_op="sum")  # type: ignore[assignment]
    return summed


def gather(part: Tensor, own: slice, count: int, fabric: Fabric) -> Tensor:
    """Return all `count` rows; this process has the rows `own`."""
    if fabric.world_size == 1:
        return part
    rows = part.new_zeros(count, *part.shape[1:])
    rows[own] = part
    return total(rows, fabric)


@contextmanager
def own_random(fabric: Fabric, *key: int) -> Iterator[None]:
    """Seed dropout for each process on its own; afterwards all continue from their common random state."""
    if fabric.world_size == 1:
        yield
        return
    seed = np.random.SeedSequence([*key, fabric.global_rank]).generate_state(1, np.uint64)[0]
    with torch.random.fork_rng([fabric.device] if fabric.device.type == "cuda" else []):
        torch.manual_seed(int(seed))
        yield


@torch.no_grad()
def average_batch_norms(model: nn.Module, fabric: Fabric) -> None:
    """Average batch norm's running statistics over the processes; SyncBatchNorm needs nothing."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    if fabric.world_size == 1 or not layers:
        return
    buffers = [value for layer in layers for value in (layer.running_mean, layer.running_var) if value is not None]
    means = total(torch.cat(buffers), fabric) / fabric.world_size
    torch._foreach_copy_(buffers, list(torch.split(means, [len(buffer) for buffer in buffers])))
