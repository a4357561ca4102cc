"""Measure whether descriptors without weights of their own tell people apart: reidentify.json.

Pairs of aligned faces of the photographs, of one person and of two, split by person: with `linear`, a projection
(whitened principal components, then linear discriminants) is fitted on half of the people and measured on the others;
else on the same others as it is. Recall is the share of pairs of one person above the threshold at which 1 % or 0.1 %
of the pairs of two people are (false matches).

Usage: python -m benchmarks.accuracy.reidentify photos_train.zip [--images 900] [--out FILE]
"""

from __future__ import annotations

import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

import mien
from benchmarks import harness
from benchmarks.accuracy.photos import nearest
from mien.faces import crop
from mien.faces.onnx import ASSETS

Array = NDArray[np.float64]
SIDE = 64


def read(archive: zipfile.ZipFile, count: int) -> tuple[NDArray[np.uint8], list[str]]:
    """Return aligned gray faces, uint8 (N, 48, 48), of people with several photographs, at most four each."""
    people: dict[str, list[str]] = defaultdict(list)
    for name in sorted(archive.namelist()):
        if name.lower().endswith((".jpg", ".jpeg", ".png")):
            people[name.split("/")[-1].rsplit("_", 1)[0]].append(name)
    several = sorted(person for person, names in people.items() if len(names) > 1)
    np.random.default_rng(0).shuffle(several)
    pipeline, crops, owners = mien.load(threads=1), [], []
    for person in several:
        for name in people[person][:4]:
            image = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR)
            if faces := pipeline.detector(image):
                face = nearest(faces, image.shape[1], image.shape[0])
                crops.append(crop.crop(image, face, margin=0.1))
                owners.append(person)
        if len(crops) >= count:
            break
    return np.stack(crops), owners


def network_features(crops: NDArray[np.uint8]) -> Array:
    """Return what the last layer of the shipped network reads."""
    model = onnx.load(str(ASSETS / "mien-s-fp32.onnx"))
    last = [node for node in model.graph.node if node.op_type in ("Gemm", "MatMul")][-1]
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(last.input[0]))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.asarray(session.run([last.input[0]], {"crops": crops})[0], np.float64).reshape(len(crops), -1)


def hog(crops: NDArray[np.uint8]) -> Array:
    """Return histograms of oriented gradients, cells of 8 pixels in 64 x 64."""
    descriptor = cv2.HOGDescriptor((SIDE, SIDE), (16, 16), (8, 8), (8, 8), 9)
    return np.stack([descriptor.compute(cv2.resize(each, (SIDE, SIDE))).ravel() for each in crops]).astype(np.float64)


def local_binary_patterns(crops: NDArray[np.uint8]) -> Array:
    """Return square roots of histograms of 59 uniform patterns in 6 x 6 cells."""
    codes = np.zeros((len(crops), 46, 46), np.uint8)
    for bit, (y, x) in enumerate(((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))):
        codes |= (crops[:, y : y + 46, x : x + 46] >= crops[:, 1:-1, 1:-1]).astype(np.uint8) << bit
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    uniform = (bits != np.roll(bits, 1, axis=1)).sum(1) <= 2
    number = np.where(uniform, np.cumsum(uniform) - 1, 58)[codes]
    rows = [
        np.stack([np.bincount(cell.ravel(), minlength=59) for cell in number[:, y : y + 8, x : x + 8]])
        for y in range(0, 46, 8)
        for x in range(0, 46, 8)
    ]
    return np.sqrt(np.concatenate(rows, axis=1).astype(np.float64))


def pixels(crops: NDArray[np.uint8]) -> Array:
    small = np.stack([cv2.resize(cv2.equalizeHist(each), (24, 24), interpolation=cv2.INTER_AREA) for each in crops])
    return small.reshape(len(crops), -1).astype(np.float64)


def discriminants(rows: Array, owners: NDArray[np.int64], dimensions: int = 100) -> tuple[Array, Array]:
    """Return the mean and a projection that whitens the differences between photographs of one person."""
    mean = rows.mean(0)
    _, values, axes = np.linalg.svd(rows - mean, full_matrices=False)
    reduced = axes[:dimensions].T / (values[:dimensions] / np.sqrt(len(rows)))
    points = (rows - mean) @ reduced
    within = np.concatenate([points[owners == o] - points[owners == o].mean(0) for o in np.unique(owners)])
    _, spread, directions = np.linalg.svd(within, full_matrices=False)
    return mean, reduced @ (directions.T / (spread / np.sqrt(len(within)) + 0.3))


def recalls(rows: Array, owners: NDArray[np.int64]) -> dict[str, float]:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    likeness = unit @ unit.T
    one, two = np.triu_indices(len(rows), 1)
    same, scores = owners[one] == owners[two], likeness[one, two]
    found = {"pairs_of_one": float(same.sum()), "pairs_of_two": float((~same).sum())}
    for rate in (0.01, 0.001):
        found[f"recall at {rate:.1%}"] = float((scores[same] > np.quantile(scores[~same], 1 - rate)).mean())
    return found


def main() -> None:
    parser = harness.parser(__doc__, "reidentify")
    parser.add_argument("archive", type=Path, help="photos_train.zip")
    parser.add_argument("--images", type=int, default=900)
    options = parser.parse_args()
    with zipfile.ZipFile(options.archive) as archive:
        crops, names = read(archive, options.images)
    owners = np.unique(names, return_inverse=True)[1]
    held_out = owners % 2 == 1
    values: dict[str, Any] = {"images": len(crops), "people": int(owners.max() + 1), "descriptors": {}}
    for make in (network_features, hog, local_binary_patterns, pixels):
        rows = make(crops)
        mean, projection = discriminants(rows[~held_out], owners[~held_out])
        centred = rows[held_out] - rows[~held_out].mean(0)
        row = {
            "plain": recalls(centred, owners[held_out]),
            "linear": recalls((rows[held_out] - mean) @ projection, owners[held_out]),
        }
        values["descriptors"][make.__name__] = row
        print(make.__name__, row, flush=True)
    harness.save(options.out, values)


if __name__ == "__main__":
    main()
