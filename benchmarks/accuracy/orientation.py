"""Measure from which evidence on a face is upright beyond doubt, so that no other direction needs a look.

`mien.faces.orientation` asks a second network how much unsure faces look like faces, upright and after each quarter
turn. Here photographs, faces of PublicTest and made crowds are turned four ways and searched. Of the faces that YuNet
is not sure of, the result counts the images with at least a limit of upright evidence, and how many of these look
clearly more like a face in another direction: for them the search must go on.

Usage: python -m benchmarks.accuracy.orientation --photographs photos_dev.zip --data fer2013.zip [--images 800]
       [--out FILE]
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import harness
from benchmarks.accuracy.quick_search import crowd, read_photographs
from mien.data.fer2013 import load_fer2013
from mien.faces import orientation
from mien.faces.yunet import YuNet
from mien.types import Image

LIMITS = (5, 8, 10, 11, 12, 13, 14, 15, 16)


def main() -> None:
    parser = harness.parser(__doc__, "orientation", data=True)
    parser.add_argument("--photographs", type=Path, required=True, help="zip of photographs, in a folder a class")
    parser.add_argument("--images", type=int, default=800, help="of each kind; of crops four times as many")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    detector = YuNet(threads=1)
    evidence: dict[bool, list[NDArray[np.float64]]] = {True: [], False: []}
    for image in images(options.photographs, options.data, options.images):
        for turns in range(4):
            turned = np.ascontiguousarray(np.rot90(image, turns))
            faces = detector(turned)
            if faces and max(face.score for face in faces) < detector.sure_score:
                evidence[turns == 0].append(orientation._evidence(turned, faces))
    upright, others = (np.array(evidence[is_upright]) for is_upright in (True, False))
    rows = [{"limit": limit, "upright": int((upright[:, 0] >= limit).sum()), **count(upright, others, limit)}
            for limit in LIMITS]  # fmt: skip
    harness.save(options.out, {"upright": len(upright), "turned": len(others), "rows": rows})
    for row in rows:
        print(row)


def count(upright: NDArray[np.float64], turned: NDArray[np.float64], limit: float) -> dict[str, int]:
    """Return how many images reach a limit, and how many of these look clearly more like a face when turned."""
    reached = np.concatenate([values[values[:, 0] >= limit] for values in (upright, turned)])
    other = reached[:, 1:].max(axis=1) >= reached[:, 0] + orientation._MARGIN
    return {"reached": len(reached), "clearer_when_turned": int(other.sum())}


def images(photographs: Path, data: Path, count: int) -> Iterator[Image]:
    """Yield photographs, crops of PublicTest as they are and enlarged on gray, and made crowds."""
    random = np.random.default_rng(0)
    whole = read_photographs(photographs)[0]
    yield from (whole[k] for k in random.permutation(len(whole))[:count])
    crops = load_fer2013(data).split("PublicTest").images
    chosen = crops[random.permutation(len(crops))[: 4 * count]]
    for number, crop in enumerate(chosen):
        image = np.asarray(cv2.cvtColor(crop, cv2.COLOR_GRAY2BGR), np.uint8)
        if number < count:
            large = cv2.resize(image, (160, 160), interpolation=cv2.INTER_CUBIC)
            image = np.asarray(
                cv2.copyMakeBorder(large, 60, 60, 60, 60, cv2.BORDER_CONSTANT, value=(128,) * 3), np.uint8
            )
        yield image
    for _ in range(count):
        yield crowd(whole, random)


if __name__ == "__main__":
    main()
