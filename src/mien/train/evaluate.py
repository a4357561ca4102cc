"""A classifier on the views of the protocol, or on another data set; needs no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.classify import OnnxClassifier
from mien.metrics import Comparison, Report, compare, evaluate
from mien.train import data
from mien.train.datasets import load_any, recognise
from mien.types import EMOTIONS, Classifier, ConfigError, DataError, Floats, ModelError


@dataclass(frozen=True, slots=True)
class Answers:
    """What a classifier says about the pictures of one view.

    Attributes:
        name: of the view, and what is left out of it.
        faces: the pictures, with the labels that are asked for.
        probabilities: (N, C), rows sum to 1, columns in the order of `faces.labels`.
        temperature: that the model file has inside its graph; 1 where it has none.
        uncertain_below: the model's threshold on the top probability.
    """

    name: str
    faces: data.Faces
    probabilities: NDArray[np.floating]
    temperature: float = 1.0
    uncertain_below: float = 0.0

    @property
    def right(self) -> NDArray[np.bool_]:
        """bool (N,): where the most probable class is the true one."""
        return np.asarray(self.probabilities.argmax(1) == self.faces.targets)

    def report(self) -> Report:
        """Every metric; duplicates are resampled together."""
        found = evaluate(
            self.probabilities, self.faces.targets, self.faces.labels, self.name, self.faces.groups(),
            temperature=self.temperature, uncertain_below=self.uncertain_below,
        )  # fmt: skip
        return replace(found, index=index_sha256(self.faces.names.tolist()))


def index_sha256(names: Iterable[str]) -> str:
    """Says which pictures a view holds: sha256, hexadecimal, of their sorted file names joined by newlines, in UTF-8.

    The names are those inside the source: `test/happy/PrivateTest_88305.jpg` in the Kaggle layout, as in the csv of
    FER+ votes.
    """
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def answer_views(
    classifier: Classifier,
    path: Path | str,
    votes: Path | str | None = None,
    split: str = "PrivateTest",
    kind: str | None = None,
) -> dict[str, Answers]:
    """Answers for each view of a data set.

    FER2013 has the views T1 to T4 (T3 and T4 only with votes). Any other set that `load_any` reads has one view,
    `test`, on the classes that model and data share by name; its answers' name says what is left out.

    Raises:
        ConfigError: the model does not know the five classes or none of the data's, or there is no such split or kind.
        DataError: the data cannot be read, or have no picture in this split.
        ModelError: the model file's temperature is not a number above 0.
    """
    if split not in data.SPLITS:
        raise ConfigError(f"split must be one of {', '.join(data.SPLITS)}, got {split!r}")
    kind = recognise(path, kind)
    temperature = _temperature(classifier)
    if kind != "fer2013":
        faces = load_any(path, kind=kind, votes=votes, drop_leaks=False)
        if not len(part := faces.split(split)):
            there = [name for name in data.SPLITS if len(faces.split(name))]
            raise DataError(f"{path} has no {split} pictures; choose the split {' or '.join(there)}")
        return {"test": _shared(classifier, part, temperature)}
    missing = [label for label in EMOTIONS if label not in classifier.labels]
    if missing:
        raise ConfigError(f"the model has no class {', '.join(missing)}; the protocol is about {', '.join(EMOTIONS)}")
    order = [list(classifier.labels).index(label) for label in EMOTIONS]
    answers = {}
    known: dict[str, Floats] = {}  # the views overlap: each picture is classified once
    for view, faces in data.views(path, votes, split).items():
        new = faces.take(np.array([name not in known for name in faces.names], bool))
        known.update(zip(new.names.tolist(), classifier(new.images)[:, order], strict=True))
        probabilities = np.stack([known[name] for name in faces.names])
        probabilities = probabilities / probabilities.sum(1, keepdims=True)
        answers[view] = Answers(view, faces, probabilities, temperature, classifier.uncertain_below)
    return answers


def evaluate_views(
    classifier: Classifier,
    path: Path | str,
    votes: Path | str | None = None,
    split: str = "PrivateTest",
    kind: str | None = None,
) -> dict[str, Report]:
    """Report for each view of a data set, of `answer_views`; the same errors."""
    return {view: found.report() for view, found in answer_views(classifier, path, votes, split, kind).items()}


def compare_answers(first: Answers, second: Answers) -> Comparison:
    """Two models on the same view; duplicates are resampled together.

    Raises:
        ConfigError: the models were not asked about the same pictures and classes.
    """
    if set(first.faces.labels) != set(second.faces.labels):
        known = " and ".join(", ".join(answers.faces.labels) for answers in (first, second))
        raise ConfigError(f"the models know different classes of these data ({known}): compare models that share them")
    if first.faces.names.tolist() != second.faces.names.tolist():
        raise ConfigError("the models answered about different pictures: give both the same view")
    return compare(first.right, second.right, first.faces.groups())


def _temperature(classifier: Classifier) -> float:
    text = classifier.metadata.get("temperature", "1") if isinstance(classifier, OnnxClassifier) else "1"
    try:
        temperature = float(text)
    except ValueError:
        temperature = 0.0
    if not 0 < temperature < float("inf"):
        raise ModelError(f"the model's `temperature` is {text!r}, not a number above 0; give a file of `mien train`")
    return temperature


def _shared(classifier: Classifier, faces: data.Faces, temperature: float) -> Answers:
    """Answers on the classes that both know; the model's probabilities of others are shared out in proportion."""
    labels = tuple(label for label in classifier.labels if label in faces.labels)
    kept = faces.with_labels(labels)
    if not len(kept):
        known = f"the model knows {', '.join(classifier.labels)}, the data hold {', '.join(faces.labels)}"
        raise ConfigError(f"no picture is of a class that the model knows: {known}")
    notes = []
    if unknown := [label for label in faces.labels if label not in labels]:
        notes.append(f"{len(faces) - len(kept)} pictures of {', '.join(unknown)}, which the model does not know")
    if unused := [label for label in classifier.labels if label not in labels]:
        notes.append(f"the model's {', '.join(unused)}, which the data do not hold")
    name = f"test, without {' and without '.join(notes)}" if notes else "test"
    # A network may be so sure of a class that is left out that nothing remains for the others.
    probabilities = np.maximum(classifier(kept.images)[:, [list(classifier.labels).index(k) for k in labels]], 1e-12)
    probabilities = probabilities.astype(np.float64) / probabilities.sum(1, keepdims=True, dtype=np.float64)
    return Answers(name, kept, probabilities, temperature, classifier.uncertain_below)
