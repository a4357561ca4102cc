"""The figures of docs/training.md: each run's best accuracy on PublicTest, from its log, and what the soft labels know.

The logs are those of the runs that made the shipped models, and of trials beside them.

Usage: python benchmarks/training.py --data fer2013.zip [--soft-labels recipes/soft_labels.npz] [--out FILE]
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from mien import files
from mien.train import data, lessons

RESULTS = Path(__file__).parent / "results"
GROUPS = {"teacher": ("cutmix", "mixup"), "trials": ("wide", "narrow", "mobilenet", "shaken"), "rep-seeds": ("rep",)}
"""Logs of several runs, and how the names of runs begin that are one row."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--soft-labels", default="recipes/soft_labels.npz")
    parser.add_argument("--out", type=Path, default=RESULTS / "training.json")
    options = parser.parse_args()
    train = data.load(options.data).split("Training")
    told = lessons.read_soft(options.soft_labels, train).argmax(1)
    values: dict[str, Any] = {name: best([rows(name)]) for name in ("rep-start", "rep", "swift", "wide", "baseline")}
    for log, kinds in GROUPS.items():
        for kind in kinds:
            own = [row for row in rows(log) if row["run"].startswith(kind)]
            runs = sorted({row["run"] for row in own})
            values[f"{log}, {kind}"] = best([[row for row in own if row["run"] == run] for run in runs])
    values["soft labels name the label of a Training picture"] = float((told == train.targets).mean())
    files.write_text(options.out, json.dumps(values, indent=1) + "\n")
    print(json.dumps(values, indent=1))


def rows(log: str) -> list[dict[str, str]]:
    """Of a log in results/."""
    with (RESULTS / f"{log}-log.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def best(runs: list[list[dict[str, str]]]) -> dict[str, Any]:
    """Accuracy of the best epoch of each run's last stage, and minutes of all of them."""
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
