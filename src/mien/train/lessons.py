"""What an epoch learns from: pictures, labels, FER+ votes, and what other models say of the pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from mien import files
from mien.classify import model as shipped
from mien.train.config import Stage, TrainConfig
from mien.train.data import Faces
from mien.types import Classifier, ConfigError, DataError, Floats

EMOTION_VOTES = 8
"""The first columns of the FER+ votes are emotions; the last two say that there is none or no face."""


@dataclass(frozen=True, slots=True)
class Lessons:
    """What an epoch learns from.

    Attributes:
        images: uint8 (N, 1, 48, 48).
        targets: int64 (N,).
        votes: float (N, 8), FER+ votes for its eight emotions as shares, rows of 0 where there are none; or None.
        teachers: give the soft targets of stages with `distill`, for each view anew, and take turns; each with its
            column of each of our labels.
        soft: float (N, C), soft targets that were computed before; or None.
    """

    images: Tensor
    targets: Tensor
    votes: Tensor | None
    labels: tuple[str, ...]
    teachers: tuple[tuple[Classifier, list[int]], ...] = ()
    soft: Tensor | None = None

    def wanted(self, config: TrainConfig, stage: Stage, views: Tensor, index: Tensor, turn: int = 0) -> Tensor:
        """Targets (N, C): the label, smoothed, and as far as the stage distils, what a teacher says.

        Of several teachers one speaks at a time: over the steps the gradient is that of their mean answer, at the cost
        of one.

        Args:
            config: the recipe.
            stage: of the recipe.
            views: float (N, 1, 48, 48) in 0..1, the pictures as they are shown to the network.
            index: int64 (N,), which pictures they are.
            turn: number of the step, which decides the teacher.
        """
        classes = len(self.labels)
        truth = self.targets[index]
        wanted = one_hot(truth, classes) * (1 - config.label_smoothing) + config.label_smoothing / classes
        if not stage.distill:
            return wanted
        if self.soft is not None:
            soft = self.soft[index]
        else:
            teacher, order = self.teachers[turn % len(self.teachers)]  # the config has one where a stage distils
            crops = (views[:, 0] * 255).round().byte().cpu().numpy()
            soft = torch.from_numpy(teacher(crops)[:, order]).to(views.device)
            soft = soft / soft.sum(1, keepdim=True)
        return stage.distill * soft + (1 - stage.distill) * wanted


def gather(config: TrainConfig, train: Faces, device: torch.device) -> Lessons:
    """All that a recipe asks for, on its device.

    Raises:
        ConfigError: votes or a class that the recipe needs are not there.
        DataError: the soft labels are damaged or do not cover the pictures.
    """
    votes, teachers, soft = None, [], None
    if config.ferplus:
        if train.votes is None:
            raise ConfigError("the recipe's ferplus needs the FER+ votes: give --votes ferplus_votes.csv")
        counts = torch.from_numpy(train.votes[:, :EMOTION_VOTES]).float()
        votes = (counts / counts.sum(1, keepdim=True).clamp(min=1)).to(device)
    # A path may hold a +, names do not.
    for name in [config.teacher] if config.teacher.endswith(".onnx") else filter(None, config.teacher.split("+")):
        teacher = shipped(name, spin=False)  # its threads would wait busily while the network learns
        teachers.append((teacher, _columns(f"the teacher {name}", teacher.labels, train.labels)))
    if config.soft_labels:
        soft = torch.from_numpy(read_soft(config.soft_labels, train)).to(device)
    return Lessons(*tensors(train, device), votes, train.labels, tuple(teachers), soft)


def tensors(faces: Faces, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 48, 48) and targets (N,) on a device."""
    return torch.from_numpy(faces.images)[:, None].to(device), torch.from_numpy(faces.targets).to(device)


