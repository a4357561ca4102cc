"""Measure models on labelled photographs through the whole pipeline: detector, crop, classifier.

    python benchmarks/accuracy/photos.py photos_dev.zip --model rep --out benchmarks/results/photos-rep.json

The archive holds `<class>/<person>_<number>.jpg`, whole images with surroundings. The face nearest to the centre of the
image counts. Prints and writes accuracy, balanced accuracy, the recall of each class and the share of images without a
face, with 95 % intervals resampled by person. An image without a face counts as wrong.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import mien

RESAMPLES = 2000


def turned(image: NDArray[np.uint8], degrees: float) -> NDArray[np.uint8]:
    """Rotate an image (H, W, 3) about its centre, counterclockwise; the edge is repeated outside."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def nearest(faces: Sequence[mien.Face], width: int, height: int) -> mien.Face:
    """Return the face whose centre is nearest to the centre of the image, large faces favoured by half their side."""

    def distance(face: mien.Face) -> float:
        x1, y1, x2, y2 = face.box
        return float(np.hypot((x1 + x2 - width) / 2, (y1 + y2 - height) / 2)) - max(x2 - x1, y2 - y1) / 2

    return min(faces, key=distance)


def balanced(truth: NDArray[np.int64], answer: NDArray[np.int64], classes: Sequence[int]) -> float:
    """Return the mean recall of the classes that occur."""
    return float(np.mean([(answer[truth == c] == c).mean() for c in classes if (truth == c).any()]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, help="photos_dev.zip")
    parser.add_argument("--model", default="rep", help="name of a shipped model or path of an ONNX file")
    parser.add_argument("--turn", type=float, default=0.0, help="largest rotation in degrees, drawn for each image")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()

    pipeline = mien.load(arguments.model)
    labels = [str(label) for label in pipeline.classifier.labels]
    random = np.random.default_rng(1)
    truth, answer, people, sure = [], [], [], []
    with zipfile.ZipFile(arguments.archive) as archive:
        for name in sorted(n for n in archive.namelist() if n.lower().endswith((".jpg", ".jpeg", ".png"))):
            image = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR)
            if arguments.turn:
                image = turned(image, random.uniform(-arguments.turn, arguments.turn))
            faces = pipeline(image).faces
            label, file = name.split("/")[-2:]
            face = nearest(faces, image.shape[1], image.shape[0]) if faces else None
            truth.append(labels.index(label))
            answer.append(-1 if face is None else labels.index(face.emotion))
            people.append(file.rsplit("_", 1)[0])
            sure.append(face is not None and not face.uncertain)
    t, a, certain = np.array(truth), np.array(answer), np.array(sure)
    classes = [c for c in range(len(labels)) if (t == c).any()]
    person = np.unique(people, return_inverse=True)[1]
    members = [np.flatnonzero(person == p) for p in range(person.max() + 1)]
    drawn = []
    for _ in range(RESAMPLES):
        index = np.concatenate([members[p] for p in random.integers(0, len(members), len(members))])
        drawn.append(((t[index] == a[index]).mean(), balanced(t[index], a[index], classes)))
    intervals = np.percentile(100 * np.array(drawn), [2.5, 97.5], axis=0).round(1)
    figures = {
        "model": arguments.model,
        "sha256": pipeline.classifier.sha256,
        "turn": arguments.turn,
        "images": len(t),
        "people": len(members),
        "accuracy": round(100 * float((t == a).mean()), 1),
        "accuracy_interval": intervals[:, 0].tolist(),
        "balanced_accuracy": round(100 * balanced(t, a, classes), 1),
        "balanced_accuracy_interval": intervals[:, 1].tolist(),
        "recalls": {labels[c]: round(100 * float((a[t == c] == c).mean()), 1) for c in classes},
        "not_found": round(100 * float((a < 0).mean()), 2),
        "answered": round(100 * float(certain.mean()), 1),
        "right_among_answered": round(100 * float((t == a)[certain].mean()), 1),
    }
    print(json.dumps(figures, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
