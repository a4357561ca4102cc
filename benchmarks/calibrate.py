"""How much a calibration for one person may follow a minute of recording: the choice of `calibrate.SPREAD`.

A made person is a shift of the logits, drawn from a normal distribution whose standard deviation is the person's
strangeness, 0 for one like everybody. The person is asked twice for each emotion, as by `mien calibrate`, and shows one
pose each time, or four: pictures of PublicTest, since FER2013 does not say who is who. All other pictures of that set,
seen with the same shift, tell what the calibration brings: the change of the mean recall, in points. Written to
results/calibrate.json.

Usage: python benchmarks/calibrate.py --data fer2013.zip [--model NAME] [--people 100]
"""

from __future__ import annotations

import argparse
import json
from itertools import product
from pathlib import Path

import numpy as np

from mien import calibrate, files
from mien.classify import model
from mien.train import data

SPREADS, STRANGE, POSES = (0.25, 0.5, 1.0), (0.0, 0.5, 1.0), (1, 4)
ROUNDS, SECONDS, FRAMES = 2, 4.0, 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model")
    parser.add_argument("--people", type=int, default=100)
    options = parser.parse_args()
    faces, classify = data.load(options.data).split("PublicTest"), model(options.model)
    answers, truth = classify(faces.images).astype(float), faces.targets
    rows = []
    for spread, strange, poses in product(SPREADS, STRANGE, POSES):
        calibrate.SPREAD = spread
        drawn = [person(answers, truth, classify.labels, strange, poses, seed) for seed in range(options.people)]
        kept = np.array([helps for helps, _ in drawn])
        change = 100 * np.array([change for _, change in drawn])
        row = {
            "spread": spread, "strange": strange, "poses": poses, "kept": kept.mean(),
            "change_if_all": change.mean(), "change_of_kept": change[kept].mean() if kept.any() else 0.0,
            "change": (change * kept).mean(), "harmed": (kept & (change < 0)).mean(),
            "worst_of_20": np.quantile(change * kept, 0.05),
        }  # fmt: skip
        rows.append({name: round(float(value), 3) for name, value in row.items()})
        print(rows[-1], flush=True)
    values = {"model": classify.name, "sha256": classify.sha256, "people": options.people, "rows": rows}
    files.write_text(Path(__file__).parent / "results" / "calibrate.json", json.dumps(values, indent=1) + "\n")


def person(
    answers: np.ndarray, truth: np.ndarray, labels: tuple[str, ...], strange: float, poses: int, seed: int
) -> tuple[bool, float]:
    """Whether a recording of one person is kept, and what its shifts change in the mean recall elsewhere."""
    rng = np.random.default_rng(seed)
    seen = answers * np.exp(rng.normal(0, 1, len(labels)) * strange)
    seen /= seen.sum(1, keepdims=True)
    takes, used = [], np.zeros(len(seen), bool)
    for column, label in enumerate(labels):
        chosen = rng.choice(np.flatnonzero(truth == column), ROUNDS * poses, replace=False)
        used[chosen] = True
        for number, own in enumerate(chosen.reshape(ROUNDS, poses)):
            frames = np.repeat(seen[own], FRAMES // poses, axis=0).astype(np.float32)
            takes.append(calibrate.Take(label, number, SECONDS, FRAMES, frames))
    shifts = calibrate.fit(takes, labels)
    rest, right = seen[~used], truth[~used]
    after = (rest * np.exp([shifts[label] for label in labels])).argmax(1)
    hits = [[(guess[right == k] == k).mean() for k in range(len(labels))] for guess in (rest.argmax(1), after)]
    return calibrate.trial(takes, labels).helps, float(np.mean(hits[1]) - np.mean(hits[0]))


if __name__ == "__main__":
    main()
