"""Targets: the images, labels, FER+ votes and answers of other models that an epoch trains on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from mien.data.faces import Faces
from mien.errors import ConfigError
from mien.faces.models import load_classifier
from mien.train.config import Stage, TrainConfig
from mien.train.soft_labels import read_soft_labels
from mien.types import Classifier, label_columns

EMOTION_VOTES = 8
"""Number of FER+ columns that are emotions; the last two are `unknown` and `NF`, no face."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Training data on the device of the training.

    Attributes:
        images: uint8 (N, 1, 48, 48).
        targets: int64 (N,).
        votes: float (N, 8), FER+ votes for its eight emotions as shares, rows of 0 if there are none; or None.
        labels: names of the classes.
        teachers: classifiers, each with its columns of `labels`, that take turns in stages with `distill`.
        soft: float (N, C), soft labels in place of teachers; or None.
    """

    images: Tensor
    targets: Tensor
    votes: Tensor | None
    labels: tuple[str, ...]
    teachers: tuple[tuple[Classifier, list[int]], ...] = ()
    soft: Tensor | None = None

    def soft_targets(self, config: TrainConfig, stage: Stage, views: Tensor, index: Tensor, step: int = 0) -> Tensor:
        """Return targets (N, C): the smoothed label, mixed with a teacher's answer as far as the stage distils.

        One teacher answers each step: over the steps the gradient is that of their mean answer, at the cost of one.

        Args:
            config: the recipe.
            stage: of the recipe.
            views: float (N, 1, 48, 48) in 0..1, the augmented images.
            index: int64 (N,), which images they are.
            step: decides which teacher answers.
        """
        classes = len(self.labels)
        smooth = one_hot(self.targets[index], classes) * (1 - config.label_smoothing) + config.label_smoothing / classes
        if not stage.distill:
            return smooth
        if self.soft is not None:
            soft = self.soft[index]
        else:
            teacher, columns = self.teachers[step % len(self.teachers)]
            crops = (views[:, 0] * 255).round().byte().cpu().numpy()
            soft = torch.from_numpy(teacher(crops)[:, columns]).to(views.device)
            soft = soft / soft.sum(1, keepdim=True)
        return stage.distill * soft + (1 - stage.distill) * smooth


def build_targets(config: TrainConfig, train: Faces, device: torch.device) -> Targets:
    """Load everything that a recipe asks for."""
    votes, teachers, soft = None, [], None
    if config.ferplus:
        if train.votes is None:
            raise ConfigError("the recipe's ferplus needs the FER+ votes: give --votes ferplus_votes.csv")
        counts = torch.from_numpy(train.votes[:, :EMOTION_VOTES]).float()
        votes = (counts / counts.sum(1, keepdim=True).clamp(min=1)).to(device)
    # A path may contain a +, names do not.
    for name in [config.teacher] if config.teacher.endswith(".onnx") else filter(None, config.teacher.split("+")):
        teacher = load_classifier(name, spin=False)  # its threads would spin while the network trains
        teachers.append((teacher, label_columns(teacher.labels, train.labels, f"the teacher {name}")))
    if config.soft_labels:
        soft = torch.from_numpy(read_soft_labels(config.soft_labels, train)).to(device)
    return Targets(*to_tensors(train, device), votes, train.labels, tuple(teachers), soft)


def to_tensors(faces: Faces, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return images (N, 1, 48, 48) and targets (N,) on a device."""
    return torch.from_numpy(faces.images)[:, None].to(device), torch.from_numpy(faces.targets).to(device)
