"""What int8 costs on PublicTest, and why residual additions stay out of the kernels: results/quantisation.json.

Starts from the shipped checkpoint (weights in half precision), so that the figures may differ from the shipped files'
in the last digit.

Usage: python benchmarks/quantisation.py --data fer2013.zip
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from mien import __version__, files
from mien.classify import ASSETS, DEFAULT, OnnxClassifier
from mien.train import data, export


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    options = parser.parse_args()
    faces = data.load(options.data)
    train, valid = faces.split("Training"), faces.split("PublicTest")
    sample = train.images[:: len(train) // 512][:512]
    answers = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for fold in (True, False):
            full = export.export(ASSETS / f"{DEFAULT}.safetensors", folder / "fp32.onnx", __version__, fold=fold)
            small = export.quantise(full, folder / "int8.onnx", sample)
            answers["fp32"] = OnnxClassifier(full)(valid.images)
            answers["int8, additions folded" if fold else "int8, additions apart"] = OnnxClassifier(small)(valid.images)
    rows = {}
    for name, p in answers.items():
        rows[name] = {
            "accuracy": float((p.argmax(1) == valid.targets).mean()),
            "nll": float(-np.log(np.clip(p[np.arange(len(p)), valid.targets], 1e-12, 1)).mean()),
            "agrees_with_fp32": float((p.argmax(1) == answers["fp32"].argmax(1)).mean()),
        }
        print(name, {key: round(value, 4) for key, value in rows[name].items()})
    results = Path(__file__).parent / "results"
    files.write_text(results / "quantisation.json", json.dumps({"model": DEFAULT, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
