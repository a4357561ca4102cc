"""Measure what models lose on corrupted crops and behind a detector: robustness-<split>.json and its plot.

Each model but the first is compared with the first: difference of the means with a paired 95 % interval. The default
split is PublicTest, because robustness is looked at while models are chosen.

Usage: python -m benchmarks.accuracy.robustness --data fer2013.zip [--model NAME|FILE ...] [--split PublicTest]
       [--sample N] [--faces 300] [--detectors yunet] [--results FOLDER]
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from mien.data.faces import SPLITS, Faces
from mien.data.fer2013 import load_fer2013
from mien.evaluation.bootstrap import mean_interval
from mien.evaluation.corruptions import CORRUPTIONS
from mien.evaluation.end_to_end import end_to_end
from mien.evaluation.plots import robustness_png
from mien.evaluation.robustness import evaluate_robustness
from mien.faces.models import load_classifier
from mien.pipeline import Pipeline
from mien.types import Classifier, Face, Image


def main() -> None:
    parser = harness.parser(__doc__, data=True)
    parser.add_argument("--model", nargs="+", default=["mien-s", "baseline"])
    parser.add_argument("--split", default="PublicTest", choices=SPLITS)
    parser.add_argument("--sample", type=int, help="images for the corruptions; all by default")
    parser.add_argument("--faces", type=int, default=300, help="images for the detectors; 0 skips them")
    parser.add_argument("--detectors", nargs="+", default=["yunet"])
    parser.add_argument("--results", type=Path, default=harness.RESULTS, help="folder for the result files")
    options = parser.parse_args()
    faces = load_fer2013(options.data, drop_leaks=False).split(options.split)
    corruptions = {name: {"amount": each.amount, "levels": list(each.levels)} for name, each in CORRUPTIONS.items()}
    values: dict[str, Any] = {"split": options.split, "corruptions": corruptions, "models": {}, "differences": {}}
    chosen = sample(faces, options.sample)
    shares: dict[str, np.ndarray] = {}
    known: dict[str, dict[bytes, list[Face]]] = {name: {} for name in options.detectors}
    for name in options.model:
        classifier = load_classifier(name)
        found = evaluate_robustness(classifier, chosen)
        row = values["models"][classifier.name] = {"sha256": classifier.sha256, **found.to_dict()}
        print(f"{classifier.name}: n {found.n}, clean {found.clean:.2%}, corrupted {found.mean:.2%} {found.interval}")
        if shares:
            first = next(iter(shares))
            gap = shares[first] - found.shares
            difference = {"difference": float(gap.mean()), "interval": list(mean_interval(gap, chosen.groups()))}
            values["differences"][f"{first} minus {classifier.name}"] = difference
            print(f"  {first} minus {classifier.name}: {difference}")
        shares[classifier.name] = found.shares
        if options.faces:
            row["end_to_end"] = behind_detectors(classifier, sample(faces, options.faces), known)
    goal = options.results / f"robustness-{options.split}.json"
    harness.save(goal, values)
    robustness_png(values["models"], goal.with_suffix(".png"))


def sample(faces: Faces, size: int | None) -> Faces:
    """Return `size` images, the same ones every time."""
    return faces if size is None else faces.take(np.random.default_rng(0).permutation(len(faces))[:size])


class Remembering(Pipeline):
    """A pipeline that finds the faces of an image once, for all models."""

    def __init__(self, detector: str, classifier: Classifier, known: dict[bytes, list[Face]]) -> None:
        super().__init__(detector, classifier)
        self._known = known

    def detect(self, image: Image, quick_search: bool = False) -> list[Face]:
        key = hashlib.sha256(image).digest()
        if key not in self._known:
            self._known[key] = super().detect(image, quick_search)
        return self._known[key]


def behind_detectors(classifier: Classifier, faces: Faces, known: dict[str, dict[bytes, list[Face]]]) -> dict[str, Any]:
    """Return recall and accuracy by face size and angle; `crops` is the accuracy without a detector.

    `known` has the faces found before, by image, of each detector to measure.
    """
    order = [classifier.labels.index(label) for label in faces.labels]
    correct = classifier(faces.images)[:, order].argmax(1) == faces.targets
    values: dict[str, Any] = {"crops": float(correct.mean())}
    print(f"  without a detector: n {len(faces)}, accuracy {values['crops']:.1%}")
    for name, found in known.items():
        rows = end_to_end(Remembering(name, classifier, found), faces)
        values[name] = [row.to_dict() for row in rows]
        for row in rows:
            shares = f"recall {row.recall:.1%}, accuracy {row.accuracy:.1%}, of found {row.accuracy_found:.1%}"
            print(f"  {name}, {row.side} px, {row.angle} degrees: {shares}, {row.false_boxes} false boxes")
    return values


if __name__ == "__main__":
    main()
