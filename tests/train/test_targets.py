"""Soft labels: who speaks of what, how they are kept, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_trainer import REP, stripes

from mien.data.faces import Faces
from mien.errors import ConfigError, DataError
from mien.train import targets
from mien.train.config import Stage
from mien.train.soft_labels import read_soft_labels, write_soft_labels
from mien.types import EMOTIONS


class Fixed:
    """A model that gives the same answer for every picture, and perhaps another for its mirror image."""

    sha256 = "0" * 64

    def __init__(self, name: str, answer: list[float], recipe: str = "{}", labels: tuple[str, ...] = EMOTIONS) -> None:
        self.name, self.labels, self.metadata = name, labels, {"recipe": recipe}
        self._answer = np.array(answer, np.float32)

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        return np.tile(self._answer, (len(crops), 1))


FIRST, SECOND = [1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0]


def test_soft_labels_are_mean_answers_found_by_pixels(tmp_path: Path) -> None:
    faces = stripes(32)
    path = tmp_path / "soft.npz"
    answered = write_soft_labels(path, [Fixed("a", FIRST), Fixed("b", SECOND)], faces)
    assert answered == {"0: a": 32, "1: b": 32}
    reversed_faces = faces.take(np.arange(32)[::-1])
    np.testing.assert_allclose(read_soft_labels(path, reversed_faces), [[0.5, 0.5, 0, 0, 0]] * 32, atol=1e-6)


def test_models_of_folds_answer_unseen_images_only(tmp_path: Path) -> None:
    faces = stripes(64)
    models = [Fixed(f"{k}", answer, f'{{"folds": 2, "fold": {k}}}') for k, answer in enumerate((FIRST, SECOND))]
    path = tmp_path / "soft.npz"
    write_soft_labels(path, models, faces)
    soft = read_soft_labels(path, faces)
    fold = (faces.keys() % 2).astype(int)
    assert 0 < fold.sum() < 64
    np.testing.assert_array_equal(soft.argmax(1), fold)
    with pytest.raises(ConfigError, match="in no model's fold"):
        write_soft_labels(path, models[:1], faces)


def test_soft_labels_are_mapped_by_class_name(tmp_path: Path) -> None:
    model = Fixed("a", [0.1, 0.2, 0.3, 0.4, 0.0], labels=("neutral", "surprise", "sad", "happy", "angry"))
    write_soft_labels(tmp_path / "soft.npz", [model], stripes(8))
    np.testing.assert_allclose(
        read_soft_labels(tmp_path / "soft.npz", stripes(8))[0], [0.0, 0.4, 0.3, 0.2, 0.1], atol=0.003
    )
    with pytest.raises(ConfigError, match="no class sad"):
        write_soft_labels(tmp_path / "x.npz", [Fixed("a", [1, 0], labels=("angry", "happy"))], stripes(8))


def test_distilling_stage_mixes_in_soft_labels(tmp_path: Path) -> None:
    faces = stripes(64).split("Training")
    path = tmp_path / "soft.npz"
    write_soft_labels(path, [Fixed("a", SECOND)], faces)
    config = replace(REP, soft_labels=str(path), label_smoothing=0.0, stages=(Stage(), Stage(distill=0.75)))
    data = targets.build_targets(config, [faces], torch.device("cpu"))
    views, index = torch.rand(2, 1, 48, 48), torch.tensor([4, 7])
    assert data.soft_targets(config, config.stages[0], views, index).argmax(1).tolist() == [0, 1]
    soft = data.soft_targets(config, config.stages[1], views, index)
    torch.testing.assert_close(soft, torch.tensor([[0.25, 0.75, 0, 0, 0], [0.0, 1.0, 0, 0, 0]]))


def test_soft_labels_of_other_data_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "soft.npz"
    write_soft_labels(path, [Fixed("a", FIRST)], stripes(32))
    with pytest.raises(DataError, match="lacks 32 of 64 images"):
        read_soft_labels(path, stripes(64))
    path.write_bytes(b"no")
    with pytest.raises(DataError, match="no file of soft labels"):
        read_soft_labels(path, stripes(32))


def test_keys_depend_on_pixels_only() -> None:
    faces = stripes(8)
    same = replace(faces, names=faces.names[::-1], images=faces.images.copy())
    other = replace(faces, images=255 - faces.images)
    assert (faces.keys() == same.keys()).all()
    assert not set(faces.keys().tolist()) & set(other.keys().tolist())
    assert isinstance(faces, Faces)
