"""Measure how many images a second of processor time training takes, with one change after the other.

One thread, the network of mien-s, made images. Each row is an epoch of the trainer: augmentation, targets, forward,
backward, optimizer. Images a second of *processor* time do not depend on what else the machine does.

Usage: python -m benchmarks.speed.training [--images 512] [--rounds 3] [--compile] [--out FILE]
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import harness
from mien.data.faces import Faces
from mien.train import distributed
from mien.train.config import DataSet, Stage, TrainConfig
from mien.train.trainer import Trainer
from mien.types import EMOTIONS

STAGE = Stage(epochs=1, lr=0.001, size=48, distill=0.7)
ASKED = TrainConfig(
    network="rep", init="mien-s", batch=128, optimizer="sgd", teacher="mien-m+baseline", stages=(STAGE,), stretch=0.2,
    shear=0.08, shadow=0.25, sharpen=0.1, gamma=0.3, degrade=0.15, erasing=0.1,
)  # fmt: skip
STORED = replace(ASKED, teacher="", sets=(DataSet(soft_labels="init"),))


def staged(**changes: Any) -> TrainConfig:
    return replace(STORED, stages=(replace(STAGE, **changes),))


ROWS = {
    "teachers asked in each step, 48 pixels, batch 128": ASKED,
    "stored soft labels": STORED,
    "stored soft labels, batch 256": replace(STORED, batch=256),
    "stored soft labels, 40 pixels": staged(size=40),
    "stored soft labels, 32 pixels": staged(size=32),
    "stored soft labels, first third frozen": staged(freeze=0.34),
    "stored soft labels, only the head learns": staged(freeze=1.0),
}


def main() -> None:
    parser = harness.parser(__doc__, "training")
    parser.add_argument("--images", type=int, default=512, help="of an epoch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="measure torch.compile too; it needs a C++ compiler")
    options = parser.parse_args()
    torch.set_num_threads(1)
    faces = make(options.images)
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: prepare(config, faces, Path(folder)) for name, config in ROWS.items()}
        if options.compile:
            runs["stored soft labels, torch.compile"] = prepare(STORED, faces, Path(folder), compiled=True)
        seconds = harness.take_turns(runs, options.rounds, rest=0.0)
    rows = {name: harness.rate(options.images, each) for name, each in seconds.items()}
    first = next(iter(rows.values()))["median"]
    for name, row in rows.items():
        print(f"{name}: {row['median']:.0f} images a second, {row['median'] / first:.2f} times the first")
    harness.save(options.out, {"images": options.images, "threads": 1, "rows": rows})


def make(count: int) -> Faces:
    """Return random images: `count` for training, a few for validation."""
    rng, total = np.random.default_rng(0), count + 20
    images = rng.integers(0, 256, (total, 48, 48), dtype=np.uint8)
    splits = (np.arange(total) >= count).astype(np.int8)
    return Faces(images, np.arange(total) % 5, splits, np.arange(total).astype(str), EMOTIONS)


def prepare(config: TrainConfig, faces: Faces, folder: Path, compiled: bool = False) -> Callable[[], float]:
    """Return a function that trains for an epoch and returns its seconds of processor time."""
    run = Trainer(config, faces, folder, distributed.make_fabric(1, config.precision))
    run.start_stage(config.stages[0])
    if compiled:
        run.network = torch.compile(run.network)  # type: ignore[assignment]

    def epoch() -> float:
        started = time.process_time()
        run.train_epoch()
        return time.process_time() - started

    return epoch


if __name__ == "__main__":
    main()
