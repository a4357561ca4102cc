"""Compare training with two processes and with one: accuracy and loss after a few epochs, for several seeds.

`mien train --devices 2` (gloo on a CPU) runs in turn with `--devices 1` on the same recipe, data and seeds. The
deviation is that of the seeds.

Usage: python -m benchmarks.accuracy.devices --data fer2013.zip [--seeds 3] [--epochs 4] [--size 24] [--out FILE]
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks import harness

FIGURES = ("val_accuracy", "val_loss", "train_loss", "seconds")


def main() -> None:
    parser = harness.parser(__doc__, "devices", data=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--size", type=int, default=24, help="side of the images, pixels")
    options = parser.parse_args()
    stage = {"epochs": options.epochs, "size": options.size, "lr": 0.1, "dropout": 0.5}
    recipe = {"name": "devices", "network": "rep", "optimizer": "sgd", "weight_decay": 5e-4, "stages": [stage]}
    runs: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for seed in range(1, options.seeds + 1):
        for devices, rows in runs.items():
            rows.append(train(recipe, options.data, seed, devices))
            print(devices, seed, rows[-1], flush=True)
    values: dict[str, Any] = {"recipe": recipe, "runs": runs}
    for name in FIGURES:
        one, two = (np.array([row[name] for row in runs[devices]]) for devices in (1, 2))
        spread = np.sqrt((one.var(ddof=1) + two.var(ddof=1)) / 2) if options.seeds > 1 else 0.0
        figures = {"one": one.mean(), "two": two.mean(), "difference": (two - one).mean(), "deviation": spread}
        values[name] = {key: float(value) for key, value in figures.items()}
        print(name, {key: round(value, 4) for key, value in values[name].items()})
    harness.save(options.out, values)


def train(recipe: dict[str, Any], data: Path, seed: int, devices: int) -> dict[str, float]:
    """Train once and return the last row of the log, with the seconds of all epochs."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "devices.yaml", Path(folder) / "run"
        path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
        command = [sys.executable, "-m", "mien", "train", "--data", str(data), "--recipe", str(path)]
        command += ["--out", str(out), "--seed", str(seed), "--devices", str(devices)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        with (out / "log.csv").open(newline="", encoding="utf-8") as stream:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]
    return {**rows[-1], "seconds": sum(row["seconds"] for row in rows)}


if __name__ == "__main__":
    main()
