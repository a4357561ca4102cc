"""A classifier on the views of the protocol, or on another data set."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.data.faces import SPLITS, Faces
from mien.data.fer2013 import load_fer2013
from mien.data.ferplus import ferplus_targets
from mien.data.registry import load_any, recognise
from mien.errors import ConfigError, DataError, ModelError
from mien.evaluation.comparison import Comparison, compare
from mien.evaluation.metrics import Report, evaluate
from mien.faces.classifier import OnnxClassifier
from mien.types import EMOTIONS, EMOTIONS7, Classifier, Floats, label_columns


def views(
    path: Path | str, votes: Path | str | None, split: str = "PrivateTest", labels: tuple[str, ...] = EMOTIONS
) -> dict[str, Faces]:
    """Return the four views of the protocol on one split; `labels` are mien's five classes or FER2013's seven.

    fer2013: all images, FER2013 labels. fer2013-dedup: without images that have an exact duplicate in another split.
    ferplus-majority: images whose FER+ votes have a strict majority for one of the classes, with that label.
    consensus: where fer2013 and ferplus-majority agree. The last two need votes.
    """
    everything = load_fer2013(path, classes=7, votes=votes, drop_leaks=False)
    groups = everything.groups()
    here = everything.splits == SPLITS.index(split)
    alone = ~np.isin(groups, groups[~here])
    faces = {"fer2013": everything.take(here), "fer2013-dedup": everything.take(here & alone)}
    if everything.votes is not None:
        truth = ferplus_targets(everything)
        clear = np.isin(truth, label_columns(EMOTIONS7, labels))
        voted = replace(everything, targets=np.where(clear, truth, everything.targets))
        faces["ferplus-majority"] = voted.take(here & clear)
        faces["consensus"] = everything.take(here & clear & (truth == everything.targets))
    return {view: images.with_labels(labels) for view, images in faces.items()}


@dataclass(frozen=True, slots=True)
class Answers:
    """A classifier's predictions on one view.

    Attributes:
        name: of the view, and what it leaves out.
        faces: the images with the labels of the view.
        probabilities: (N, C), rows sum to 1, columns in the order of `faces.labels`.
        temperature: of the model file; 1 where it has none.
        confidence_threshold: the model's threshold on the top probability.
        split: of the images; "" for all of them.
    """

    name: str
    faces: Faces
    probabilities: NDArray[np.floating]
    temperature: float = 1.0
    confidence_threshold: float = 0.0
    split: str = "PrivateTest"

    @property
    def right(self) -> NDArray[np.bool_]:
        """bool (N,): where the most probable class is the true one."""
        return np.asarray(self.probabilities.argmax(1) == self.faces.targets)

    def report(self) -> Report:
        """Return every metric; images of one person, or identical ones, are resampled together."""
        report = evaluate(
            self.probabilities, self.faces.targets, self.faces.labels, self.name, self.faces.clusters(),
            temperature=self.temperature, confidence_threshold=self.confidence_threshold,
        )  # fmt: skip
        return replace(report, index=index_sha256(self.faces.names.tolist()))


def index_sha256(names: Iterable[str]) -> str:
    """Return what identifies the images of a view: the sha256 of their sorted file names, joined by newlines, in UTF-8.

    The names are those inside the source: `test/happy/PrivateTest_88305.jpg` in the Kaggle layout and in the csv of
    FER+ votes.
    """
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def answer_views(
    classifier: Classifier,
    path: Path | str,
    votes: Path | str | None = None,
    split: str | None = "PrivateTest",
    kind: str | None = None,
) -> dict[str, Answers]:
    """Classify each view of a data set.

    FER2013 has the views of `views`; a model that knows all its seven classes is measured on these too (`fer2013-7` and
    `ferplus-majority-7`). Any other set that `load_any` reads has one view, `test`, on the classes that model and data
    share by name; the name of its answers says what is left out. Without a split it is PrivateTest, or all images of a
    set that has none.
    """
    kind = recognise(path, kind)
    if kind != "fer2013":
        faces, split = take_split(load_any(path, kind=kind, votes=votes, drop_leaks=False), split, str(path))
        return {"test": answer_shared(classifier, faces, split)}
    split = split or SPLITS[2]
    check_split(split)
    parts = views(path, votes, split)
    if set(EMOTIONS7) <= set(classifier.labels):
        seven = views(path, votes, split, EMOTIONS7)
        parts |= {f"{view}-7": seven[view] for view in ("fer2013", "ferplus-majority") if view in seven}
    answers = {}
    known: dict[str, Floats] = {}  # the views overlap: each image is classified once
    for view, faces in parts.items():
        if not len(faces):
            raise DataError(f"{path}: the view {view} of {split} has no image of {', '.join(faces.labels)}")
        order = label_columns(classifier.labels, faces.labels)
        new = faces.take(np.array([name not in known for name in faces.names], bool))
        known.update(zip(new.names.tolist(), classifier(new.images), strict=True))
        probabilities = np.stack([known[name] for name in faces.names])[:, order]
        probabilities = probabilities / probabilities.sum(1, keepdims=True)
        thresholds = _temperature(classifier), classifier.confidence_threshold
        answers[view] = Answers(view, faces, probabilities, *thresholds, split)
    return answers


def check_split(split: str) -> None:
    if split not in SPLITS:
        raise ConfigError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")


def take_split(faces: Faces, split: str | None, source: str) -> tuple[Faces, str]:
    """Return the images of a split and its name; without a split PrivateTest, or all images and "" if it is empty."""
    if not split:
        part = faces.split(SPLITS[2])
        return (part, SPLITS[2]) if len(part) else (faces, "")
    check_split(split)
    if not len(part := faces.split(split)):
        filled = [name for name in SPLITS if len(faces.split(name))]
        raise DataError(f"{source} has no {split} images; choose the split {' or '.join(filled)}")
    return part, split


def evaluate_views(
    classifier: Classifier,
    path: Path | str,
    votes: Path | str | None = None,
    split: str | None = "PrivateTest",
    kind: str | None = None,
) -> dict[str, Report]:
    """Return the report of each view, as in `answer_views`."""
    return {view: answers.report() for view, answers in answer_views(classifier, path, votes, split, kind).items()}


def compare_answers(first: Answers, second: Answers) -> Comparison:
    """Compare two models on the same view; images of one person, or identical ones, are resampled together."""
    if set(first.faces.labels) != set(second.faces.labels):
        labels = " and ".join(", ".join(answers.faces.labels) for answers in (first, second))
        raise ConfigError(f"the models know different classes of these data ({labels}): compare models that share them")
    if first.faces.names.tolist() != second.faces.names.tolist():
        raise ConfigError("the models answered about different images: give both the same view")
    return compare(first.right, second.right, first.faces.clusters())


def _temperature(classifier: Classifier) -> float:
    text = classifier.metadata.get("temperature", "1") if isinstance(classifier, OnnxClassifier) else "1"
    try:
        temperature = float(text)
    except ValueError:
        temperature = 0.0
    if not 0 < temperature < float("inf"):
        raise ModelError(f"the model's `temperature` is {text!r}, not a number above 0; give a file of `mien train`")
    return temperature


def answer_shared(
    classifier: Classifier, faces: Faces, split: str = "", only: Container[str] | None = None, name: str = "test"
) -> Answers:
    """Classify images of the classes that model and data share; the other classes' probability is spread in proportion.

    `only` leaves out further classes. The name of the answers says what is left out.
    """
    known = [label for label in classifier.labels if only is None or label in only]
    labels = tuple(label for label in known if label in faces.labels)
    shared = faces.with_labels(labels)
    if not len(shared):
        both = f"the model knows {', '.join(classifier.labels)}, the data hold {', '.join(faces.labels)}"
        raise ConfigError(f"no image is of a class that the model knows: {both}")
    notes = []
    if unknown := [label for label in faces.labels if label not in known]:
        which = "which the model does not know" if only is None else "which not every model knows"
        notes.append(f"{len(faces) - len(shared)} images of {', '.join(unknown)}, {which}")
    if unused := [label for label in classifier.labels if label not in faces.labels]:
        notes.append(f"the model's {', '.join(unused)}, which the data do not hold")
    name = f"{name}, without {' and without '.join(notes)}" if notes else name
    # A network may be so sure of an ignored class that nothing remains for the others.
    found = np.maximum(classifier(shared.images)[:, label_columns(classifier.labels, labels)], 1e-12)
    probabilities = found.astype(np.float64) / found.sum(1, keepdims=True, dtype=np.float64)
    thresholds = _temperature(classifier), classifier.confidence_threshold
    return Answers(name, shared, probabilities, *thresholds, split)
