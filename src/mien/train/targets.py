"""Targets: the images, labels, FER+ votes and answers of other models that an epoch trains on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from mien.data.faces import Faces
from mien.data.ferplus import EMOTION_VOTES
from mien.errors import ConfigError
from mien.faces.models import load_classifier
from mien.train.config import Stage, TrainConfig
from mien.train.soft_labels import read_soft_labels
from mien.train.torch_classifier import TorchClassifier
from mien.types import Classifier, Floats, label_columns


@dataclass(frozen=True, slots=True)
class Draw:
    """How an epoch draws from one data set: `count` of the images from `start` to `end`, by `odds` or each once."""

    start: int
    end: int
    count: int
    odds: Tensor | None = None

    def indices(self) -> Tensor:
        """Return int64 (count,), in random order."""
        if self.odds is None:
            return self.start + torch.randperm(self.end - self.start)[: self.count]
        return self.start + torch.multinomial(self.odds, self.count, replacement=True)


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
        distill: float (N, 1), factor on the stages' `distill`; or None for 1.
        draws: of each data set.
    """

    images: Tensor
    targets: Tensor
    votes: Tensor | None
    labels: tuple[str, ...]
    teachers: tuple[tuple[Classifier, list[int]], ...] = ()
    soft: Tensor | None = None
    distill: Tensor | None = None
    draws: tuple[Draw, ...] = ()

    def order(self) -> Tensor:
        """Draw the images of an epoch: int64 (M,), in random order."""
        drawn = torch.cat([draw.indices() for draw in self.draws])
        return drawn if len(self.draws) == 1 else drawn[torch.randperm(len(drawn))]

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
        share = stage.distill if self.distill is None else stage.distill * self.distill[index]
        return share * soft + (1 - share) * smooth


def build_targets(
    config: TrainConfig, sets: Sequence[Faces], device: torch.device, start: TorchClassifier | None = None
) -> Targets:
    """Load everything that a recipe asks for.

    Args:
        config: the recipe.
        sets: Training images of each data set, all with the labels of the first.
        device: of the training.
        start: network that the run starts from, for sets whose soft labels are "init".
    """
    settings = config.settings(len(sets))
    labels, teachers, draws, first = sets[0].labels, [], [], 0
    # A path may contain a +, names do not.
    for name in [config.teacher] if config.teacher.endswith(".onnx") else filter(None, config.teacher.split("+")):
        teacher = load_classifier(name, spin=False)  # its threads would spin while the network trains
        teachers.append((teacher, label_columns(teacher.labels, labels, f"the teacher {name}")))
    for faces, setting in zip(sets, settings, strict=True):
        counts = np.bincount(faces.targets, minlength=len(labels))[faces.targets]
        odds = torch.from_numpy(counts.astype(np.float64) ** setting.balance)
        even = setting.weight <= 1 and not setting.balance
        count = round(setting.weight * len(faces))
        draws.append(Draw(first, first + len(faces), count, None if even else odds))
        first += len(faces)
    images, targets = (torch.cat(part) for part in zip(*(to_tensors(faces, device) for faces in sets), strict=True))
    votes, soft, factor = None, None, None
    if config.ferplus:
        if sets[0].votes is None:
            raise ConfigError("the recipe's ferplus needs the FER+ votes: give --votes ferplus_votes.csv")
        votes = torch.from_numpy(np.concatenate([_vote_shares(faces) for faces in sets])).to(device)
    if config.has_soft_labels:
        files = [item.soft_labels for item in settings]
        files[0] = config.soft_labels or files[0]
        answers = [_soft_labels(file, faces, start) for file, faces in zip(files, sets, strict=True)]
        soft = torch.from_numpy(np.concatenate(answers)).to(device)
    if any(setting.distill != 1 for setting in settings):
        factors = [
            np.full((len(faces), 1), item.distill, np.float32) for faces, item in zip(sets, settings, strict=True)
        ]
        factor = torch.from_numpy(np.concatenate(factors)).to(device)
    return Targets(images, targets, votes, labels, tuple(teachers), soft, factor, tuple(draws))


def _vote_shares(faces: Faces) -> NDArray[np.float32]:
    if faces.votes is None:
        return np.zeros((len(faces), EMOTION_VOTES), np.float32)
    counts = faces.votes[:, :EMOTION_VOTES].astype(np.float32)
    return np.asarray(counts / counts.sum(1, keepdims=True).clip(min=1), np.float32)


def _soft_labels(file: str, faces: Faces, start: TorchClassifier | None) -> Floats:
    """Return float32 (N, C): the answers in a file or of the start, or without one the labels."""
    if file == "init" and start is not None:
        known = [name for name in faces.labels if name in start.labels]
        answers = np.zeros((len(faces), len(faces.labels)), np.float32)
        answers[:, label_columns(faces.labels, known)] = start(faces.images)[:, label_columns(start.labels, known)]
        answers /= np.maximum(answers.sum(1, keepdims=True), 1e-12)
        return answers
    return read_soft_labels(file, faces) if file else np.eye(len(faces.labels), dtype=np.float32)[faces.targets]


def to_tensors(faces: Faces, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return images (N, 1, 48, 48) and targets (N,) on a device."""
    return torch.from_numpy(faces.images)[:, None].to(device), torch.from_numpy(faces.targets).to(device)
