"""Views answered by fake classifiers: metrics, comparison, the index of a view, the summary of a data set."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from mien.data.faces import Faces
from mien.data.fer2013 import load_fer2013
from mien.data.ferplus import FERPLUS
from mien.data.summary import KEPT, summarize
from mien.errors import ConfigError, ModelError
from mien.evaluation.comparison import mcnemar
from mien.evaluation.views import answer_views, compare_answers, evaluate_views, index_sha256
from mien.evaluation.views import views as protocol_views
from mien.faces.classifier import OnnxClassifier
from mien.faces.models import DEFAULT
from mien.faces.onnx import ASSETS
from mien.types import EMOTIONS, EMOTIONS7, Floats


class Oracle:
    """Predicts the true label of an image with 0.6, or a neighbouring one for the class `wrong`."""

    confidence_threshold = 0.5

    def __init__(self, faces: Faces, wrong: str = "", labels: tuple[str, ...] = EMOTIONS) -> None:
        self.labels = labels
        self.table = {image.tobytes(): faces.labels[t] for image, t in zip(faces.images, faces.targets, strict=True)}
        self.wrong = wrong

    def __call__(self, crops: np.ndarray) -> Floats:
        result = np.full((len(crops), len(self.labels)), 0.4 / (len(self.labels) - 1), np.float32)
        for row, crop in zip(result, crops, strict=True):
            label = self.table[crop.tobytes()]
            row[self.labels.index(label) - (label == self.wrong)] = 0.6
        return result


@pytest.fixture
def perfect(kaggle: Path) -> Oracle:
    return Oracle(load_fer2013(kaggle, drop_leaks=False))


def test_index_identifies_the_images_of_a_view(kaggle: Path, perfect: Oracle) -> None:
    report = evaluate_views(perfect, kaggle)["fer2013"]
    files = sorted(p.relative_to(kaggle).as_posix() for p in kaggle.glob("test/*/PrivateTest_*"))
    five = [name for name in files if name.split("/")[1] in EMOTIONS]
    assert report.n == len(five) == 10
    assert report.index == hashlib.sha256("\n".join(five).encode()).hexdigest()
    assert evaluate_views(perfect, kaggle, split="PublicTest")["fer2013"].index != report.index
    assert index_sha256(["b", "a"]) == index_sha256(["a", "b"]) == hashlib.sha256(b"a\nb").hexdigest()


def test_answers_make_a_report(kaggle: Path, perfect: Oracle) -> None:
    answers = answer_views(perfect, kaggle)["fer2013"]
    assert answers.right.all() and answers.faces.labels == EMOTIONS
    report = answers.report()
    assert (report.accuracy, report.coverage, report.confidence_threshold) == (1.0, 1.0, 0.5)
    assert report.temperature == 1 and report.ece_before == report.ece == pytest.approx(0.4)


def test_compare_answers_by_hand(kaggle: Path, perfect: Oracle) -> None:
    worse = Oracle(load_fer2013(kaggle, drop_leaks=False), wrong="sad")
    first, second = (answer_views(model, kaggle)["fer2013"] for model in (perfect, worse))
    result = compare_answers(first, second)
    assert (result.n, result.only_first, result.only_second) == (10, 2, 0)
    assert result.difference == pytest.approx(0.2)
    assert result.p == mcnemar([True] * 2, [False] * 2) == 0.5
    assert compare_answers(second, first).difference == pytest.approx(-0.2)


def test_answers_on_different_images_or_classes_are_not_compared(kaggle: Path, perfect: Oracle) -> None:
    here, other = (answer_views(perfect, kaggle, split=split)["fer2013"] for split in ("PrivateTest", "PublicTest"))
    with pytest.raises(ConfigError, match="different images"):
        compare_answers(here, other)
    seven = answer_views(Oracle(load_fer2013(kaggle, 7, drop_leaks=False), labels=EMOTIONS7), kaggle, kind="folder")[
        "test"
    ]
    five = answer_views(Oracle(load_fer2013(kaggle, 7, drop_leaks=False)), kaggle, kind="folder")["test"]
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
    report = evaluate_views(shipped(tmp_path / "m.onnx", "1.5"), kaggle)["fer2013"]
    assert report.temperature == 1.5 and report.ece_before != report.ece
    for bad in ("0", "warm", "nan", "inf"):
        with pytest.raises(ModelError, match="temperature"):
            evaluate_views(shipped(tmp_path / "m.onnx", bad), kaggle)


def test_summary_counts_classes_splits_and_leaks(kaggle: Path) -> None:
    image: Any = cv2.imread(str(next(kaggle.glob("test/fear/PublicTest_*"))), cv2.IMREAD_UNCHANGED)
    for k in range(2):
        cv2.imwrite(str(kaggle / f"train/happy/Training_9{k}.png"), image)
    everything = load_fer2013(kaggle, 7, drop_leaks=False)
    result = summarize(everything, EMOTIONS)
    assert result.leaks == 2  # although the duplicate is of none of the five classes
    assert result.counts["Training"] == {label: 8 if label == "happy" else 6 for label in EMOTIONS}
    assert result.counts[KEPT] == dict.fromkeys(EMOTIONS, 6)
    assert result.counts["PrivateTest"] == dict.fromkeys(EMOTIONS, 2)
    kept = load_fer2013(kaggle).split("Training").images / 255
    assert (result.mean, result.std) == pytest.approx((kept.mean(), kept.std()))
    assert list(summarize(everything).counts["Training"]) == list(EMOTIONS7)
    assert result.remarks()["leaks"].startswith("2 Training images")


def test_views_of_fer2013_have_the_published_images(fer2013: Path) -> None:
    views = protocol_views(fer2013, fer2013.with_name("ferplus_votes.csv"))
    with zipfile.ZipFile(fer2013) as archive:
        names = [name for name in archive.namelist() if "/PrivateTest_" in name and name.split("/")[1] in EMOTIONS]
    result = {view: (len(faces), index_sha256(faces.names.tolist())) for view, faces in views.items()}
    assert result["fer2013"] == (3006, hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest())
    assert {view: (n, digest[:16]) for view, (n, digest) in result.items()} == {
        "fer2013": (3006, "2c7921d83a5ea7ac"),
        "fer2013-dedup": (2757, "089dede2bebfa3fc"),
        "ferplus-majority": (2663, "673d5ff58d6087ce"),
        "consensus": (1919, "94ee745965e10f8b"),
    }


def test_seven_class_models_are_measured_on_seven_classes_too(kaggle: Path) -> None:
    faces = load_fer2013(kaggle, 7, drop_leaks=False)
    answers = answer_views(Oracle(faces, labels=EMOTIONS7), kaggle)
    assert list(answers) == ["fer2013", "fer2013-dedup", "fer2013-7"]
    assert answers["fer2013-7"].faces.labels == EMOTIONS7
    assert answers["fer2013-7"].report().n == 14 and answers["fer2013-7"].right.all()


def test_majority_over_seven_classes_counts_disgust_and_fear(kaggle: Path, tmp_path: Path) -> None:
    names = sorted(p.relative_to(kaggle).as_posix() for p in kaggle.rglob("*.jpg"))
    disgust = [f"{name},0,0,0,0,0,10,0,0,0,0" for name in names]  # all raters saw disgust
    votes = tmp_path / "votes.csv"
    votes.write_text("\n".join([f"file,{','.join(FERPLUS)}", *disgust]))
    five, seven = (protocol_views(kaggle, votes, labels=labels) for labels in (EMOTIONS, EMOTIONS7))
    assert len(five["ferplus-majority"]) == 0
    assert seven["ferplus-majority"].counts() == {**dict.fromkeys(EMOTIONS7, 0), "disgust": 14}
    assert seven["consensus"].counts()["disgust"] == len(seven["consensus"]) == 2
