"""Compare the quick search of folders with the whole search: faces found, labels and time.

With `--quick-search`, YuNet looks at an image that one large face fills at half size only (`YuNet.quick`). Each
image goes through `Pipeline.detect` both ways, one after the other, with one thread. A face of the whole search counts
as found if the quick search has a box with an intersection over union above 0.5. The kinds of images:

    photographs   as they are;
    enlarged      every third photograph at 640 x 640;
    crowds        one to eight photographs of 40 to 320 pixels at random places of a blurred 640 x 480 image;
    bystanders    a photograph at 640 x 480 with one or two of 50 to 160 pixels near its left or right edge.

Usage: python -m benchmarks.accuracy.quick_search --photographs photos_dev.zip [--images 400] [--out FILE]
"""

from __future__ import annotations

import time
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import mien
from benchmarks import harness
from mien.media.image import decode
from mien.types import Face, Frame, Image

FOUND = 0.5
"""Intersection over union above which two boxes are the same face."""


def main() -> None:
    parser = harness.parser(__doc__, "quick_search")
    parser.add_argument("--photographs", type=Path, required=True, help="zip of photographs, in a folder a class")
    parser.add_argument("--images", type=int, default=400, help="of each kind that is made")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    photographs, labels = read_photographs(options.photographs)
    random = np.random.default_rng(0)
    kinds = {
        "photographs": photographs,
        "enlarged": [cv2.resize(image, (640, 640), interpolation=cv2.INTER_CUBIC) for image in photographs[::3]],
        "crowds": [crowd(photographs, random) for _ in range(options.images)],
        "bystanders": [bystanders(photographs, random) for _ in range(options.images)],
    }
    pipeline = mien.load(threads=1)
    values = {kind: compare(pipeline, images, labels if kind == "photographs" else None)
              for kind, images in kinds.items()}  # fmt: skip
    harness.save(options.out, {"kinds": values, "environment": harness.environment()})
    for kind, each in values.items():
        print(kind, each)


def read_photographs(path: Path) -> tuple[list[Image], list[str]]:
    """Return the images of a zip file and the names of their folders."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in sorted(archive.namelist()) if name.endswith(".jpg")]
        return [decode(archive.read(name), name) for name in names], [name.split("/")[-2] for name in names]


def crowd(photographs: list[Image], random: np.random.Generator) -> Image:
    canvas = cv2.GaussianBlur(cv2.resize(pick(photographs, random), (640, 480)), (0, 0), 25)
    for _ in range(random.integers(1, 9)):
        side = log_uniform(random, 40, 320)
        paste(canvas, pick(photographs, random), side, int(random.integers(0, 640 - side + 1)), random)
    return canvas


def bystanders(photographs: list[Image], random: np.random.Generator) -> Image:
    canvas = cv2.resize(pick(photographs, random), (640, 480), interpolation=cv2.INTER_CUBIC)
    for _ in range(random.integers(1, 3)):
        side = log_uniform(random, 50, 160)
        left = int(random.integers(0, 150 - side // 2))
        paste(canvas, pick(photographs, random), side, left if random.random() < 0.5 else 640 - side - left, random)
    return canvas


def pick(photographs: list[Image], random: np.random.Generator) -> Image:
    return photographs[random.integers(len(photographs))]


def log_uniform(random: np.random.Generator, low: int, high: int) -> int:
    return int(np.exp(random.uniform(np.log(low), np.log(high))))


def paste(canvas: Image, image: Image, side: int, left: int, random: np.random.Generator) -> None:
    top, left = int(random.integers(0, canvas.shape[0] - side + 1)), max(left, 0)
    canvas[top : top + side, left : left + side] = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)


def compare(pipeline: mien.Pipeline, images: list[Image], labels: list[str] | None) -> dict[str, Any]:
    """Return the faces that both searches find and their times, and their accuracies if labels are known."""
    pipeline.detect(images[0])
    seconds: dict[bool, list[float]] = {True: [], False: []}
    found: dict[bool, list[list[Face]]] = {True: [], False: []}
    for number, image in enumerate(images):
        for whole in (True, False) if number % 2 else (False, True):
            start = time.perf_counter()
            faces = pipeline.detect(image, not whole)
            seconds[whole].append(time.perf_counter() - start)
            found[whole].append(faces)
    pairs = list(zip(found[True], found[False], strict=True))
    faces = sum(len(whole) for whole, _ in pairs)
    same = sum(any(overlap(face, other) > FOUND for other in quick) for whole, quick in pairs for face in whole)
    extra = sum(all(overlap(face, other) <= FOUND for other in whole) for whole, quick in pairs for face in quick)
    values: dict[str, Any] = {"images": len(images), "faces": faces, "found": same, "recall": same / faces,
        "found_only_by_quick_search": extra, "identical": sum(whole == quick for whole, quick in pairs),
        "whole_ms": 1000 * float(np.median(seconds[True])), "quick_ms": 1000 * float(np.median(seconds[False])),
        "whole_mean_ms": 1000 * float(np.mean(seconds[True])), "quick_mean_ms": 1000 * float(np.mean(seconds[False])),
    }  # fmt: skip
    if labels:
        answers = {whole: answer(pipeline, images, found[whole]) for whole in (True, False)}
        values["same_label"] = float(np.mean([a == b for a, b in zip(*answers.values(), strict=True)]))
        for whole, name in ((True, "whole"), (False, "quick")):
            right = np.array([label == own for label, own in zip(labels, answers[whole], strict=True)])
            kinds = [right[np.array(labels) == label].mean() for label in sorted(set(labels))]
            values |= {f"{name}_accuracy": float(right.mean()), f"{name}_balanced_accuracy": float(np.mean(kinds))}
    return values


def answer(pipeline: mien.Pipeline, images: list[Image], faces: list[list[Face]]) -> list[str]:
    """Return the most probable emotion of the largest face of each image, "" without a face."""
    results = [pipeline.process_batch([Frame(image)], [own[:1]])[0] for image, own in zip(images, faces, strict=True)]
    return [result[0].emotion if len(result) else "" for result in results]


def overlap(a: Face, b: Face) -> float:
    """Return the intersection over union of two boxes."""
    width, height = (min(a.box[k + 2], b.box[k + 2]) - max(a.box[k], b.box[k]) for k in (0, 1))
    common = max(width, 0.0) * max(height, 0.0)
    areas = ((face.box[2] - face.box[0]) * (face.box[3] - face.box[1]) for face in (a, b))
    return common / (sum(areas) - common)


if __name__ == "__main__":
    main()
