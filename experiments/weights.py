"""Measure checkpoints with photographs, and the mean of their weights, at the operating point of mien-s, in fp32.

Usage: python -m experiments.weights CHECKPOINT [CHECKPOINT ...] --data fer2013.zip --votes ferplus_votes.csv
       --photographs photos_dev.zip --out experiments/results/NAME.json
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks import harness
from benchmarks.accuracy.choices import heads
from mien.data.faces import Faces
from mien.data.registry import load_any
from mien.evaluation.views import views
from mien.train import checkpoint

BLEND, BIAS = 0.5, {"angry": -0.2, "neutral": -0.2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", type=Path, nargs="+")
    for name in ("data", "votes", "photographs", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    options = parser.parse_args()
    sets: dict[str, Faces] = dict(views(options.data, options.votes, "PublicTest"))
    labels = sets["fer2013"].labels
    sets["photographs"] = load_any(options.photographs, kind="photographs", drop_leaks=False).mapped(labels)
    rows = {path.stem: measure(path, sets, labels) for path in options.checkpoints}
    if len(options.checkpoints) > 1:
        with tempfile.TemporaryDirectory() as scratch:
            rows["mean of the weights"] = measure(average(options.checkpoints, Path(scratch)), sets, labels)
    for name, row in rows.items():
        print(name, row)
    harness.save(options.out, {"split": "PublicTest", "blend": BLEND, "class_bias": BIAS, "rows": rows})


def measure(path: Path, sets: dict[str, Faces], labels: Sequence[str]) -> dict[str, float]:
    """Return the accuracy on each view, and the balanced accuracy on the photographs."""
    bias = np.array([BIAS.get(label, 0.0) for label in labels])
    images = {name: image for faces in sets.values() for name, image in zip(faces.names, faces.images, strict=True)}
    own, votes = heads(path, np.stack(list(images.values())), labels)
    answers = dict(zip(images, (own + BLEND * votes + bias).argmax(1), strict=True))
    row = {}
    for name, faces in sets.items():
        right = np.array([answers[image] for image in faces.names]) == faces.targets
        recalls = [right[faces.targets == k].mean() for k in range(len(labels))]
        row[name] = float(np.mean(recalls) if name == "photographs" else right.mean())
    return row


def average(paths: Sequence[Path], folder: Path) -> Path:
    """Write the mean of the weights of several checkpoints of one network."""
    loaded = [checkpoint.load(path) for path in paths]
    names = loaded[0][0]
    mean = {name: torch.stack([tensors[name].float() for tensors, _ in loaded]).mean(0) for name in names}
    checkpoint.save(folder / "mean.safetensors", mean, loaded[0][1])
    return folder / "mean.safetensors"


if __name__ == "__main__":
    main()
