"""The networks and their registry. All take float (N, 1, S, S), normalised, and give raw logits (N, C).

Each has `features`, the convolutions, and `head`, from their output to the logits.
"""

from mien.train.models.baseline import Baseline, LastMaxPool
from mien.train.models.layers import initialise
from mien.train.models.registry import NETWORKS, build, parameters
from mien.train.models.rep import Fused, Rep, RepBlock, Wide
from mien.train.models.transfer import prune_channels, transfer_weights, widen

__all__ = [
    "NETWORKS",
    "Baseline",
    "Fused",
    "LastMaxPool",
    "Rep",
    "RepBlock",
    "Wide",
    "build",
    "initialise",
    "parameters",
    "prune_channels",
    "transfer_weights",
    "widen",
]
