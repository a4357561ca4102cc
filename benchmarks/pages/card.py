"""Tables of MODEL_CARD.md, from the figures of the default model and from its file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from benchmarks.harness import interval, load, percent, require, table
from benchmarks.pages.accuracy import difference
from mien.faces.classifier import OnnxClassifier
from mien.faces.models import DEFAULT
from mien.faces.onnx import ASSETS

AUGMENTATION = (
    "flip",
    "rotation",
    "zoom",
    "shift",
    "brightness",
    "contrast",
    "gamma",
    "degrade",
    "erasing",
    "mixup",
    "cutmix",
)


def views(results: Path) -> dict[str, Any]:
    """Return the figures of the default model on PrivateTest."""
    found: dict[str, Any] = require(results, f"{DEFAULT}-PrivateTest", DEFAULT)["views"]
    return found


def model_file(results: Path) -> str:
    """Return name, size, hash and classes of the model file."""
    path = ASSETS / f"{DEFAULT}.onnx"
    model = OnnxClassifier(path, threads=1)
    rows = [
        ["file", f"`mien/assets/{path.name}`, int8, {path.stat().st_size / 1e6:.1f} MB"],
        ["version", f"mien {model.metadata['version']}"],
        ["sha256", f"`{model.sha256}`"],
        ["input", "gray face crops, 48x48 pixels"],
        ["output", f"probabilities of {', '.join(model.labels)}"],
        ["parameters", f"{parameters() / 1e6:.2f} million"],
        ["temperature", model.metadata["temperature"]],
        ["uncertain below", f"{model.confidence_threshold:.2f}"],
    ]
    return table(["", ""], rows)


def parameters() -> int:
    """Return the number of weights, counted in the fp32 file where that is shipped."""
    import onnx

    full = ASSETS / f"{DEFAULT}-fp32.onnx"
    graph = onnx.load(full if full.exists() else ASSETS / f"{DEFAULT}.onnx").graph
    return sum(math.prod(each.dims) for each in graph.initializer if len(each.dims) > 0)


def training(results: Path) -> str:
    """Return what the recipe and the data of the model file say."""
    metadata = OnnxClassifier(ASSETS / f"{DEFAULT}.onnx", threads=1).metadata
    recipe, origin = json.loads(metadata["recipe"]), json.loads(metadata["data"])
    augmentation = [key if recipe[key] is True else f"{key} {recipe[key]}" for key in AUGMENTATION if recipe[key]]
    stages = "; ".join(
        f"{stage['epochs']} epochs at {stage['size']} pixels, learning rate {stage['lr']} to {stage['lr_end']}"
        for stage in recipe["stages"]
    )
    rows = [
        ["images", f"{origin['train']:,} for training, {origin['valid']:,} for choosing"],
        ["network", f"`{recipe['network']}`"],
        ["stages", stages],
        ["optimizer", f"{recipe['optimizer']}, batch {recipe['batch']}, weight decay {recipe['weight_decay']}"],
        ["label smoothing", str(recipe["label_smoothing"])],
        ["weight of the FER+ head", str(recipe["ferplus"])],
        ["moving average of the weights", str(recipe["ema"])],
        ["augmentation", ", ".join(augmentation)],
        ["epoch kept", str(origin["epoch"])],
    ]
    return table(["", ""], rows)


def accuracy(results: Path) -> str:
    """Return accuracy, balanced accuracy, macro-F1, loss and Brier score of each view."""

    def spread(row: dict[str, Any], key: str) -> str:
        return f"{percent(row[key])} ({interval(row['interval'] if key == 'accuracy' else row['intervals'][key])})"

    shares = ("accuracy", "balanced_accuracy", "macro_f1")
    rows = [
        [view, f"{row['n']:,}", *(spread(row, key) for key in shares), f"{row['nll']:.3f}", f"{row['brier']:.3f}"]
        for view, row in views(results).items()
    ]
    return table(["view", "images", "accuracy %", "balanced accuracy %", "macro-F1 %", "NLL", "Brier"], rows)


def classes(results: Path) -> str:
    """Return precision, recall, F1 and the confusion matrix on `fer2013`."""
    row = views(results)["fer2013"]
    rows = [
        [label, str(each["support"]), *(percent(each[key]) for key in ("precision", "recall", "f1")), *map(str, counts)]
        for label, counts in zip(row["labels"], row["confusion"], strict=True)
        for each in [row["per_class"][label]]
    ]
    return table(["label", "images", "precision %", "recall %", "F1 %", *row["labels"]], rows)


def int8(results: Path) -> str:
    """Return the accuracy of the int8 file minus that of the fp32 file."""
    full = f"{DEFAULT}-fp32"
    if load(f"{full}-PrivateTest", results) is None:
        return "int8 against fp32: not measured."
    other = require(results, f"{full}-PrivateTest", full)["views"]
    gaps = (f"{view} {100 * (row['accuracy'] - other[view]['accuracy']):+.2f}" for view, row in views(results).items())
    return f"int8 minus fp32, points: {', '.join(gaps)}."


def peers(results: Path) -> str:
    """Return the comparison with `fer`."""
    if load("peers", results) is None:
        return "Not measured."
    values = require(results, "peers", DEFAULT)
    rows = [
        [view, percent(row["mien"]["accuracy"]), percent(row["fer"]["accuracy"]), difference(row["difference"]),
         f"{row['difference']['p']:.2g}"]
        for view, row in values["views"].items()
    ]  # fmt: skip
    version = values["versions"]["fer"]["fer"]
    return table(["view", f"{DEFAULT} %", f"fer {version} %", "difference, points", "McNemar p"], rows)


def calibration(results: Path) -> str:
    """Return calibration errors and what the threshold of *uncertain* does."""
    rows = [
        [view, f"{row['ece']:.3f}", f"{row['ece_before']:.3f}", percent(row["coverage"]),
         "-" if row["covered_accuracy"] is None else percent(row["covered_accuracy"]), f"{row['aurc']:.3f}"]
        for view, row in views(results).items()
    ]  # fmt: skip
    head = ["view", "ECE", "ECE before temperature", "not uncertain %", "accuracy of these %", "AURC"]
    return table(head, rows)


def robustness(results: Path) -> str:
    """Return the accuracy under each corruption."""
    row = shaken(results)
    if row is None:
        return "Not measured."
    about = (
        f"Accuracy {percent(row['clean'])} % on {row['n']:,} clean images of PublicTest, {percent(row['mean'])} % "
        f"({interval(row['interval'])}) over all corruptions.\nThe worst are {' and '.join(row['worst'])}."
    )
    rows = [
        [corruption, *map(percent, shares), percent(sum(shares) / len(shares))]
        for corruption, shares in row["accuracy"].items()
    ]
    return f"{about}\n\n{table(['corruption', 'severity 1', '2', '3', '4', '5', 'mean'], rows)}"


def detector(results: Path) -> str:
    """Return what is left of the accuracy behind a detector."""
    found = (shaken(results) or {}).get("end_to_end")
    if not found:
        return "Not measured."
    rows = [
        [
            name,
            str(row["side"]),
            str(row["angle"]),
            *(percent(row[key]) for key in ("recall", "accuracy", "accuracy_found")),
        ]
        for name, placed in found.items()
        if name != "crops"
        for row in placed
    ]
    head = ["detector", "face, px", "turned by", "found %", "accuracy of all %", "accuracy of the found %"]
    count = min(row["n"] for name, placed in found.items() if name != "crops" for row in placed)
    return f"{count} images; accuracy without a detector {percent(found['crops'])} %.\n\n{table(head, rows)}"


def shaken(results: Path) -> dict[str, Any] | None:
    """Return the figures of robustness of the default model, or None where they were not measured."""
    values = load("robustness-PublicTest", results)
    if values is None or DEFAULT not in values["models"]:
        return None
    found: dict[str, Any] = require(results, "robustness-PublicTest", DEFAULT)["models"][DEFAULT]
    return found


BLOCKS = {
    "file": model_file,
    "training": training,
    "accuracy": accuracy,
    "classes": classes,
    "int8": int8,
    "peers": peers,
    "calibration": calibration,
    "robustness": robustness,
    "detector": detector,
}
