"""What models lose on corrupted crops, and behind a real detector: results/robustness-<split>.json and .png.

Each model but the first is compared with the first: the difference of the means, with its paired 95 % interval.

All runs are on PublicTest unless told otherwise: robustness is looked at while models are chosen, and PrivateTest is
touched once a final model.

Usage: python benchmarks/robustness.py --data fer2013.zip [--model NAME|FILE ...] [--split ...] [--sample N]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from mien import files
from mien.classify import OnnxClassifier, model
from mien.metrics import mean_interval
from mien.pipeline import Pipeline
from mien.report import robustness_png
from mien.train.data import SPLITS, Faces, load
from mien.train.endtoend import end_to_end
from mien.train.robustness import CORRUPTIONS, evaluate_robustness


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", nargs="+", default=["rep", "baseline"])
    parser.add_argument("--split", default="PublicTest", choices=SPLITS)
    parser.add_argument("--sample", type=int, help="number of pictures for the corruptions; all when not given")
    parser.add_argument(
        "--faces", type=int, default=300, help="number of pictures for the detectors; 0 leaves them out"
    )
    parser.add_argument("--detectors", nargs="+", default=["yunet", "haar"])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()

    faces = load(options.data, drop_leaks=False).split(options.split)
    values: dict[str, Any] = {"split": options.split, "corruptions": {}, "models": {}, "differences": {}}
    for name, corruption in CORRUPTIONS.items():
        values["corruptions"][name] = {"amount": corruption.amount, "levels": list(corruption.levels)}
    chosen = sample(faces, options.sample)
    shares: list[np.ndarray] = []
    for name in options.model:
        classifier = model(name)
        found = evaluate_robustness(classifier, chosen)
        shares.append(found.shares)
        told = values["models"][Path(name).stem] = {"sha256": classifier.sha256, **found.to_dict()}
        print(f"{name}: n {found.n}, clean {found.clean:.2%}, under corruption {found.mean:.2%} {found.interval}")
        if len(shares) > 1:
            off = shares[0] - shares[-1]
            row = {"difference": float(off.mean()), "interval": list(mean_interval(off, chosen.groups()))}
            values["differences"][f"{Path(options.model[0]).stem} minus {Path(name).stem}"] = row
            print(f"  {options.model[0]} minus {name}: {row}")
        for corruption, accuracies in found.accuracy.items():
            print(f"  {corruption:15}", *(f"{100 * v:6.2f}" for v in accuracies))
        if options.faces:
            told["end_to_end"] = behind_detectors(classifier, sample(faces, options.faces), options.detectors)
    goal = options.out / f"robustness-{options.split}.json"
    files.write_text(goal, json.dumps(values, indent=1) + "\n")
    robustness_png(values["models"], goal.with_suffix(".png"))


def sample(faces: Faces, size: int | None) -> Faces:
    """The same pictures every time."""
    return faces if size is None else faces.take(np.random.default_rng(0).permutation(len(faces))[:size])


def behind_detectors(classifier: OnnxClassifier, faces: Faces, detectors: list[str]) -> dict[str, Any]:
    """Recall and accuracy for each detector, side and angle; `crops` is the accuracy on the same faces without one."""
    order = [classifier.labels.index(label) for label in faces.labels]
    right = classifier(faces.images)[:, order].argmax(1) == faces.targets
    values: dict[str, Any] = {"crops": float(right.mean())}
    print(f"  without a detector: n {len(faces)}, accuracy {values['crops']:.1%}")
    for name in detectors:
        rows = end_to_end(Pipeline(name, classifier), faces)
        values[name] = [row.to_dict() for row in rows]
        print(f"  {name}: side, angle, recall, accuracy, accuracy of those found, false boxes")
        for row in rows:
            shares = (f"{100 * v:6.1f}" for v in (row.recall, row.accuracy, row.accuracy_found))
            print(f"  {row.side:4} {row.angle:3}", *shares, row.false_boxes)
    return values


if __name__ == "__main__":
    main()
