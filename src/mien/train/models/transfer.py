"""Weights of one network into another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mien.errors import ConfigError
from mien.train.models.rep import Rep, RepBlock


@torch.no_grad()
def widen(small: dict[str, Tensor], large: nn.Module) -> None:
    """Put a narrower network's weights into a wider one, which then computes the same function in evaluation.

    The old channels keep their weights and ignore the new ones (weight 0 from new to old); the new channels start from
    their own initialisation, so that both are free to learn. Net2Net (Chen et al. 2016) copies channels instead, which
    then have to be told apart by noise.
    """
    state = large.state_dict()
    for name, value in small.items():
        target = state[name]
        if value.dim() >= 2:
            target[: value.shape[0], value.shape[1] :] = 0
        target[tuple(slice(n) for n in value.shape)] = value
    large.load_state_dict(state)


@torch.no_grad()
def prune_channels(large: Rep, small: Rep) -> None:
    """Start a network from a wider one of its family, in place: each stage keeps the channels with the largest weights.

    How much a channel counts is the size of the weights that make it and that read it (Li et al. 2017), of each
    convolution relative to its mean. Blocks that only the small network has stay as they are; those begin at 0.

    Args:
        large: with at least as many filters in each stage.
        small: with as many classes, changed in place.

    Raises:
        ConfigError: a stage of the small network has more filters.
    """
    before = torch.arange(1)
    old, new = (_stages(each) for each in (large, small))
    if any(a[0].conv.out_channels < b[0].conv.out_channels for a, b in zip(old, new, strict=True)):
        raise ConfigError(
            "the weights to start from are of a network with fewer filters: only a wider one can be cut down"
        )
    for number, (here, there) in enumerate(zip(old, new, strict=True)):
        readers = here[1:] + (old[number + 1][:1] if number + 1 < len(old) else [])
        made = [block.fused(fold=False).get_submodule("conv").get_parameter("weight") for block in here]
        sizes = [weight.flatten(1).norm(dim=1) for weight in made]
        sizes += [block.conv.weight.transpose(0, 1).flatten(1).norm(dim=1) for block in readers]
        worth = torch.stack([size / size.mean() for size in sizes]).sum(0)
        kept = worth.topk(there[0].conv.out_channels).indices.sort().values
        for source, target in zip(here, there, strict=False):
            target.conv.weight.copy_(source.conv.weight[kept][:, before])
            for name, value in target.norm.state_dict().items():
                value.copy_(source.norm.state_dict()[name][kept] if value.dim() else source.norm.state_dict()[name])
            before = kept
    last, wider = small.head[-1], large.head[-1]
    assert isinstance(last, nn.Linear) and isinstance(wider, nn.Linear)
    last.weight.copy_(wider.weight[:, before])
    last.bias.copy_(wider.bias)


def _stages(model: Rep) -> list[list[RepBlock]]:
    """The blocks that share their channels: a residual addition keeps them."""
    found: list[list[RepBlock]] = []
    for block in model.features:
        assert isinstance(block, RepBlock)
        if not block.adds:
            found.append([])
        found[-1].append(block)
    return found


@torch.no_grad()
def transfer_weights(tensors: dict[str, Tensor], old: Sequence[str], model: nn.Module, new: Sequence[str]) -> None:
    """Start a network from another one's weights, its last layer by the names of the classes.

    A class that the other network does not know keeps its fresh row, a class that it alone knows is dropped.

    Args:
        tensors: the other network's state; a head for training only is left out.
        old: its labels.
        model: the same kind of network, changed in place.
        new: our labels.

    Raises:
        ConfigError: the networks differ in more than the last layer.
    """
    state = model.state_dict()
    last = [name for name in state if name.startswith("head.")][-2:]
    pairs = [(new.index(label), old.index(label)) for label in new if label in old]
    for name in state:
        if name.startswith("auxiliary."):
            continue
        value = tensors.get(name)
        rows = 1 if name in last else 0  # the number of classes may differ
        if value is None or value.shape[rows:] != state[name].shape[rows:]:
            raise ConfigError(f"the weights to start from are of another network ({name} does not fit)")
        if name in last:
            for here, there in pairs:
                state[name][here] = value[there]
        else:
            state[name].copy_(value)
    model.load_state_dict(state)
