"""Make the soft labels of `mien-s-d.yaml`: those of the teachers mixed with the answers of shipped models.

FER2013: the mean of `soft_labels.npz`, of `mien-s-7`, and, with twice their weight, of `mien-m` and `baseline`, which
share out among five classes what the first two give to these. Photographs: the mean of `photographs/soft_labels.npz`
and `mien-s-7`. Every model answers each image and its mirror image. The shipped models have learned from these images,
so that their answers lean towards the labels.

Usage: python -m experiments.mixed_labels --data fer2013.zip --photographs photos_train.zip --out FOLDER
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from mien.data.faces import Faces
from mien.data.fer2013 import load_fer2013
from mien.data.registry import load_any
from mien.faces.models import load_classifier
from mien.media import atomic
from mien.train.soft_labels import read_soft_labels
from mien.types import EMOTIONS, EMOTIONS7, Floats, label_columns

HERE = Path(__file__).parent


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    for name in ("data", "photographs", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    faces = load_fer2013(options.data, classes=7).split("Training")
    teachers, seven = read_soft_labels(HERE / "soft_labels.npz", faces), answers("mien-s-7", faces)
    columns = label_columns(EMOTIONS7, EMOTIONS)
    first = (teachers + seven) / 2
    five = (answers("mien-m", faces) + answers("baseline", faces)) / 2
    second = first.copy()
    second[:, columns] = five * first[:, columns].sum(1, keepdims=True)
    save(options.out / "fer2013.npz", faces, (first + second) / 2, teachers=teachers)

    photographs = load_any(options.photographs, kind="photographs", drop_leaks=False).mapped(EMOTIONS7)
    others = read_soft_labels(HERE / "photographs" / "soft_labels.npz", photographs)
    save(options.out / "photographs.npz", photographs, (others + answers("mien-s-7", photographs)) / 2, others=others)


def answers(model: str, faces: Faces) -> Floats:
    """Return the mean answer of a shipped model to each image and its mirror image, in the order of mien's classes."""
    classify = load_classifier(model)
    both = (classify(faces.images) + classify(faces.images[:, :, ::-1])) / 2
    return both[:, label_columns(classify.labels, EMOTIONS7 if len(classify.labels) == 7 else EMOTIONS)]


def save(path: Path, faces: Faces, soft: Floats, **alone: Floats) -> None:
    """Write soft labels as `mien data soft-labels` does; print how often they, and others, agree with the label."""
    keys, places = np.unique(faces.keys(), return_index=True)
    facts = {"labels": list(EMOTIONS7), "models": ["soft_labels.npz", "mien-s-7", "mien-m", "baseline"]}
    for name, each in {"mixed": soft, **alone}.items():
        print(f"{path.name}, {name}: {100 * (each.argmax(1) == faces.targets).mean():.1f} % as the label")
    shares = np.round(soft[places] * 255).astype(np.uint8)
    with atomic.draft(path) as draft, draft.open("wb") as stream:
        np.savez_compressed(stream, keys=keys, shares=shares, facts=np.array(json.dumps(facts)))


if __name__ == "__main__":
    main()
