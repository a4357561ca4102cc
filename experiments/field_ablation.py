"""What each field of the augmentation brings to mien-s in a short run, and what faster training costs.

Each run starts from mien-s and learns two epochs from the same part of FER2013 (`field-ablation.yaml`). Measured in
fp32: the four views of PublicTest, and the photographs kept for choosing (accuracy and balanced accuracy). A run begins
with the answers of mien-s as it is shipped. The difference of the two base rows is the noise: a row within it says
nothing. Rows are written as they are done, and a call continues after the last one.

Usage: python -m experiments.field_ablation --data fer2013.zip --votes ferplus_votes.csv --photographs photos_dev.zip
       [--part 6] [--rows NAME ...] [--out FILE]
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from mien.data.faces import Faces
from mien.data.fer2013 import load_fer2013
from mien.data.registry import load_any
from mien.evaluation.metrics import evaluate
from mien.evaluation.views import views
from mien.train import checkpoint, trainer
from mien.train.config import read_recipe
from mien.train.torch_classifier import TorchClassifier
from mien.types import EMOTIONS, label_columns

HERE = Path(__file__).parent
STAGE = {"epochs": 2, "size": 48, "lr": 0.01, "lr_end": 0.0, "dropout": 0.5, "distill": 0.7}  # of field-ablation.yaml
FROZEN = [STAGE | {"freeze": 0.34}]
SMALL = [STAGE | {"epochs": 1, "size": 32, "lr_end": 0.005}, STAGE | {"epochs": 1, "lr": 0.005}]
ROWS: dict[str, dict[str, Any]] = {
    "base": {},
    "base, seed 2": {"seed": 2},
    "perspective 0.25": {"perspective": 0.25},
    "framing 0.5": {"framing": 0.5},
    "highlight 0.2": {"highlight": 0.2},
    "occlude 0.15": {"occlude": 0.15},
    "without stretch": {"stretch": 0.0},
    "without shear": {"shear": 0.0},
    "without shadow": {"shadow": 0.0},
    "without sharpen": {"sharpen": 0.0},
    "without gamma": {"gamma": 0.0},
    "without degrade": {"degrade": 0.0},
    "without erasing": {"erasing": 0.0},
    "motion 0.1": {"motion": 0.1},
    "first third frozen": {"stages": FROZEN},
    "first third frozen, seed 2": {"stages": FROZEN, "seed": 2},
    "first epoch at 32 pixels": {"stages": SMALL},
    "first epoch at 32 pixels, seed 2": {"stages": SMALL, "seed": 2},
}


def main() -> None:
    parser = harness.parser(__doc__, data=True, votes=True)
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--part", type=int, default=6, help="every so-many-th Training image")
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "field-ablation.json", help="result file")
    options = parser.parse_args()
    everything = load_fer2013(options.data, 7)
    train = np.flatnonzero(everything.splits == 0)[:: options.part]
    few = everything.take(np.sort(np.concatenate([train, np.flatnonzero(everything.splits == 1)])))
    sets = views(options.data, options.votes, "PublicTest")
    sets["photographs"] = load_any(options.photographs, kind="photographs", drop_leaks=False).mapped(EMOTIONS)
    known = harness.load(options.out.stem, options.out.parent) or {"rows": {}}
    rows: dict[str, Any] = known["rows"]
    if "start" not in rows:
        rows["start"] = measure(checkpoint.resolve("mien-s"), sets)
    for name in options.rows:
        if name not in rows:
            config = read_recipe(HERE / "field-ablation.yaml", ROWS[name])
            started = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                best = trainer.fit(config, few, Path(folder), pause=600.0)
                rows[name] = measure(best, sets)
            rows[name]["cpu_seconds"] = round(time.process_time() - started)
        print(name, rows[name], flush=True)
        harness.save(options.out, {"training_images": len(train), "rows": rows})


def measure(path: Path, sets: dict[str, Faces]) -> dict[str, float]:
    """Return the accuracy of a checkpoint on each set, and the balanced one on the photographs."""
    classify = TorchClassifier(path)
    columns = label_columns(classify.labels, EMOTIONS)
    figures: dict[str, float] = {}
    answers: dict[bytes, np.ndarray] = {}  # the views overlap
    for name, faces in sets.items():
        new = [n for n, image in enumerate(faces.images) if image.tobytes() not in answers]
        if new:
            for n, row in zip(new, classify(faces.images[new])[:, columns], strict=True):
                answers[faces.images[n].tobytes()] = row / row.sum()
        rows = np.stack([answers[image.tobytes()] for image in faces.images])
        report = evaluate(rows, faces.targets, EMOTIONS, groups=faces.clusters(), bootstraps=200)
        figures[name] = round(report.accuracy, 4)
        if name == "photographs":
            figures["photographs, balanced"] = round(report.balanced_accuracy, 4)
    return figures


if __name__ == "__main__":
    main()
