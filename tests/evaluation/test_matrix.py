"""Models by data sets: shared images and classes, people resampled together, the table on page and terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.cli import tables
from mien.data.faces import Faces
from mien.errors import ConfigError, DataError
from mien.evaluation.matrix import Matrix, load_columns, measure
from mien.evaluation.report import Page, write_html
from mien.types import EMOTIONS, EMOTIONS7, Floats


class Constant:
    """Answers one class, whatever the image."""

    confidence_threshold = 0.0

    def __init__(self, labels: tuple[str, ...], answer: str) -> None:
        self.labels, self.answer, self.sha256 = labels, answer, f"hash of {answer}"

    def __call__(self, crops: np.ndarray) -> Floats:
        return np.tile(np.float32([label == self.answer for label in self.labels]), (len(crops), 1))


def faces(labels: tuple[str, ...], each: int = 10, people: list[str] | None = None) -> Faces:
    targets = np.arange(each * len(labels)) % len(labels)
    images = np.random.default_rng(0).integers(0, 256, (len(targets), 48, 48), dtype=np.uint8)
    names = np.array([f"{n}.png" for n in range(len(targets))])
    known = None if people is None else np.array(people)
    return Faces(images, targets, np.full(len(targets), 2, np.int8), names, labels, people=known)


@pytest.fixture
def matrix() -> Matrix:
    models = {"five": Constant(EMOTIONS, "happy"), "seven": Constant(EMOTIONS7, "sad")}
    columns = {"fer": (faces(EMOTIONS7), "PrivateTest"), "three": (faces(("sad", "neutral", "wink")), "")}
    return measure(models, columns)


def test_models_answer_the_same_images_on_the_classes_that_all_know(matrix: Matrix) -> None:
    for row in matrix.reports.values():
        assert {name: (r.n, set(r.labels)) for name, r in row.items()} == {
            "fer": (50, set(EMOTIONS)), "three": (20, {"sad", "neutral"})
        }  # fmt: skip
    assert [matrix.reports[m]["three"].accuracy for m in ("five", "seven")] == [0.5, 0.5]
    assert matrix.reports["five"]["fer"].per_class["happy"]["recall"] == 1
    assert matrix.columns["three"].name.startswith("three, without 10 images of wink, which not every model knows")


def test_matrix_is_plain_json(matrix: Matrix) -> None:
    values = json.loads(json.dumps(matrix.to_dict()))
    assert values["models"]["seven"] == "hash of sad"
    assert values["splits"] == {"fer": "PrivateTest", "three": ""}
    assert values["reports"]["five"]["fer"]["accuracy"] == pytest.approx(0.2)


def test_table_and_page_show_every_cell(matrix: Matrix, tmp_path: Path) -> None:
    table = tables.matrix_table(matrix)
    assert table.columns == ["", "fer", "three"]
    assert [row.cells[0] for row in table.rows[3:]] == [
        "five, accuracy",
        "five, balanced",
        "seven, accuracy",
        "seven, balanced",
    ]
    assert [row.cells[1] for row in table.rows[3:5]] == ["20.0 (10.0-30.0)", "20.0 (20.0-20.0)"]
    page = Page("five", "fer", "PrivateTest", {"fer2013": matrix.columns["fer"]}, matrix=matrix)
    write_html(page, tmp_path / "r.html")
    html = (tmp_path / "r.html").read_text("utf-8")
    assert "Models and data sets" in html
    assert html.count("balanced 20.0") == 2


def test_sets_without_a_shared_class_are_named() -> None:
    models = {"a": Constant(("wink", "sad"), "sad"), "b": Constant(EMOTIONS, "sad")}
    with pytest.raises(ConfigError, match="winks has no class that all models know: they share sad"):
        measure(models, {"winks": (faces(("wink",)), "")})


def test_images_of_one_person_are_resampled_together() -> None:
    alone = faces(EMOTIONS, 40)
    together = faces(EMOTIONS, 40, people=[f"p{n // 50}" for n in range(200)])  # four people, each alike
    together.targets[:] = np.repeat([1, 1, 0, 0], 50)
    alone.targets[:] = together.targets
    models: dict[str, Any] = {"m": Constant(EMOTIONS, "happy")}
    reports = [measure(models, {"x": (item, "")}).columns["x"] for item in (alone, together)]
    narrow, wide = (r.interval[1] - r.interval[0] for r in reports)
    assert wide > 3 * narrow


def test_columns_take_the_test_split_or_all_images(kaggle: Path, tmp_path: Path) -> None:
    columns = load_columns([str(kaggle), f"fer2013:{kaggle}"])
    assert list(columns) == [kaggle.stem, f"fer2013:{kaggle.stem}"]
    part, split = columns[kaggle.stem]
    assert split == "PrivateTest" and set(part.splits.tolist()) == {2}
    with pytest.raises(DataError, match="does not exist"):
        load_columns([str(tmp_path / "none")])
    with pytest.raises(ConfigError, match="split must be one of"):
        load_columns([str(kaggle)], split="Test")