class Speaker(Protocol):
    """A classifier that says who it is."""

    @property
    def labels(self) -> Sequence[str]:
        """Names of the classes, in the order of the columns."""
        ...

    @property
    def name(self) -> str:
        """Of the model."""
        ...

    @property
    def sha256(self) -> str:
        """Of its file."""
        ...

    @property
    def metadata(self) -> Mapping[str, str]:
        """With `recipe`, JSON."""
        ...

    def __call__(self, crops: NDArray[np.uint8]) -> Floats:
        """uint8 (N, 48, 48) -> float32 (N, C)."""
        ...


def write_soft(path: Path | str, models: Sequence[Speaker], faces: Faces) -> dict[str, int]:
    """Ask models for soft labels of pictures and keep them in a compressed file of some hundred kB.

    The answer is the mean over the models, of the picture and its mirror image. A model that was trained with `folds`
    speaks only of the pictures of the fold that it has not seen; any other model speaks of all, also of those that it
    learned from. Pictures are known by their pixels, so that the file serves every layout of the data.

    Args:
        path: of the .npz file.
        models: with at least the labels of the faces.
        faces: pictures to label.

    Returns:
        How many pictures each model spoke of.

    Raises:
        ConfigError: a model lacks a class, or some pictures are in no model's fold.
    """
    keys, places = np.unique(faces.keys(), return_index=True)
    images = faces.images[places]
    total, count = np.zeros((len(keys), len(faces.labels)), np.float32), np.zeros(len(keys), np.int64)
    spoken: dict[str, int] = {}
    for number, model in enumerate(models):
        order = _columns(f"the model {model.name}", model.labels, faces.labels)
        recipe: dict[str, Any] = json.loads(model.metadata.get("recipe") or "{}")
        folds = int(recipe.get("folds") or 0)
        mine = keys % folds == recipe.get("fold", 0) if folds else np.ones(len(keys), bool)
        answers = (model(images[mine]) + model(images[mine][:, :, ::-1]))[:, order]
        total[mine] += answers / answers.sum(1, keepdims=True)
        count[mine] += 1
        spoken[f"{number}: {model.name}"] = int(mine.sum())
    if not count.all():
        raise ConfigError(f"{int((count == 0).sum())} pictures are in no model's fold: give the models of all folds")
    facts = {
        "labels": list(faces.labels),
        "models": [{"name": each.name, "sha256": each.sha256} for each in models],
        "pictures": spoken,
    }
    packed = np.round(total / count[:, None] * 255).astype(np.uint8)
    with files.draft(path) as place, place.open("wb") as stream:
        np.savez_compressed(stream, keys=keys, shares=packed, facts=np.array(json.dumps(facts)))
    return spoken


def read_soft(path: Path | str, faces: Faces) -> Floats:
    """Soft labels of pictures from a file of `write_soft`: float32 (N, C), rows sum to 1, in the order of the labels.

    Raises:
        DataError: no such file, another kind of file, or a picture that it does not know.
        ConfigError: it lacks one of the labels.
    """
    try:
        with np.load(path, allow_pickle=False) as packed:
            keys, shares, facts = packed["keys"], packed["shares"], json.loads(str(packed["facts"]))
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise DataError(f"{path} is no file of soft labels ({error}); make one with mien data soft-labels") from error
    order = _columns(f"the soft labels {path}", facts["labels"], faces.labels)
    wanted = faces.keys()
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    unknown = int((keys[places] != wanted).sum())
    if unknown:
        raise DataError(f"{path} does not know {unknown} of {len(wanted)} pictures: it was made from other data")
    found: NDArray[np.float32] = shares[places][:, order].astype(np.float32)
    found /= found.sum(1, keepdims=True)
    return found


def _columns(what: str, known: Sequence[str], labels: Sequence[str]) -> list[int]:
    missing = [label for label in labels if label not in known]
    if missing:
        raise ConfigError(f"{what} does not know {', '.join(missing)}")
    return [list(known).index(label) for label in labels]
