"""Compare large JPEG files decoded at a half, a quarter or an eighth with whole ones: faces, labels, time.

`mien predict` and `mien batch` decode no more of a large JPEG than the search and the crops need
(`mien.media.reduced_jpeg`). Photographs are enlarged and saved as JPEG of quality 90, in three kinds: `portraits`, a
photograph a file; `groups`, two rows of three photographs; `crowds`, six rows of nine. Each file is read, searched and
cropped both ways, one after the other, with one thread. A face counts as found again if a box of the other way has an
intersection over union above 0.5.

Usage: python -m benchmarks.accuracy.reduced_jpeg --photographs photos_dev.zip [--images 100] [--out FILE]
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import mien
from benchmarks import harness
from benchmarks.accuracy.quick_search import FOUND, overlap, read_photographs
from mien.media.image import decode
from mien.media.reduced_jpeg import ReducedJpeg, decode_for_search
from mien.pipeline import Pipeline
from mien.types import Frame, Image, Result

GRIDS = {"portraits": (1, 1), "groups": (2, 3), "crowds": (6, 9)}
SIDES = 1280, 2560, 4000
"""Longer sides, pixels."""


def main() -> None:
    parser = harness.parser(__doc__, "reduced_jpeg")
    parser.add_argument("--photographs", type=Path, required=True, help="zip of photographs, in a folder a class")
    parser.add_argument("--images", type=int, default=100, help="of each kind and size")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    photographs, labels = read_photographs(options.photographs)
    pipeline = mien.load(threads=1)
    random = np.random.default_rng(0)
    rows = []
    for kind, (lines, columns) in GRIDS.items():
        for side in SIDES:
            chosen = random.integers(len(photographs), size=(options.images, lines * columns))
            files = [save([photographs[k] for k in each], columns, side) for each in chosen]
            truth = [[labels[k] for k in each] for each in chosen]
            rows.append({"kind": kind, "side": side, **compare(pipeline, files, truth, columns)})
            print(rows[-1])
    harness.save(options.out, {"rows": rows, "environment": harness.environment()})


def save(photographs: list[Image], columns: int, side: int) -> bytes:
    """Return a JPEG of that longer side with the photographs in a grid."""
    each = side // columns
    cells = [cv2.resize(image, (each, each), interpolation=cv2.INTER_CUBIC) for image in photographs]
    image = np.vstack([np.hstack(cells[k : k + columns]) for k in range(0, len(cells), columns)])
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1])


def compare(pipeline: Pipeline, files: list[bytes], truth: list[list[str]], columns: int) -> dict[str, Any]:
    """Return how many faces are the same, how their answers differ, how many are right, and milliseconds an image."""
    faces = again = labels = smaller = 0
    right = {"whole": 0, "reduced": 0}
    differences, seconds = [], {"whole": 0.0, "reduced": 0.0}
    for data, own in zip(files, truth, strict=True):
        whole, reduced = (answer(pipeline, data, way == "reduced", seconds) for way in ("whole", "reduced"))
        faces += len(whole)
        pixels = reduced.frame.pixels
        smaller += isinstance(pixels, ReducedJpeg) and pixels.reduced.shape != pixels.shape
        for face in whole:
            if pairs := [other for other in reduced if overlap(face, other) > FOUND]:
                again += 1
                labels += pairs[0].emotion == face.emotion
                differences.append(max(abs(pairs[0].probabilities[k] - p) for k, p in face.probabilities.items()))
                cell = int((face.box[0] + face.box[2]) / 2 // (whole.frame.shape[1] // columns))
                cell += columns * int((face.box[1] + face.box[3]) / 2 // (whole.frame.shape[1] // columns))
                label = own[cell] if 0 <= cell < len(own) else ""
                right["whole"] += face.emotion == label
                right["reduced"] += pairs[0].emotion == label
    return {
        "images": len(files), "decoded_smaller": smaller / len(files), "faces": faces, "found_again": again / faces,
        "same_label": labels / again, "accuracy": {way: count / again for way, count in right.items()},
        "difference_median": float(np.median(differences)), "difference_99": float(np.quantile(differences, 0.99)),
        "ms": {way: 1000 * value / len(files) for way, value in seconds.items()},
    }  # fmt: skip


def answer(pipeline: Pipeline, data: bytes, reduced: bool, seconds: dict[str, float]) -> Result:
    """Return the result of a file; add the seconds that it took."""
    started = time.thread_time()
    assert pipeline.searched_side is not None
    frame = Frame(decode_for_search(data, "image", pipeline.searched_side) if reduced else decode(data, "image"))
    (result,) = pipeline.process_batch([frame], [pipeline.detect_in(frame)])
    seconds["reduced" if reduced else "whole"] += time.thread_time() - started
    return result


if __name__ == "__main__":
    main()
