"""Measure on PublicTest what five settings rest on; each is a command and writes results/<command>.json.

framing       margin and alignment of the crop: images are enlarged four times and laid on a wide border of their own
              edge, so that the detector meets a face in an image; the crop is cut from there as in use. Images without
              a detected face are left out, so that only the framing counts.
quantization  int8 against fp32, with residual additions folded into the kernels and apart. Starts from the shipped
              checkpoint, whose half-precision weights may change the last digit.
blend         FER+ logits added to the answer at several weights, with and without averaging over the mirror image,
              fp32; the checkpoint must have been trained with `ferplus`.
operating-point  blend and class biases of a seven-class run with photographs, by the rule in docs/training.md, fp32.
prior         how far the class priors of one person may follow a minute of recording (`personal.fit.SPREAD`). A
              simulated person is a shift of the logits drawn from a normal distribution. The person is asked twice for
              each emotion and shows one pose each time, or four. The other images, shifted alike, tell what the profile
              changes in the mean recall.

Usage: python -m benchmarks.accuracy.choices COMMAND --data fer2013.zip [--votes ferplus_votes.csv] [--model NAME]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import mien
from benchmarks import harness
from mien.data.fer2013 import load_fer2013
from mien.data.registry import load_any
from mien.evaluation.views import views
from mien.faces import crop
from mien.faces.classifier import OnnxClassifier
from mien.faces.detectors import load_detector
from mien.faces.models import DEFAULT, load_classifier
from mien.faces.onnx import ASSETS
from mien.personal import fit
from mien.personal.prior import shift_probabilities
from mien.types import Face, Image

MARGINS = (-0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.4)
SCALE, BORDER = 4, 96
BLENDS = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0, 5.0)
SPREADS, STRANGENESS, POSES = (0.25, 0.5, 1.0), (0.0, 0.5, 1.0), (1, 4)
ROUNDS, SECONDS, FRAMES = 2, 4.0, 40


def main() -> None:
    parser = harness.parser(__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    measures = {
        "framing": framing, "quantization": quantization, "blend": blend, "prior": prior,
        "operating-point": operating_point,
    }  # fmt: skip
    for name, measure in measures.items():
        command = commands.add_parser(name)
        command.set_defaults(measure=measure)
        command.add_argument("--data", type=Path, required=True)
        command.add_argument("--out", type=Path, default=harness.RESULTS / f"{name}.json")
        if name in ("framing", "prior"):
            command.add_argument("--model", help="the default model when not given")
        if name == "framing":
            command.add_argument("--detector", default="yunet")
            command.add_argument("--count", type=int, default=1000, help="images")
        if name == "operating-point":
            command.add_argument("--photographs", type=Path, required=True, help="folder or zip of photographs")
        if name in ("blend", "operating-point"):
            command.add_argument("--votes", type=Path, required=True)
            command.add_argument("--checkpoint", type=Path, default=ASSETS / f"{DEFAULT}.safetensors")
        if name == "prior":
            command.add_argument("--people", type=int, default=100)
    options = parser.parse_args()
    values = options.measure(options)
    for row in values["rows"]:
        print(row)
    harness.save(options.out, values)


def framing(options: argparse.Namespace) -> dict[str, Any]:
    """Return the accuracy for each margin, with and without alignment."""
    faces = load_fer2013(options.data).split("PublicTest")
    faces = faces.take(np.random.default_rng(0).permutation(len(faces))[: options.count])
    detect, classify = load_detector(options.detector), load_classifier(options.model)
    placed: list[tuple[int, Image, Face]] = []
    for number, small in enumerate(faces.images):
        large = cv2.resize(small, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
        image = cv2.copyMakeBorder(large, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_REPLICATE)
        found = detect(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR).astype(np.uint8))
        if found:
            placed.append((number, np.asarray(image, np.uint8), found[0]))
    kept = np.array([number for number, *_ in placed])
    boxes = (np.array([face.box for *_, face in placed]) - BORDER) / (48 * SCALE)
    truth = faces.targets[kept]
    rows = []
    for align, margin in product((True, False), MARGINS):
        crops = np.stack([crop.crop(image, face, margin, align) for _, image, face in placed])
        accuracy = float((classify(crops).argmax(1) == truth).mean())
        rows.append({"align": align, "margin": margin, "accuracy": accuracy})
    return {
        "model": classify.name,
        "detector": options.detector,
        "images": len(faces),
        "found": len(kept),
        "own_crops": float((classify(faces.images[kept]).argmax(1) == truth).mean()),
        "side_quartiles": np.quantile((boxes[:, 2:] - boxes[:, :2]).max(1), [0.25, 0.5, 0.75]).round(3).tolist(),
        "offset_median": (np.median(boxes.reshape(-1, 2, 2).mean(1), 0) - 0.5).round(3).tolist(),
        "rows": rows,
    }


def quantization(options: argparse.Namespace) -> dict[str, Any]:
    """Return accuracy, loss and agreement with fp32 of both int8 files."""
    from mien.train.export import export
    from mien.train.quantize import quantize

    faces = load_fer2013(options.data)
    train, valid = faces.split("Training"), faces.split("PublicTest")
    sample = train.images[:: max(1, len(train) // 512)][:512]
    answers = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for fold, name in ((True, "int8, additions folded"), (False, "int8, additions apart")):
            full = export(ASSETS / f"{DEFAULT}.safetensors", folder / "fp32.onnx", mien.__version__, fold=fold)
            answers["fp32"] = OnnxClassifier(full)(valid.images)
            answers[name] = OnnxClassifier(quantize(full, folder / "int8.onnx", sample))(valid.images)
    rows = [
        {
            "name": name,
            "accuracy": float((found.argmax(1) == valid.targets).mean()),
            "nll": float(-np.log(np.clip(found[np.arange(len(found)), valid.targets], 1e-12, 1)).mean()),
            "agrees_with_fp32": float((found.argmax(1) == answers["fp32"].argmax(1)).mean()),
        }
        for name, found in answers.items()
    ]
    return {"model": DEFAULT, "rows": rows}


def blend(options: argparse.Namespace) -> dict[str, Any]:
    """Return the accuracy on each view for each weight of the FER+ head.

    The logits at weight w are h + w * v, up to a constant for each image: the log-probabilities at the weights 0 and 1
    give all others.
    """
    faces = views(options.data, options.votes, "PublicTest")
    images = {name: image for each in faces.values() for name, image in zip(each.names, each.images, strict=True)}
    labels, number = faces["fer2013"].labels, {name: k for k, name in enumerate(images)}
    crops = np.stack(list(images.values()))
    sides = [heads(options.checkpoint, crops[:, :, ::step], labels) for step in (1, -1)]
    rows = []
    for weight, mirror in product(BLENDS, (False, True)):
        plain, mirrored = (softmax(own + weight * votes) for own, votes in sides)
        answers = ((plain + mirrored) if mirror else plain).argmax(1)
        row: dict[str, Any] = {"blend": weight, "mirror": mirror}
        for view, each in faces.items():
            row[view] = float((answers[[number[name] for name in each.names]] == each.targets).mean())
        rows.append(row)
    return {"model": options.checkpoint.stem, "rows": rows}


def operating_point(options: argparse.Namespace) -> dict[str, Any]:
    """Return the number of eligible combinations of blend and biases, and the best ones by the rule's sum."""
    faces = views(options.data, options.votes, "PublicTest")
    labels = faces["fer2013"].labels
    sets = {"fer2013": faces["fer2013"], "ferplus-majority": faces["ferplus-majority"]}
    sets["photographs"] = load_any(options.photographs, kind="photographs", drop_leaks=False).mapped(labels)
    logits = {name: heads(options.checkpoint, each.images, labels) for name, each in sets.items()}
    rows = []
    for weight, angry, sad, neutral in product(np.arange(7) / 10, *[np.arange(-2, 4) / 5] * 2, np.arange(-2, 2) / 5):
        bias = np.array([{"angry": angry, "sad": sad, "neutral": neutral}.get(label, 0.0) for label in labels])
        row: dict[str, Any] = {"blend": weight, "angry": angry, "sad": sad, "neutral": neutral}
        for name, each in sets.items():
            answers = (logits[name][0] + weight * logits[name][1] + bias).argmax(1)
            right = answers == each.targets
            if name == "photographs":
                row["recalls"] = {label: float(right[each.targets == n].mean()) for n, label in enumerate(labels)}
                row[name] = float(np.mean(list(row["recalls"].values())))
            else:
                row[name] = float(right.mean())
        rows.append(row)
    good = [row for row in rows if row["fer2013"] >= 0.769 and row["recalls"]["neutral"] >= 0.82
            and min(row["recalls"]["sad"], row["recalls"]["surprise"]) >= 0.62]  # fmt: skip
    good.sort(key=lambda row: -sum(row[name] for name in sets))
    return {"checkpoint": options.checkpoint.name, "tried": len(rows), "eligible": len(good), "rows": good[:8]}


