"""Whether two processes train as one does: accuracy and loss after a few epochs, for several seeds, in one run.

`mien train --devices 2` (gloo on a CPU) against one process, the same recipe, data and seeds, in turn. The deviation is
that of the seeds.

Usage: python benchmarks/devices.py --data fer2013.zip [--seeds 3] [--epochs 4] [--size 24] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mien import files
from mien.report_page import environment
from mien.train import loop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--size", type=int, default=24)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "devices.json")
    options = parser.parse_args()
    recipe = {
        "name": "devices",
        "network": "rep",
        "optimizer": "sgd",
        "weight_decay": 5e-4,
        "stages": [{"epochs": options.epochs, "size": options.size, "lr": 0.1, "dropout": 0.5}],
    }
    found: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for seed in range(1, options.seeds + 1):
        for devices, rows in found.items():
            rows.append(trained(recipe, options.data, seed, devices))
            print(devices, seed, rows[-1], flush=True)
    values: dict[str, Any] = {"recipe": recipe, "runs": found}
    for name in ("val_accuracy", "val_loss", "train_loss", "seconds"):
        one, two = (np.array([row[name] for row in found[devices]]) for devices in (1, 2))
        spread = np.sqrt((one.var(ddof=1) + two.var(ddof=1)) / 2) if options.seeds > 1 else 0.0
        values[name] = {"one": one.mean(), "two": two.mean(), "difference": (two - one).mean(), "deviation": spread}
    files.write_text(options.out, json.dumps(values | {"environment": environment()}, indent=1) + "\n")
    for name in ("val_accuracy", "val_loss", "train_loss", "seconds"):
        print(name, {key: round(float(value), 4) for key, value in values[name].items()})


def trained(recipe: dict[str, Any], data: str, seed: int, devices: int) -> dict[str, float]:
    """The last epoch of one run."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "devices.yaml", Path(folder) / "run"
        path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
        command = [sys.executable, "-m", "mien", "train", "--data", data, "--recipe", str(path), "--out", str(out)]
        command += ["--seed", str(seed), "--devices", str(devices)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        rows = loop.read_log(out / "log.csv")
    return {**rows[-1], "seconds": sum(row["seconds"] for row in rows)}


if __name__ == "__main__":
    main()
