"""Initialisation of the networks."""

from __future__ import annotations

from torch import nn


def initialise(model: nn.Module) -> None:
    """He initialisation (He et al. 2015) for layers followed by a ReLU, in place."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
