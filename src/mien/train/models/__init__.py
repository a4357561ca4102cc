"""The networks. Each takes float (N, 1, S, S), normalised, and returns logits (N, C).

Each has `features`, the convolutions, and `head`, from their output to the logits.
"""

from mien.train.models.baseline import Baseline, LastMaxPool
from mien.train.models.registry import NETWORKS, build, freeze, parameters
from mien.train.models.rep import Fused, Rep, RepBlock, Wide
from mien.train.models.transfer import fold_votes, last_layer, load_initial, prune_channels, transfer_weights

__all__ = [
    "NETWORKS",
    "Baseline",
    "Fused",
    "LastMaxPool",
    "Rep",
    "RepBlock",
    "Wide",
    "build",
    "fold_votes",
    "freeze",
    "last_layer",
    "load_initial",
    "parameters",
    "prune_channels",
    "transfer_weights",
]
