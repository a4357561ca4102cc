"""The settings of a run without a recipe, from the number of images at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mien.data.faces import Faces
from mien.train.config import DataSet, TrainConfig
from mien.types import EMOTIONS7, EMOTIONS8

PASS = 640
"""Least number of images in an epoch: a small set is drawn several times."""

FEW, SOME = 300, 3000
"""Images a class: below FEW only the head learns, below SOME the last third of the blocks; see docs/training.md."""

REPLAY = 0.8
"""Share of the start's own answers in the targets of replayed images."""


def plan(config: TrainConfig, own: Sequence[Faces], replay: Sequence[Faces] = ()) -> TrainConfig:
    """Fit the settings of `FINETUNE` to the data.

    The fewer images a class, the more blocks stay as they are. Classes of unlike size are drawn more evenly. Of the
    `replay` sets an epoch draws as many images as of the own ones, and their targets are mostly the answers of the
    network that the run starts from, so that it does not forget them.
    """
    train = own[0].split("Training")
    counts = [count for count in train.counts().values() if count]
    each = len(train) / max(1, len(counts))
    share = 1.0 if each < FEW else 0.67 if each < SOME else 0.0
    if share == 1.0 and config.init and not set(own[0].labels) <= set(EMOTIONS8):
        share = 0.67  # the features were never asked for classes of other names
    balance = -0.5 if counts and max(counts) > 2 * min(counts) else 0.0
    sets = [DataSet(max(1.0, PASS / max(1, len(train))), balance, distill=0.0)]
    drawn = max(PASS, len(train))
    for faces in own[1:]:
        size = max(1, len(faces.split("Training")))
        sets.append(DataSet(max(1.0, PASS / size), balance, distill=0.0))
        drawn += max(PASS, size)
    for faces in replay:
        size = max(1, len(faces.split("Training")))
        sets.append(DataSet(min(1.0, drawn / len(replay) / size), soft_labels="init"))
    stages = tuple(replace(stage, freeze=share, distill=REPLAY if replay else 0.0) for stage in config.stages)
    # For custom classes the labels in the model file say more than the number in the configuration.
    known = len(own[0].labels) if own[0].labels in (EMOTIONS7, EMOTIONS8) else config.classes
    batch = max(2, min(config.batch, len(train) // 4))
    return replace(config, sets=tuple(sets), stages=stages, classes=known, batch=batch)
