"""What a network that knew faces before brings: a run of recipes/mobilenet.yaml beside the shipped models, PublicTest.

Each answers alone, and together with others as the mean of their probabilities, over the mirror image too.

Usage: python benchmarks/pretrained.py --data fer2013.zip --votes ferplus_votes.csv
       --checkpoint runs/mobilenet/best.safetensors
"""

from __future__ import annotations

import argparse
import json
from itertools import combinations
from pathlib import Path

import numpy as np

from mien import files
from mien.classify import model
from mien.train import data
from mien.train.trained import Trained

SHIPPED = ("rep", "wide", "baseline")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--votes", required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "pretrained.json")
    options = parser.parse_args()
    views = data.views(options.data, options.votes, "PublicTest")
    answers: dict[str, dict[str, np.ndarray]] = {}
    for classifier in (Trained(options.checkpoint), *map(model, SHIPPED)):
        order = [classifier.labels.index(label) for label in views["T1"].labels]
        answers[classifier.name] = {
            name: (classifier(faces.images) + classifier(faces.images[:, :, ::-1]))[:, order]
            for name, faces in views.items()
        }
    rows = []
    for members in (some for count in range(1, len(answers) + 1) for some in combinations(answers, count)):
        row: dict[str, str | float] = {"model": "+".join(members)}
        for name, faces in views.items():
            mean = sum(answers[member][name] for member in members)
            row[name] = float((np.argmax(mean, 1) == faces.targets).mean())
        rows.append(row)
        print(f"| {row['model']} | " + " | ".join(f"{100 * row[name]:.1f}" for name in views) + " |")
    files.write_text(options.out, json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
