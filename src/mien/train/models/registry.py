"""The networks by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from mien.errors import ConfigError
from mien.train.models.baseline import Baseline
from mien.train.models.rep import Rep, Wide

NETWORKS: dict[str, Callable[..., nn.Module]] = {"baseline": Baseline, "rep": Rep, "wide": Wide}


def build(network: str, classes: int, width: float = 1.0, dropout: float = 1.0, auxiliary: int = 0) -> nn.Module:
    """Build a fresh network; `width` is a factor on the filters, `dropout` on the dropout rates.

    `auxiliary` is the number of outputs of a second head on the pooled features, for training only; 0 for none.
    """
    if network not in NETWORKS:
        raise ConfigError(f"no network is called {network!r}; choose one of {', '.join(NETWORKS)}")
    model = NETWORKS[network](classes=classes, width=width, dropout=dropout)
    for layer in model.modules():  # He et al. 2015, for layers followed by a ReLU
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    if auxiliary:
        filters = [layer.out_channels for layer in model.modules() if isinstance(layer, nn.Conv2d)][-1]
        head = nn.Linear(filters, auxiliary)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        model.auxiliary = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    return model


def freeze(model: nn.Module, share: float) -> list[nn.Module]:
    """Stop the learning of this share (0..1) of the blocks, from the input on, in place; return these blocks.

    They must also be kept in evaluation mode: their batch norms would go on following the data.
    """
    blocks = list(model.get_submodule("features").children())
    frozen = blocks[: round(share * len(blocks))]
    for block in frozen:
        block.requires_grad_(False)
    return frozen


def parameters(model: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
