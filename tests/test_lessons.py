"""Soft labels: who speaks of what, how they are kept, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mien.train import data, lessons
from mien.train.config import Stage
from mien.types import EMOTIONS, ConfigError, DataError
from test_loop import REP, stripes


class Fixed:
    """A model that gives the same answer for every picture, and perhaps another for its mirror image."""

    sha256 = "0" * 64

    def __init__(self, name: str, answer: list[float], recipe: str = "{}", labels: tuple[str, ...] = EMOTIONS) -> None:
        self.name, self.labels, self.metadata = name, labels, {"recipe": recipe}
        self._answer = np.array(answer, np.float32)

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        return np.tile(self._answer, (len(crops), 1))


FIRST, SECOND = [1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0]


def test_soft_labels_are_the_mean_of_the_models_and_found_by_pixels_in_any_order(tmp_path: Path) -> None:
    faces = stripes(32)
    path = tmp_path / "soft.npz"
    spoken = lessons.write_soft(path, [Fixed("a", FIRST), Fixed("b", SECOND)], faces)
    assert spoken == {"0: a": 32, "1: b": 32}
    turned = faces.take(np.arange(32)[::-1])
    np.testing.assert_allclose(lessons.read_soft(path, turned), [[0.5, 0.5, 0, 0, 0]] * 32, atol=1e-6)


def test_a_model_of_a_fold_speaks_only_of_the_pictures_that_it_was_not_trained_on(tmp_path: Path) -> None:
    faces = stripes(64)
    models = [Fixed(f"{k}", answer, f'{{"folds": 2, "fold": {k}}}') for k, answer in enumerate((FIRST, SECOND))]
    path = tmp_path / "soft.npz"
    lessons.write_soft(path, models, faces)
    found = lessons.read_soft(path, faces)
    fold = (faces.keys() % 2).astype(int)
    assert 0 < fold.sum() < 64
    np.testing.assert_array_equal(found.argmax(1), fold)
    with pytest.raises(ConfigError, match="in no model's fold"):
        lessons.write_soft(path, models[:1], faces)


def test_the_columns_follow_the_names_of_the_classes(tmp_path: Path) -> None:
    model = Fixed("a", [0.1, 0.2, 0.3, 0.4, 0.0], labels=("neutral", "surprise", "sad", "happy", "angry"))
    lessons.write_soft(tmp_path / "soft.npz", [model], stripes(8))
    np.testing.assert_allclose(
        lessons.read_soft(tmp_path / "soft.npz", stripes(8))[0], [0.0, 0.4, 0.3, 0.2, 0.1], atol=0.003
    )
    with pytest.raises(ConfigError, match="does not know sad"):
        lessons.write_soft(tmp_path / "x.npz", [Fixed("a", [1, 0], labels=("angry", "happy"))], stripes(8))


def test_a_stage_that_distils_learns_from_the_soft_labels_of_its_pictures(tmp_path: Path) -> None:
    faces = stripes(64).split("Training")
    path = tmp_path / "soft.npz"
    lessons.write_soft(path, [Fixed("a", SECOND)], faces)
    config = replace(REP, soft_labels=str(path), label_smoothing=0.0, stages=(Stage(), Stage(distill=0.75)))
    taught = lessons.gather(config, faces, torch.device("cpu"))
    views, index = torch.rand(2, 1, 48, 48), torch.tensor([4, 7])
    assert taught.wanted(config, config.stages[0], views, index).argmax(1).tolist() == [0, 1]
    soft = taught.wanted(config, config.stages[1], views, index)
    torch.testing.assert_close(soft, torch.tensor([[0.25, 0.75, 0, 0, 0], [0.0, 1.0, 0, 0, 0]]))


def test_other_pictures_and_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "soft.npz"
    lessons.write_soft(path, [Fixed("a", FIRST)], stripes(32))
    with pytest.raises(DataError, match="does not know 32 of 64 pictures"):
        lessons.read_soft(path, stripes(64))
    path.write_bytes(b"no")
    with pytest.raises(DataError, match="no file of soft labels"):
        lessons.read_soft(path, stripes(32))


def test_keys_tell_pixels_apart_and_not_names() -> None:
    faces = stripes(8)
    same = replace(faces, names=faces.names[::-1], images=faces.images.copy())
    other = replace(faces, images=255 - faces.images)
    assert (faces.keys() == same.keys()).all()
    assert not set(faces.keys().tolist()) & set(other.keys().tolist())
    assert isinstance(faces, data.Faces)
