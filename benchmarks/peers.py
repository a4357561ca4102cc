"""mien beside another package on the same crops: accuracy on the four views of PrivateTest, and time.

The peer is `fer` 25.10.3 with its default network; it runs in an environment of its own (made here when it is not
there), see peer_fer.py. Both get FER2013's uint8 crops of 48x48 and do all that their network needs with them. The
answer is the most probable of the five classes. Times are taken in turn, so that a busy machine hits both; only their
ratio means something, and that only on an idle machine. What both take on a machine, installed and in memory, is
measured by footprint.py. The run writes results/peers.json and prints it as Markdown.

Usage: python benchmarks/peers.py --data fer2013.zip --votes ferplus_votes.csv [--model NAME|FILE] [--env FOLDER]
       [--split PublicTest] [--rounds N] [--no-times] [--no-footprint] [--installs FOLDER] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import footprint
from mien import files
from mien.classify import ASSETS, DEFAULT, OnnxClassifier, model
from mien.report_page import environment
from mien.train.evaluate import answer_views, compare_answers
from mien.types import EMOTIONS7, Floats
from peer_fer import timed
from peer_fer_env import FER, installed
from peer_process import PeerProcess

PUBLISHED = 74.35
"""Accuracy of `fer` on T1 in per cent, as measured before with its own TensorFlow Lite; held to 0.3 points."""
REST = 0.1
"""Seconds between the turns, in which the threads of the one before come to rest."""


class Peer:
    """`fer` in its own process, as a classifier."""

    labels = EMOTIONS7
    uncertain_below = 0.0

    def __init__(self, python: Path, folder: Path) -> None:
        self.process = PeerProcess(python, "peer_fer.py")
        self.folder = folder
        self.versions: dict[str, str] = self.process.hello["versions"]

    def ask(self, **values: Any) -> dict[str, Any]:
        plain = {key: v if isinstance(v, int | float) else str(v) for key, v in values.items()}
        return self.process.ask(json.dumps(plain))

    def __call__(self, crops: np.ndarray) -> Floats:
        there, back = self.folder / "crops.npy", self.folder / "answers.npy"
        np.save(there, crops)
        self.ask(crops=there, out=back)
        answers: Floats = np.load(back).astype(np.float32).reshape(len(crops), len(self.labels))
        return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--votes", required=True)
    parser.add_argument("--model", help="of mien; the default one when not given")
    parser.add_argument("--split", default="PrivateTest", choices=("PublicTest", "PrivateTest"))
    parser.add_argument("--env", type=Path, help="folder of the peer's environment; a temporary one when not given")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each; the median is kept")
    parser.add_argument("--no-times", action="store_true", help="accuracy only")
    parser.add_argument("--no-footprint", action="store_true", help="nothing is installed but the peer's weights")
    parser.add_argument("--installs", type=Path, help="folder for the environments of footprint.py; a temporary one")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "peers.json")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    ours = model(options.model)
    with tempfile.TemporaryDirectory() as scratch:
        python = installed(options.env or Path(scratch) / "env")
        peer = Peer(python, Path(scratch))
        try:
            values = measured(ours, peer, options)
        finally:
            peer.process.close()
        if not options.no_footprint:
            values["footprint"] = footprint.footprint(options.installs or Path(scratch), python)
    files.write_text(options.out, json.dumps(values, indent=1) + "\n")
    print(markdown(values))


def measured(ours: OnnxClassifier, peer: Peer, options: argparse.Namespace) -> dict[str, Any]:
    peer.ask(threads=1)
    here, there = (answer_views(each, options.data, options.votes, options.split) for each in (ours, peer))
    reports = {view: (here[view].report(), there[view].report()) for view in here}
    low = 100 * reports["T1"][1].accuracy - PUBLISHED
    if options.split == "PrivateTest" and abs(low) > 0.3:
        raise SystemExit(f"fer has {low:+.2f} points against {PUBLISHED} %: it does not run as its own package runs it")
    values: dict[str, Any] = {"split": options.split, "model": ours.name, "sha256": ours.sha256, "views": {}}
    for view, (first, second) in reports.items():
        compared = compare_answers(here[view], there[view])
        values["views"][view] = {"n": first.n, "index": first.index, "difference": compared.to_dict()}
        for name, report in (("mien", first), ("fer", second)):
            recalls = {label: report.per_class[label]["recall"] for label in report.labels}
            values["views"][view][name] = {
                "accuracy": report.accuracy, "interval": report.interval, "macro_f1": report.macro_f1,
                "recall": recalls,
            }  # fmt: skip
    if not options.no_times:
        crops = here["T1"].faces.images
        values["times"] = {
            "one": times(options.model, peer, crops[:1], 1, options.rounds),
            "many": times(options.model, peer, crops[:64], 2, options.rounds),
        }
    return {**values, "versions": {"mien": environment(), "fer": peer.versions}}


def times(name: str | None, peer: Peer, crops: np.ndarray, threads: int, rounds: int) -> dict[str, Any]:
    """Seconds a face of each, in turn; the peer with this number of threads and with one: the faster counts."""
    shipped = name is None or not name.endswith(".onnx")
    ours = OnnxClassifier(ASSETS / f"{name or DEFAULT}.onnx" if shipped else str(name), threads=threads)
    file = peer.folder / "batch.npy"
    np.save(file, crops)
    found: dict[str, list[float]] = {"mien": []}
    for turn in range(rounds):
        time.sleep(REST)
        found["mien"].append(timed(ours, crops, 0.5) / len(crops))
        for count in sorted({1, threads}):
            peer.ask(threads=count)
            time.sleep(REST)
            found.setdefault(f"fer, threads {count}", []).append(
                peer.ask(crops=file, seconds=0.5)["seconds"] / len(crops)
            )
        print(f"batch {len(crops)}, turn {turn + 1} of {rounds}", end="\r", file=sys.stderr)
    middle = {key: float(np.median(each)) for key, each in found.items()}
    best = min((key for key in middle if key != "mien"), key=middle.__getitem__)
    ratios = np.array(found[best]) / np.array(found["mien"])
    return {
        "batch": len(crops), "threads": threads, "rounds": rounds, "seconds_a_face": middle, "fastest_peer": best,
        "ratio": float(np.median(ratios)), "ratio_range": [float(ratios.min()), float(ratios.max())],
    }  # fmt: skip


def markdown(values: dict[str, Any]) -> str:
    """Tables for a document."""
    names = f"{values['model']} % | fer {FER} %"
    lines = [f"| {values['split']} | pictures | {names} | difference (95 % interval) | McNemar p |"]
    lines.append("|---|---|---|---|---|---|")
    for view, row in values["views"].items():
        gap = row["difference"]
        low, high = (f"{100 * value:+.1f}" for value in gap["interval"])
        shares = " | ".join(f"{100 * row[name]['accuracy']:.2f}" for name in ("mien", "fer"))
        lines.append(
            f"| {view} | {row['n']:,} | {shares} | {100 * gap['difference']:+.2f} ({low} to {high}) | {gap['p']:.2g} |"
        )
    if "times" in values:
        lines += ["", f"| | {values['model']} | fer {FER} | ratio (range over the turns) |", "|---|---|---|---|"]
        for what, row in (
            ("one face, one thread, ms", values["times"]["one"]),
            ("64 faces, faces/s", values["times"]["many"]),
        ):
            pair = (row["seconds_a_face"]["mien"], row["seconds_a_face"][row["fastest_peer"]])
            shown = [f"{1e3 * v:.2f}" if row["batch"] == 1 else f"{1 / v:,.0f}" for v in pair]
            low, high = row["ratio_range"]
            what += f" ({row['threads']} threads; {row['fastest_peer']})" if row["batch"] > 1 else ""
            lines.append(f"| {what} | {shown[0]} | {shown[1]} | {row['ratio']:.2f} ({low:.2f} to {high:.2f}) |")
        machine = values["versions"]["mien"]
        where = f"{machine['processor']}, {machine['cores']} cores"
        lines += ["", f"Ratio: how many times faster mien is (below 1: slower). {where}."]
    if "footprint" in values:
        lines += ["", footprint.markdown(values["footprint"])]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
