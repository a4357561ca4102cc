"""Start a network from the weights of another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mien.data import ferplus
from mien.errors import ConfigError
from mien.train.config import TrainConfig
from mien.train.models.registry import build
from mien.train.models.rep import Rep, RepBlock
from mien.types import label_columns


def load_initial(
    tensors: dict[str, Tensor], meta: dict[str, Any], config: TrainConfig, model: nn.Module, labels: Sequence[str]
) -> None:
    """Load a checkpoint into a fresh network, in place; a wider network of its family is pruned to fit.

    A run without a FER+ head begins with the answers of the exported model: blend and biases go into the last layer.
    """
    network, known = meta["config"]["network"], list(meta["labels"])
    if not config.ferplus:
        choice = {key: meta["config"].get(key) for key in ("blend", "class_bias")}
        tensors = fold_votes(tensors, known, choice["blend"] or 0.0, choice["class_bias"] or {})
    if network != config.network:
        large, small = build(network, len(known)), build(config.network, len(known), config.width)
        if not isinstance(large, Rep) or not isinstance(small, Rep):
            raise ConfigError(f"weights of a {network} network cannot start a {config.network} network")
        large.load_state_dict({name: value for name, value in tensors.items() if not name.startswith("auxiliary.")})
        prune_channels(large, small)
        tensors = small.state_dict()
    transfer_weights(tensors, known, model, labels)


@torch.no_grad()
def transfer_weights(tensors: dict[str, Tensor], old: Sequence[str], model: nn.Module, new: Sequence[str]) -> None:
    """Copy weights into a network of the same kind, its last layer by the names of the classes.

    `old` are the labels of `tensors`, `new` those of `model`, which is changed in place. A class that is new keeps its
    fresh row; so does an auxiliary head that the other network lacks.
    """
    state = model.state_dict()
    last = last_layer(state)
    pairs = [(new.index(label), old.index(label)) for label in new if label in old]
    for name in state:
        value = tensors.get(name)
        if name.startswith("auxiliary."):
            if value is not None and value.shape == state[name].shape:
                state[name].copy_(value)
            continue
        skip = 1 if name in last else 0  # the number of classes may differ
        if value is None or value.shape[skip:] != state[name].shape[skip:]:
            raise ConfigError(f"the weights to start from are of another network ({name} does not fit)")
        if name in last:
            for row, old_row in pairs:
                state[name][row] = value[old_row]
        else:
            state[name].copy_(value)


def fold_votes(
    tensors: Mapping[str, Tensor], labels: Sequence[str], blend: float, class_bias: Mapping[str, float]
) -> dict[str, Tensor]:
    """Add `blend` times the FER+ head, and biases by class, to the last layer: both heads read the same features."""
    tensors = dict(tensors)
    head = last_layer(tensors)
    if blend:
        names = [ferplus.FERPLUS_NAMES.get(name, name) for name in ferplus.FERPLUS[: ferplus.EMOTION_VOTES]]
        rows = label_columns(names, labels)
        for name in head:
            tensors[name] = tensors[name] + blend * tensors["auxiliary.2." + name.split(".")[-1]][rows]
    bias = next(name for name in head if name.endswith(".bias"))
    tensors[bias] = tensors[bias].clone()
    for column, value in zip(label_columns(labels, list(class_bias), "class_bias"), class_bias.values(), strict=True):
        tensors[bias][column] += value
    return tensors


def last_layer(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of weight and bias of the last layer."""
    return [name for name in tensors if name.startswith("head.")][-2:]


@torch.no_grad()
def prune_channels(large: Rep, small: Rep) -> None:
    """Keep in each stage the channels with the largest weights, and copy them into a narrower network, in place.

    The importance of a channel is the norm of the weights that make it and that read it (Li et al. 2017), of each
    convolution relative to its mean. Blocks that only the small network has keep their weights, which start at 0.
    """
    inputs = torch.arange(1)
    old, new = _stages(large), _stages(small)
    if any(a[0].conv.out_channels < b[0].conv.out_channels for a, b in zip(old, new, strict=True)):
        raise ConfigError("the weights to start from are of a network with fewer filters; only a wider one can be used")
    for number, (wide, narrow) in enumerate(zip(old, new, strict=True)):
        readers = wide[1:] + (old[number + 1][:1] if number + 1 < len(old) else [])
        makers = [block.fused(fold=False).get_submodule("conv").get_parameter("weight") for block in wide]
        norms = [weight.flatten(1).norm(dim=1) for weight in makers]
        norms += [block.conv.weight.transpose(0, 1).flatten(1).norm(dim=1) for block in readers]
        importance = torch.stack([norm / norm.mean() for norm in norms]).sum(0)
        kept = importance.topk(narrow[0].conv.out_channels).indices.sort().values
        for source, target in zip(wide, narrow, strict=False):
            target.conv.weight.copy_(source.conv.weight[kept][:, inputs])
            for name, value in target.norm.state_dict().items():
                value.copy_(source.norm.state_dict()[name][kept] if value.dim() else source.norm.state_dict()[name])
            inputs = kept
    narrow_last, wide_last = small.head[-1], large.head[-1]
    assert isinstance(narrow_last, nn.Linear) and isinstance(wide_last, nn.Linear)
    narrow_last.weight.copy_(wide_last.weight[:, inputs])
    narrow_last.bias.copy_(wide_last.bias)


def _stages(model: Rep) -> list[list[RepBlock]]:
    """Group the blocks that share their channels because a residual addition keeps them."""
    stages: list[list[RepBlock]] = []
    for block in model.features:
        assert isinstance(block, RepBlock)
        if not block.adds:
            stages.append([])
        stages[-1].append(block)
    return stages
