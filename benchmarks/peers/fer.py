"""Compare mien with the package `fer` on the same crops: accuracy on the four views, and time.

`fer` runs with its default network in an environment of its own, which is made where it is missing (see
environment.py and fer_worker.py). Both get FER2013's uint8 crops of 48x48 pixels; preprocessing counts. The answer of
`fer` is the most probable of the five classes. Times are measured in turns, so that a busy machine slows both: only
the ratio means something. footprint.py measures installation and memory.

Usage: python -m benchmarks.peers.fer --data fer2013.zip --votes ferplus_votes.csv [--model NAME|FILE] [--env FOLDER]
       [--split PublicTest] [--rounds N] [--no-times] [--no-footprint] [--installs FOLDER] [--out FILE]
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks import harness
from benchmarks.pages.accuracy import beside_fer
from benchmarks.peers import footprint
from benchmarks.peers.environment import PeerProcess, install
from mien.evaluation.views import answer_views, compare_answers
from mien.faces.models import load_classifier
from mien.types import EMOTIONS7, Classifier, Floats

PUBLISHED = 74.35
"""Accuracy of `fer` on `fer2013` in per cent, measured with its own TensorFlow Lite; a run may differ by 0.3."""


class Peer:
    """`fer` in a process of its own, as a classifier."""

    labels = EMOTIONS7
    confidence_threshold = 0.0

    def __init__(self, python: Path, folder: Path) -> None:
        self.process = PeerProcess(python, "crops")
        self.folder = folder
        self.versions: dict[str, str] = self.process.hello["versions"]

    def ask(self, **values: Any) -> dict[str, Any]:
        plain = {key: value if isinstance(value, int | float) else str(value) for key, value in values.items()}
        return self.process.ask(json.dumps(plain))

    def __call__(self, crops: np.ndarray) -> Floats:
        """Classify crops, uint8 (N, 48, 48) -> float32 (N, 7)."""
        given, returned = self.folder / "crops.npy", self.folder / "answers.npy"
        np.save(given, crops)
        self.ask(crops=given, out=returned)
        answers: Floats = np.load(returned).astype(np.float32).reshape(len(crops), len(self.labels))
        return answers


def main() -> None:
    parser = harness.parser(__doc__, "peers", data=True, votes=True)
    parser.add_argument("--model", help="the default model when not given")
    parser.add_argument("--split", default="PrivateTest", choices=("PublicTest", "PrivateTest"))
    parser.add_argument("--env", type=Path, help="folder of the environment of `fer`; default: a temporary one")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each")
    parser.add_argument("--no-times", action="store_true", help="accuracy only")
    parser.add_argument("--no-footprint", action="store_true", help="install only the weights of `fer`")
    parser.add_argument("--installs", type=Path, help="folder for footprint.py; default: a temporary one")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as scratch:
        python = install(options.env or Path(scratch) / "env")
        peer = Peer(python, Path(scratch))
        try:
            values = measure(load_classifier(options.model), peer, options)
        finally:
            peer.process.close()
        if not options.no_footprint:
            values["footprint"] = footprint.footprint(options.installs or Path(scratch), python)
    harness.save(options.out, values)
    print(beside_fer(values))


def measure(ours: Any, peer: Peer, options: Any) -> dict[str, Any]:
    """Return accuracy and, unless switched off, times."""
    peer.ask(threads=1)
    here, there = (answer_views(each, options.data, options.votes, options.split) for each in (ours, peer))
    reports = {view: (here[view].report(), there[view].report()) for view in here}
    gap = 100 * reports["fer2013"][1].accuracy - PUBLISHED
    if options.split == "PrivateTest" and abs(gap) > 0.3:
        raise SystemExit(
            f"fer differs by {gap:+.2f} points from {PUBLISHED} %: it does not run as its own package does"
        )
    values: dict[str, Any] = {"split": options.split, "model": ours.name, "sha256": ours.sha256, "views": {}}
    for view, (first, second) in reports.items():
        compared = compare_answers(here[view], there[view])
        values["views"][view] = {"n": first.n, "index": first.index, "difference": compared.to_dict()}
        for name, report in (("mien", first), ("fer", second)):
            recalls = {label: report.per_class[label]["recall"] for label in report.labels}
            figures = {"accuracy": report.accuracy, "interval": report.interval, "macro_f1": report.macro_f1}
            values["views"][view][name] = {**figures, "recall": recalls}
    if not options.no_times:
        crops = here["fer2013"].faces.images
        values["times"] = {
            "one": times(load_classifier(options.model, threads=1), peer, crops[:1], 1, options.rounds),
            "many": times(load_classifier(options.model, threads=2), peer, crops[:64], 2, options.rounds),
        }
    return {**values, "versions": {"mien": harness.environment(), "fer": peer.versions}}


def times(ours: Classifier, peer: Peer, crops: np.ndarray, threads: int, rounds: int) -> dict[str, Any]:
    """Return seconds a face; `fer` runs with as many threads as mien and with one, and the faster counts."""
    file = peer.folder / "batch.npy"
    np.save(file, crops)

    def ask_peer(count: int) -> float:
        peer.ask(threads=count)
        return float(peer.ask(crops=file, seconds=0.5)["seconds"])

    contestants = {"mien": lambda: harness.median_seconds(lambda: ours(crops), 0.5)}
    for count in sorted({1, threads}):
        contestants[f"fer, threads {count}"] = lambda count=count: ask_peer(count)
    seconds = {name: np.array(each) / len(crops) for name, each in harness.take_turns(contestants, rounds).items()}
    medians = {name: float(np.median(each)) for name, each in seconds.items()}
    best = min((name for name in medians if name != "mien"), key=medians.__getitem__)
    ratios = seconds[best] / seconds["mien"]
    return {
        "batch": len(crops), "threads": threads, "rounds": rounds, "seconds_a_face": medians, "fastest_peer": best,
        "ratio": float(np.median(ratios)), "ratio_range": [float(ratios.min()), float(ratios.max())],
    }  # fmt: skip


if __name__ == "__main__":
    main()
