"""Views answered by made classifiers: figures by hand, comparison, the fingerprint of a view, facts of a data set."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from mien.classify import ASSETS, DEFAULT, OnnxClassifier
from mien.metrics import mcnemar
from mien.train import data
from mien.train.evaluate import answer_views, compare_answers, evaluate_views, index_sha256
from mien.train.facts import KEPT, facts
from mien.types import EMOTIONS, EMOTIONS7, ConfigError, Floats, ModelError


class Knows:
    """Gives the label that the picture has in `table`, and `wrong` for pictures of this class, with 0.6."""

    uncertain_below = 0.5

    def __init__(self, faces: data.Faces, wrong: str = "", labels: tuple[str, ...] = EMOTIONS) -> None:
        self.labels = labels
        self.table = {image.tobytes(): faces.labels[t] for image, t in zip(faces.images, faces.targets, strict=True)}
        self.wrong = wrong

    def __call__(self, crops: np.ndarray) -> Floats:
        found = np.full((len(crops), len(self.labels)), 0.4 / (len(self.labels) - 1), np.float32)
        for row, crop in zip(found, crops, strict=True):
            label = self.table[crop.tobytes()]
            row[self.labels.index(label) - (label == self.wrong)] = 0.6  # its neighbour in place of the wrong one
        return found


@pytest.fixture
def perfect(kaggle: Path) -> Knows:
    return Knows(data.load(kaggle, drop_leaks=False))


def test_a_view_says_which_pictures_it_holds(kaggle: Path, perfect: Knows) -> None:
    report = evaluate_views(perfect, kaggle)["T1"]
    files = sorted(p.relative_to(kaggle).as_posix() for p in kaggle.glob("test/*/PrivateTest_*"))
    five = [name for name in files if name.split("/")[1] in EMOTIONS]
    assert report.n == len(five) == 10
    assert report.index == hashlib.sha256("\n".join(five).encode()).hexdigest()
    assert evaluate_views(perfect, kaggle, split="PublicTest")["T1"].index != report.index
    assert index_sha256(["b", "a"]) == index_sha256(["a", "b"]) == hashlib.sha256(b"a\nb").hexdigest()


def test_answers_carry_what_the_report_needs(kaggle: Path, perfect: Knows) -> None:
    answers = answer_views(perfect, kaggle)["T1"]
    assert answers.right.all() and answers.faces.labels == EMOTIONS
    report = answers.report()
    assert (report.accuracy, report.answered, report.uncertain_below) == (1.0, 1.0, 0.5)
    assert report.temperature == 1 and report.ece_before == report.ece == pytest.approx(0.4)


def test_comparison_of_two_models(kaggle: Path, perfect: Knows) -> None:
    worse = Knows(data.load(kaggle, drop_leaks=False), wrong="sad")
    first, second = (answer_views(model, kaggle)["T1"] for model in (perfect, worse))
    found = compare_answers(first, second)
    assert (found.n, found.only_first, found.only_second) == (10, 2, 0)
    assert found.difference == pytest.approx(0.2)
    assert found.p == mcnemar([True] * 2, [False] * 2) == 0.5
    assert compare_answers(second, first).difference == pytest.approx(-0.2)


def test_models_that_answer_different_questions_are_not_compared(kaggle: Path, perfect: Knows) -> None:
    here, there = (answer_views(perfect, kaggle, split=split)["T1"] for split in ("PrivateTest", "PublicTest"))
    with pytest.raises(ConfigError, match="different pictures"):
        compare_answers(here, there)
    seven = answer_views(Knows(data.load(kaggle, 7, drop_leaks=False), labels=EMOTIONS7), kaggle, kind="folder")["test"]
    five = answer_views(Knows(data.load(kaggle, 7, drop_leaks=False)), kaggle, kind="folder")["test"]
    with pytest.raises(ConfigError, match="different classes"):
        compare_answers(seven, five)


def shipped(path: Path, temperature: str) -> OnnxClassifier:
    graph = onnx.load(ASSETS / f"{DEFAULT}.onnx")
    for entry in graph.metadata_props:
        if entry.key == "temperature":
            entry.value = temperature
    onnx.save(graph, str(path))
    return OnnxClassifier(path, threads=1)


def test_the_temperature_comes_from_the_model_file(kaggle: Path, tmp_path: Path) -> None:
    report = evaluate_views(shipped(tmp_path / "m.onnx", "1.5"), kaggle)["T1"]
    assert report.temperature == 1.5 and report.ece_before != report.ece
    for bad in ("0", "warm", "nan", "inf"):
        with pytest.raises(ModelError, match="temperature"):
            evaluate_views(shipped(tmp_path / "m.onnx", bad), kaggle)


def test_facts_count_classes_splits_and_leaks(kaggle: Path) -> None:
    picture: Any = cv2.imread(str(next(kaggle.glob("test/fear/PublicTest_*"))), cv2.IMREAD_UNCHANGED)
    for k in range(2):
        cv2.imwrite(str(kaggle / f"train/happy/Training_9{k}.png"), picture)
    everything = data.load(kaggle, 7, drop_leaks=False)
    found = facts(everything, EMOTIONS)
    assert found.leaks == 2  # though their twin is not of the five classes
    assert found.counts["Training"] == {label: 8 if label == "happy" else 6 for label in EMOTIONS}
    assert found.counts[KEPT] == dict.fromkeys(EMOTIONS, 6)
    assert found.counts["PrivateTest"] == dict.fromkeys(EMOTIONS, 2)
    kept = data.load(kaggle).split("Training").images / 255
    assert (found.mean, found.std) == pytest.approx((kept.mean(), kept.std()))
    assert list(facts(everything).counts["Training"]) == list(EMOTIONS7)
    assert found.remarks()["leaks"].startswith("2 Training pictures")


def test_the_real_views_are_the_ones_that_were_measured(fer2013: Path) -> None:
    views = data.views(fer2013, fer2013.with_name("ferplus_votes.csv"))
    with zipfile.ZipFile(fer2013) as archive:
        names = [name for name in archive.namelist() if "/PrivateTest_" in name and name.split("/")[1] in EMOTIONS]
    found = {view: (len(faces), index_sha256(faces.names.tolist())) for view, faces in views.items()}
    assert found["T1"] == (3006, hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest())
    assert {view: (n, digest[:16]) for view, (n, digest) in found.items()} == {
        "T1": (3006, "2c7921d83a5ea7ac"),
        "T2": (2757, "089dede2bebfa3fc"),
        "T3": (2663, "673d5ff58d6087ce"),
        "T4": (1919, "94ee745965e10f8b"),
    }
