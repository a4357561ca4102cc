"""Choose the limits of quality below which a face is uncertain, and say what each is worth: quality.json.

The rule: a limit is the mildest value beyond which at most one in 500 clean faces of PublicTest lie, so that it costs
nothing there, and beyond which fewer than 85 % of at least 20 answered corrupted faces are right. A limit of size is
the largest side of the corruption low-resolution at which fewer than 85 % are. Poses come from YuNet on the faces of
PublicTest, enlarged and pasted on gray; their table shows what a limit would do.

Usage: python -m benchmarks.accuracy.quality --data fer2013.zip [--model NAME] [--sample 1000] [--poses 1000]
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import harness
from benchmarks.accuracy.robustness import sample
from mien.data.fer2013 import load_fer2013
from mien.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from mien.faces import quality
from mien.faces.detectors import load_detector
from mien.faces.models import load_classifier

GOAL, COST, FEWEST = 0.85, 1 / 500, 20
SIDE = 192  # pixels of a pasted face


def share(right: NDArray[np.bool_]) -> float | None:
    return float(right.mean()) if len(right) else None


def worth(right: NDArray[np.bool_], sure: NDArray[np.bool_], beyond: NDArray[np.bool_]) -> dict[str, Any]:
    """Return what a limit does to answers: how many it takes away, and how many of these were right."""
    return {
        "answered": int(sure.sum()),
        "right": share(right[sure]),
        "taken": int((sure & beyond).sum()),
        "right_among_taken": share(right[sure & beyond]),
        "right_after": share(right[sure & ~beyond]),
    }


def poses(images: NDArray[np.uint8]) -> list[tuple[float | None, float | None, float | None]]:
    """Return yaw, pitch and roll of faces, uint8 gray (N, 48, 48), as YuNet finds them."""
    detector, found = load_detector("yunet", threads=1), []
    for image in images:
        canvas = np.full((2 * SIDE, 2 * SIDE, 3), 127, np.uint8)
        pasted = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        canvas[SIDE // 2 : SIDE // 2 + SIDE, SIDE // 2 : SIDE // 2 + SIDE] = pasted[..., None]
        faces = detector(canvas)
        found.append(quality.pose(faces[0].landmarks) if faces else (None, None, None))
    return found


def main() -> None:
    parser = harness.parser(__doc__, "quality", data=True)
    parser.add_argument("--model", default="mien-s")
    parser.add_argument("--sample", type=int, default=1000, help="images to corrupt")
    parser.add_argument("--poses", type=int, default=1000, help="images in which to find the pose")
    options = parser.parse_args()
    classifier = load_classifier(options.model, 1)
    faces = load_fer2013(options.data, drop_leaks=False).split("PublicTest")
    order = [classifier.labels.index(label) for label in faces.labels]

    def answers(images: NDArray[np.uint8], targets: Any) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        rows = classifier(images)
        return rows[:, order].argmax(1) == targets, rows.max(1) >= classifier.confidence_threshold

    right, sure = answers(faces.images, faces.targets)
    sharpness, brightness = quality.sharpness_and_brightness(faces.images)
    values: dict[str, Any] = {"model": options.model, "sha256": classifier.sha256, "clean": len(faces)}
    values["quantiles"] = {
        name: {str(q): float(np.quantile(row, q)) for q in (0, COST, 0.01, 0.5, 0.99, 1 - COST, 1)}
        for name, row in (("sharpness", sharpness), ("brightness", brightness))
    }
    print(values["quantiles"])

    chosen = sample(faces, options.sample)
    table: dict[str, list[Any]] = {"right": [], "sure": [], "sharpness": [], "brightness": []}
    sizes: dict[float, dict[str, Any]] = {}
    for name, corruption in CORRUPTIONS.items():
        for severity in SEVERITIES:
            images = corrupt(chosen.images, name, severity)
            good, certain = answers(images, chosen.targets)
            seen = quality.sharpness_and_brightness(images)
            for key, column in zip(table, (good, certain, *seen), strict=True):
                table[key].append(column)
            if name == "low-resolution":
                sizes[corruption.levels[severity]] = {"answered": share(certain), "right": share(good[certain])}
    columns = {name: np.concatenate(rows) for name, rows in table.items()}
    values["limits"] = {}
    for name, clean, corrupted, sign, step in (
        ("blurred", sharpness, columns["sharpness"], 1, 0.01),
        ("dark", brightness, columns["brightness"], 1, 1.0),
        ("bright", brightness, columns["brightness"], -1, 1.0),
    ):
        limit = float(np.floor(np.quantile(sign * clean, COST) / step) * step)
        for _ in range(60):
            gain = worth(columns["right"], columns["sure"], sign * corrupted < limit)
            if gain["taken"] < FEWEST or gain["right_among_taken"] < GOAL:
                break
            limit -= step
        cost = worth(right, sure, sign * clean < limit)
        is_kept = gain["taken"] >= FEWEST
        values["limits"][name] = {"limit": sign * limit, "kept": is_kept, "clean": cost, "corrupted": gain}
        print(name, values["limits"][name], flush=True)
    values["sizes"] = {str(int(side)): row for side, row in sizes.items()}
    print("sizes", values["sizes"])

    posed = sample(faces, options.poses)
    right, sure = answers(posed.images, posed.targets)
    found = poses(posed.images)
    values["poses"] = {"found": sum(each[0] is not None for each in found)}
    for k, name in enumerate(("yaw", "pitch", "roll")):
        angles = np.array([np.nan if each[k] is None else each[k] for each in found])
        distance = np.abs(angles)
        values["poses"][name] = {
            "median": float(np.nanmedian(angles)),
            "quantiles": {str(q): float(np.nanquantile(distance, q)) for q in (0.5, 0.9, 0.99, 1 - COST, 1)},
            "beyond": {str(limit): worth(right, sure, distance > limit) for limit in (15, 20, 25, 30, 40, 50, 60)},
        }
        print(name, values["poses"][name])
    harness.save(options.out, values)


if __name__ == "__main__":
    main()
