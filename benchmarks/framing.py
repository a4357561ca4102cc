"""Which crop suits a network that learned from FER2013's own crops: margin and alignment, measured on PublicTest.

Each picture is enlarged four times and laid on a wide border of its own edge, so that the detector meets a face in a
picture; the crop is cut from there as in use and classified. Where no face is found the picture is left out, so that
only the framing counts. Written to results/framing-<detector>.json.

Usage: python benchmarks/framing.py --data fer2013.zip [--model NAME] [--detector yunet] [--count 1000]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from mien import files, image
from mien.classify import model
from mien.detect import detector
from mien.train import data

MARGINS = (-0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.4)
SCALE, BORDER = 4, 96


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model")
    parser.add_argument("--detector", default="yunet")
    parser.add_argument("--count", type=int, default=1000)
    options = parser.parse_args()
    faces = data.load(options.data).split("PublicTest")
    faces = faces.take(np.random.default_rng(0).permutation(len(faces))[: options.count])
    find, classify = detector(options.detector), model(options.model)
    truth = faces.targets
    found, sides, offsets, pictures = [], [], [], []
    for number, small in enumerate(faces.images):
        large = cv2.resize(small, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
        picture = cv2.copyMakeBorder(large, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_REPLICATE)
        boxes = find(image.to_bgr(np.asarray(picture, np.uint8), "picture"))
        if boxes:
            x1, y1, x2, y2 = boxes[0].box
            found.append(number)
            pictures.append((np.asarray(picture, np.uint8), boxes[0]))
            sides.append(max(x2 - x1, y2 - y1) / (48 * SCALE))
            offsets.append([(v - BORDER) / (48 * SCALE) - 0.5 for v in ((x1 + x2) / 2, (y1 + y2) / 2)])
    kept = np.array(found)
    rows = []
    for align in (True, False):
        for margin in MARGINS:
            crops = np.stack([image.crop(picture, face, margin, align) for picture, face in pictures])
            accuracy = float((classify(crops).argmax(1) == truth[kept]).mean())
            rows.append({"align": align, "margin": margin, "accuracy": accuracy})
            print(f"align {align!s:5} margin {margin:+.1f}: {100 * accuracy:.2f} %", flush=True)
    own = float((classify(faces.images[kept]).argmax(1) == truth[kept]).mean())
    print(f"FER2013's own crops: {100 * own:.2f} %; face found in {len(kept)} of {len(faces)}")
    values = {
        "model": classify.name, "detector": options.detector, "pictures": len(faces), "found": len(kept),
        "own_crops": own, "side_quartiles": np.quantile(sides, [0.25, 0.5, 0.75]).round(3).tolist(),
        "offset_median": np.median(offsets, 0).round(3).tolist(), "rows": rows,
    }  # fmt: skip
    results = Path(__file__).parent / "results"
    files.write_text(results / f"framing-{options.detector}.json", json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