def heads(path: Path, crops: np.ndarray, labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return logits (N, C) of the head and of the FER+ head, up to a constant for each crop."""
    from mien.train import checkpoint
    from mien.train.torch_classifier import TorchClassifier

    tensors, meta = checkpoint.load(path)
    logs = []
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "copy.safetensors"
        for weight in (0.0, 1.0):
            checkpoint.save(copy, tensors, {**meta, "config": {**meta["config"], "blend": weight, "class_bias": {}}})
            classify = TorchClassifier(copy)
            columns = [classify.labels.index(label) for label in labels]
            logs.append(np.log(np.maximum(classify(crops)[:, columns], 1e-30)))
    return logs[0], logs[1] - logs[0]


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def prior(options: argparse.Namespace) -> dict[str, Any]:
    """Return what profiles change in the mean recall, in points, for each spread, strangeness and number of poses."""
    faces, classify = load_fer2013(options.data).split("PublicTest"), load_classifier(options.model)
    order = [faces.labels.index(label) for label in classify.labels]
    answers, truth = classify(faces.images).astype(float), np.argsort(order)[faces.targets]
    rows = []
    for spread, strangeness, poses in product(SPREADS, STRANGENESS, POSES):
        fit.SPREAD = spread
        drawn = [simulate(answers, truth, classify.labels, strangeness, poses, k) for k in range(options.people)]
        kept = np.array([helps for helps, _ in drawn])
        change = 100 * np.array([change for _, change in drawn])
        row = {
            "spread": spread, "strangeness": strangeness, "poses": poses, "kept": kept.mean(),
            "change_if_all": change.mean(), "change_of_kept": change[kept].mean() if kept.any() else 0.0,
            "change": (change * kept).mean(), "harmed": (kept & (change < 0)).mean(),
            "worst_of_20": np.quantile(change * kept, 0.05),
        }  # fmt: skip
        rows.append({name: round(float(value), 3) for name, value in row.items()})
    return {"model": classify.name, "sha256": classify.sha256, "people": options.people, "rows": rows}


def simulate(
    answers: np.ndarray, truth: np.ndarray, labels: Sequence[str], strangeness: float, poses: int, seed: int
) -> tuple[bool, float]:
    """Return whether the profile of one simulated person is kept, and how it changes the mean recall elsewhere."""
    rng = np.random.default_rng(seed)
    seen = shift_probabilities(answers, np.exp(rng.normal(0, 1, len(labels)) * strangeness))
    takes, used = [], np.zeros(len(seen), bool)
    for column, label in enumerate(labels):
        chosen = rng.choice(np.flatnonzero(truth == column), ROUNDS * poses, replace=False)
        used[chosen] = True
        for number, own in enumerate(chosen.reshape(ROUNDS, poses)):
            frames = np.repeat(seen[own], FRAMES // poses, axis=0).astype(np.float32)
            takes.append(fit.Take(label, number, SECONDS, FRAMES, frames))
    shifts = fit.fit(takes, labels)
    rest, right = seen[~used], truth[~used]
    after = (rest * np.exp([shifts[label] for label in labels])).argmax(1)
    hits = [[(guess[right == k] == k).mean() for k in range(len(labels))] for guess in (rest.argmax(1), after)]
    return fit.trial(takes, labels).helps, float(np.mean(hits[1]) - np.mean(hits[0]))


if __name__ == "__main__":
    main()
