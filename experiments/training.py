"""Collect the figures of docs/training.md from the logs: best accuracy on PublicTest and minutes of each run.

Also measures how often the soft labels agree with the label of a Training image.

Usage: python -m experiments.training --data fer2013.zip [--soft-labels experiments/soft_labels.npz] [--out FILE]
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from mien.data.fer2013 import load_fer2013

HERE = Path(__file__).parent
RUNS = (
    "mien-s-start", "mien-s", "mien-xs-fer2013", "mien-m-start", "mien-m-a", "mien-m", "baseline-start", "baseline-a",
    "baseline",
)  # fmt: skip
GROUPS = {
    "teacher": ("cutmix", "mixup"),
    "trials": ("mien-m", "narrow", "mobilenet", "shaken"),
    "mien-s-seeds": ("mien-s",),
}
"""Logs that hold several runs -> prefixes of the runs that form one row."""


def main() -> None:
    parser = harness.parser(__doc__, data=True)
    parser.add_argument("--soft-labels", type=Path, default=HERE / "soft_labels.npz")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "training.json", help="result file")
    options = parser.parse_args()
    from mien.train.soft_labels import read_soft_labels

    train = load_fer2013(options.data).split("Training")
    agrees = read_soft_labels(options.soft_labels, train).argmax(1) == train.targets
    values: dict[str, Any] = {name: best([read(name)]) for name in RUNS}
    for log, prefixes in GROUPS.items():
        for prefix in prefixes:
            rows = [row for row in read(log) if row["run"].startswith(prefix)]
            runs = sorted({row["run"] for row in rows})
            values[f"{log}, {prefix}"] = best([[row for row in rows if row["run"] == run] for run in runs])
    values["soft labels agree with the label of a Training image"] = float(agrees.mean())
    options.out.write_text(json.dumps(values, indent=1) + "\n", "utf-8")
    print(json.dumps(values, indent=1))


def read(log: str) -> list[dict[str, str]]:
    """Return the rows of a log, from experiments/results/ or benchmarks/results/."""
    path = HERE / "results" / f"{log}-log.csv"
    if not path.exists():
        path = harness.RESULTS / path.name
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def best(runs: list[list[dict[str, str]]]) -> dict[str, Any]:
    """Return the best accuracy in the last stage of each run, and the minutes of all runs."""
    last = [[row for row in run if row["stage"] == run[-1]["stage"]] for run in runs]
    found = [max(float(row["val_accuracy"]) for row in run) for run in last]
    return {
        "best": found,
        "mean": float(np.mean(found)),
        "deviation": float(np.std(found, ddof=1)) if len(found) > 1 else None,
        "epochs": [len(run) for run in runs],
        "minutes": sum(float(row["seconds"]) for run in runs for row in run) / 60,
    }


if __name__ == "__main__":
    main()
