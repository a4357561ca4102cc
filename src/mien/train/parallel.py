"""Training in several processes, one a device: how they start, share a batch, and stay the same network.

Every process draws the same order and the same augmented views from the same seed and trains on its share of each
batch, so that the recipe's batch is the batch of all together, and mixing still pairs pictures across the shares.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, distributed, nn

from mien.types import ConfigError, Error

TIMEOUT = timedelta(minutes=10)
"""How long a process waits for the others; that one has died on the same machine is noticed within seconds."""


class Heads(nn.Module):
    """One pass through a network and all of its heads: DDP passes gradients on for what its `forward` calls.

    Args:
        model: with `features`, `head` and perhaps `auxiliary`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        """float (N, 1, S, S), normalised -> logits (N, C) of the head, and (N, 8) of the FER+ head or None."""
        model: Any = self.model
        features = model.features(batch)
        return model.head(features), model.auxiliary(features) if hasattr(model, "auxiliary") else None


def fabric(devices: int, precision: Any) -> Fabric:
    """A Fabric for this many devices of this machine, or for the group of `torchrun` where that started us.

    Nothing is started before `group`.

    Raises:
        ConfigError: the machine has fewer devices, or torchrun was told another number.
    """
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
    if devices * nodes == 1:
        return Fabric(accelerator="auto", devices=1, precision=precision)
    # The environment is named, or Fabric would wait inside a SLURM job for processes that srun did not start.
    strategy = DDPStrategy(cluster_environment=environment, timeout=TIMEOUT)
    try:
        return Fabric(accelerator="auto", devices=devices, num_nodes=nodes, strategy=strategy, precision=precision)
    except (MisconfigurationException, ValueError) as error:
        raise ConfigError(f"cannot train on {devices} devices of this machine: {error}") from error


def first(devices: int) -> bool:
    """Whether this process is the one that writes and prints."""
    name = "RANK" if distributed.is_torchelastic_launched() else "LOCAL_RANK" if devices > 1 else ""
    return int(os.environ.get(name, 0)) == 0


@contextmanager
def group(fabric: Fabric) -> Iterator[None]:
    """Start the other processes where torchrun has not, and join them; at the end all wait for the slowest.

    Fabric starts the command of this process again, once for each further device, and kills all when one fails.

    Raises:
        Error: another process died, or did not come or answer in time.
    """
    if fabric.world_size == 1:
        yield
        return
    try:
        if fabric.local_rank and not distributed.is_torchelastic_launched():
            threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        fabric.launch()
        yield
        fabric.barrier()
    except RuntimeError as error:
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
            raise
        reason = str(error).splitlines()[0]
        raise Error(
            f"process {fabric.global_rank} lost the others: one has ended or cannot be reached ({reason}); "
            "see what it said, then go on with --resume"
        ) from error
    distributed.destroy_process_group()


def _end_with(parent: int) -> None:
    # A process that waits for NCCL or for the group to form would outlive a killed parent by minutes.
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def same(what: str, fabric: Fabric) -> None:
    """Make sure that all processes have the same text, which describes recipe and data.

    Raises:
        ConfigError: this one has another than the first.
    """
    if fabric.broadcast(what) != what:
        raise ConfigError(f"process {fabric.global_rank} was given another recipe or other data than process 0")


def network(model: nn.Module, fabric: Fabric) -> nn.Module:
    """What is called in training: `Heads`, in DDP where there are several processes.

    On CUDA the model's batch norms become SyncBatchNorm, in place, with the same parameters and names.
    """
    heads = Heads(model)
    if fabric.world_size == 1:
        return heads
    if fabric.device.type == "cuda":
        heads = nn.SyncBatchNorm.convert_sync_batchnorm(heads)  # type: ignore[no-untyped-call]
    return fabric.setup_module(heads, move_to_device=False)


def share(count: int, fabric: Fabric) -> slice:
    """The part of `count` rows that this process trains on; parts differ by at most one row."""
    rank, world = fabric.global_rank, fabric.world_size
    return slice(rank * count // world, (rank + 1) * count // world)


def weight(mine: slice, count: int, fabric: Fabric) -> float:
    """Factor on the mean loss of a share with which DDP's mean over the processes is the mean over all rows."""
    return float((mine.stop - mine.start) * fabric.world_size / count)


def summed(values: Tensor, fabric: Fabric) -> Tensor:
    """The sum over all processes, on the device and the same on each; `values` stay as they are."""
    if fabric.world_size == 1:
        return values
    total = values.to(fabric.device, copy=True)
    distributed.all_reduce(total)
    return total


def joined(part: Tensor, mine: slice, count: int, fabric: Fabric) -> Tensor:
    """All `count` rows, of which this process has the rows `mine`."""
    if fabric.world_size == 1:
        return part
    rows = part.new_zeros(count, *part.shape[1:])
    rows[mine] = part
    return summed(rows, fabric)


@contextmanager
def own_random(fabric: Fabric, *key: int) -> Iterator[None]:
    """Dropout draws here from this process's own seed; afterwards all go on from the random state they share.

    One process alone goes on drawing from its one state.
    """
    if fabric.world_size == 1:
        yield
        return
    seed = np.random.SeedSequence([*key, fabric.global_rank]).generate_state(1, np.uint64)[0]
    with torch.random.fork_rng([fabric.device] if fabric.device.type == "cuda" else []):
        torch.manual_seed(int(seed))
        yield


@torch.no_grad()
def agree(model: nn.Module, fabric: Fabric) -> None:
    """Give batch norm's running statistics the mean over the processes, each of which saw its share only.

    SyncBatchNorm, on CUDA, has seen the whole batch, and is left alone.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    if fabric.world_size == 1 or not layers:
        return
    buffers = [value for layer in layers for value in (layer.running_mean, layer.running_var) if value is not None]
    means = summed(torch.cat(buffers), fabric) / fabric.world_size
    for buffer, mean in zip(buffers, torch.split(means, [len(buffer) for buffer in buffers]), strict=True):
        buffer.copy_(mean)
