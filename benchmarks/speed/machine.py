"""Measure the speed of mien on the machine at hand, each figure beside `fer` or an older commit in the same run.

The table has the classifier on one face and on many faces and a video of 640x480, beside `fer`; the same, an annotated
copy, folders of images of 640 and 4,000 pixels and the start of `mien predict` beside an older commit. `fer` runs in an
environment of its own, which is made where it is missing (see peers/environment.py). Where it cannot be made, as
without a network, only the comparison with the older commit is left, for which the checkout needs its history. The
contestants take turns, so that other work slows all of them: the ratios mean something, single times do not. A machine
that is busy when the run begins is marked as such.

Usage: python -m benchmarks.speed.machine [--env FOLDER] [--rounds N] [--before COMMIT] [--hide amx|avx512]
       [--out FILE]
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks import harness
from benchmarks.pages.speed import machine_table
from benchmarks.peers.environment import PeerProcess, install
from benchmarks.peers.fer import Peer, times
from benchmarks.speed.video import ours
from benchmarks.speed.worker import Checkout
from mien.faces.crop import to_network_input
from mien.faces.models import load_classifier
from mien.faces.onnx import ASSETS
from mien.media.video_writer import VideoWriter

BEFORE = "3108254"
"""The commit to which mien is compared."""

MODELS = ("mien-s", "mien-xs", "mien-s-fp32")
FRAMES = 48
PORTRAIT = ASSETS / "portrait.jpg"


def main() -> None:
    parser = harness.parser(__doc__, "machine")
    parser.add_argument("--env", type=Path, help="folder of the environment of `fer`; default: a temporary one")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--before", default=BEFORE, help="commit to compare with")
    parser.add_argument("--hide", choices=["amx", "avx512"], help="run as without AMX, or without AMX, VNNI, AVX-512")
    options = parser.parse_args()
    if options.hide and not harness.hidden_instructions():
        restart_without(options.hide)
    cv2.setNumThreads(1)
    values: dict[str, Any] = {"rounds": options.rounds, "load_before": os.getloadavg()[0], "rows": []}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        try:
            python = install(options.env or scratch / "env")
        except (subprocess.CalledProcessError, OSError) as error:
            print(f"fer cannot be installed ({error}): its rows are left out", file=sys.stderr)
        else:
            values["rows"] += beside_fer(python, scratch, options.rounds)
        if checkout := older_checkout(options.before, scratch / "before"):
            values["rows"] += beside_older(checkout, options.before, scratch, options.rounds)
            values["rows"] += start(checkout, options.before, options.rounds)
    harness.save(options.out, values)
    print(machine_table(harness.load(options.out.stem, options.out.parent)))


def restart_without(instructions: str) -> None:
    """Start this program again, with instructions hidden from it and from its child processes."""
    source = Path(__file__).with_name("hide_instructions.c")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "hide_instructions.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
        environment = {**os.environ, "LD_PRELOAD": str(library), "HIDE": instructions}
        command = [sys.executable, "-m", "benchmarks.speed.machine", *sys.argv[1:]]
        raise SystemExit(subprocess.run(command, env=environment, check=False).returncode)


def beside_fer(python: Path, scratch: Path, rounds: int) -> list[dict[str, Any]]:
    """Return the rows of the classifier and of a video."""
    peer = Peer(python, scratch)
    crop = to_network_input(cv2.imread(str(PORTRAIT)))
    shifted = np.stack([np.roll(crop, (k % 8, k // 8), (0, 1)) for k in range(64)])
    rows = []
    for model in MODELS:
        for count, threads in ((1, 1), (64, 2)):
            found = times(load_classifier(model, threads=threads), peer, shifted[:count], threads, rounds)
            each, other = found["seconds_a_face"], found["fastest_peer"]
            what = f"{model}, {count} in a call, {threads} thread{'s' * (threads > 1)}"
            pair = each["mien"] * 1e3, "fer", each[other] * 1e3
            rows.append(row(what, "ms a face", *pair, found["ratio"], found["ratio_range"]))
    clip = moving_portrait(scratch / "clip.mp4")
    process = PeerProcess(python, "video", clip)
    contestants = {
        "mien": ours(clip, "yunet", FRAMES),
        "fer": lambda: float(process.ask(str(FRAMES // 4))["seconds"]) * 4,
    }
    seconds = {name: np.array(each) / FRAMES for name, each in harness.take_turns(contestants, rounds).items()}
    return [*rows, compared("video of 640x480, one face", "ms a frame", seconds, "fer", 1e3)]


def beside_older(checkout: Path, commit: str, scratch: Path, rounds: int) -> list[dict[str, Any]]:
    """Return the rows of the default classifier, videos and folders, today and at the older commit."""
    clip, copy = moving_portrait(scratch / "own-clip.mp4"), scratch / "copy.mp4"
    tasks = [
        ("default model, 1 in a call, 1 thread", "ms a face", ("crops", 1, 1)),
        ("default model, 16 in a call, 1 thread", "ms a face", ("crops", 16, 1)),
        ("default model, 64 in a call, 2 threads", "ms a face", ("crops", 64, 2)),
        ("default model, 1,024 in a call, 2 threads", "ms a face", ("crops", 1024, 2)),
        ("video of 640x480, one face", "ms a frame", ("video", str(clip), None)),
        ("the same with an annotated copy", "ms a frame", ("video", str(clip), str(copy))),
        ("folder of images of 640 pixels", "ms an image", ("folder", str(portraits(scratch / "640", 640, 60)))),
        ("folder of images of 4,000 pixels", "ms an image", ("folder", str(portraits(scratch / "4000", 4000, 8)))),
    ]
    workers = {"mien": Checkout(harness.ROOT), commit: Checkout(checkout)}

    def run(name: str, task: tuple[Any, ...]) -> Callable[[], float]:
        def turn() -> float:
            answer = workers[name].ask(*task)
            return answer["wall"] / answer["items"]

        return turn

    rows = []
    for what, unit, task in tasks:
        seconds = harness.take_turns({name: run(name, task) for name in workers}, rounds)
        rows.append(compared(what, unit, {name: np.array(each) for name, each in seconds.items()}, commit, 1e3))
    for worker in workers.values():
        worker.close()
    return rows


def start(checkout: Path, commit: str, rounds: int) -> list[dict[str, Any]]:
    """Return the rows of `mien predict` with one image, from cold: processor time and wall time."""
    taken: dict[str, list[float]] = {}

    def run(name: str, sources: Path) -> Callable[[], float]:
        # Compiled modules are kept apart: the start of an installed mien compiles nothing.
        compiled = {"PYTHONPATH": str(sources), "PYTHONPYCACHEPREFIX": str(checkout / "compiled")}
        environment = {**os.environ, **compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, "-m", "mien", "predict", str(PORTRAIT)]
        work = harness.stopwatch(lambda: subprocess.run(command, env=environment, check=True, capture_output=True))

        def turn() -> float:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            wall = work()
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            taken.setdefault(name, []).append(used)
            return wall

        return turn

    contestants = {"mien": run("mien", harness.ROOT / "src"), commit: run(commit, checkout / "src")}
    wall = {name: np.array(each) for name, each in harness.take_turns(contestants, rounds).items()}
    cpu = {name: np.array(each[1:]) for name, each in taken.items()}  # the first turn compiled the modules
    return [
        compared("start of mien predict, processor time", "ms", cpu, commit, 1e3),
        compared("start of mien predict, wall time", "ms", wall, commit, 1e3),
    ]


def compared(what: str, unit: str, seconds: dict[str, Any], other: str, scale: float) -> dict[str, Any]:
    """Return a row from the seconds of each turn."""
    ratios = seconds[other] / seconds["mien"]
    medians = {name: float(np.median(each)) * scale for name, each in seconds.items()}
    return row(what, unit, medians["mien"], other, medians[other], float(np.median(ratios)),
               [float(ratios.min()), float(ratios.max())])  # fmt: skip


def row(
    what: str, unit: str, mien: float, other: str, others: float, ratio: float, ratio_range: list[float]
) -> dict[str, Any]:
    return {
        "what": what, "unit": unit, "mien": mien, "other": other, "others": others, "ratio": ratio,
        "ratio_range": ratio_range,
    }  # fmt: skip


def older_checkout(commit: str, folder: Path) -> Path | None:
    """Unpack the sources of a commit; None where the checkout has no such history."""
    archive = subprocess.run(["git", "archive", commit, "src"], cwd=harness.ROOT, capture_output=True, check=False)
    if archive.returncode:
        print(f"no commit {commit} here: its rows are left out", file=sys.stderr)
        return None
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def portraits(folder: Path, side: int, count: int) -> Path:
    """Write portraits of that longer side as JPEG, each moved a little."""
    folder.mkdir()
    portrait = cv2.resize(cv2.imread(str(PORTRAIT)), (side, side), interpolation=cv2.INTER_CUBIC)
    for k in range(count):
        cv2.imwrite(str(folder / f"{k}.jpg"), np.roll(portrait, side * k // 320, axis=1))
    return folder


def moving_portrait(path: Path) -> Path:
    """Write four seconds of the portrait moving in a 640x480 video."""
    portrait = cv2.resize(cv2.imread(str(PORTRAIT)), (360, 360))
    with VideoWriter(path, 640, 480, 25.0) as writer:
        for k in range(100):
            frame = np.full((480, 640, 3), 90, np.uint8)
            left, top = 140 + round(120 * np.sin(k / 16)), 60 + round(50 * np.cos(k / 16))
            frame[top : top + 360, left : left + 360] = portrait
            writer.write(frame, k / 25)
    return path


if __name__ == "__main__":
    main()
