"""Kill commands at random moments, run each again, and compare its outputs with those of an uninterrupted run.

SIGKILL, SIGTERM and SIGINT take turns; the moment is uniform over the duration of an uninterrupted run, start included.
The command then runs again (with `--resume` where there is one). Rows lost, outputs that differ and drafts left behind
are counted.

Usage: python -m benchmarks.reliability.kills [--kills 8] [--seed 1] [--only predict ...] [--out FILE]   (Linux)
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from benchmarks import harness
from mien.faces.onnx import ASSETS
from mien.types import EMOTIONS7

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
RECIPE = """\
name: tiny
width: 0.125
batch: 16
precision: 32-true
ema: 0.9
stages:
  - {epochs: 8, size: 24, dropout: 0.0}
  - {epochs: 2, size: 48, dropout: 0.1, lr: 3e-4}
"""

Content = dict[str, Any]
"""What a run wrote, in parts that can be compared; "rows" is a list of texts."""


@dataclass(frozen=True)
class Command:
    """A command that writes into a folder."""

    words: Callable[[Path], list[str]]
    again: tuple[str, ...]  # further words of the second run
    read: Callable[[Path], Content]


def main() -> None:
    parser = harness.parser(__doc__, "kills")
    parser.add_argument("--kills", type=int, default=8, help="of each command")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", help="names of commands")
    options = parser.parse_args()
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a job in the background of a shell inherits that it is ignored
    rng, values = random.Random(options.seed), {}
    with tempfile.TemporaryDirectory() as scratch:
        commands = prepare(Path(scratch))
        for number, (name, command) in enumerate(commands.items()):
            if not options.only or name in options.only:
                values[name] = measure(name, command, Path(scratch), options.kills, number, rng)
    keys = ("kills", "rows lost", "other outputs", "drafts left", "second run failed")
    total = {key: sum(each[key] for each in values.values()) for key in keys}
    result = {"commands": values, "total": total, "seed": options.seed}
    harness.save(options.out, result)
    print(json.dumps(total, indent=1))


def prepare(scratch: Path) -> dict[str, Command]:
    """Make the inputs; return the commands."""
    rng = np.random.default_rng(0)
    portrait = cv2.imread(str(ASSETS / "portrait.jpg"))
    images, talk, faces = scratch / "images", scratch / "talk.mp4", scratch / "faces"
    images.mkdir()
    for k in range(24):
        turned = np.roll(portrait, 5 * k, axis=1)
        cv2.imwrite(str(images / f"{k:02d}.jpg"), cv2.resize(turned, None, fx=0.8, fy=0.8))
    (images / "broken.jpg").write_bytes(b"not an image")
    with av.open(str(talk), "w") as out:
        stream: Any = out.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 480, 480, "yuv420p"
        square = cv2.resize(portrait, (480, 480))
        for k in range(50):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(square, k % 30, axis=1), "bgr24")))
        out.mux(stream.encode(None))
    number = 0
    for label in EMOTIONS7:
        for split, count in (("Training", 20), ("PublicTest", 10), ("PrivateTest", 10)):
            folder = faces / ("train" if split == "Training" else "test") / label
            folder.mkdir(parents=True, exist_ok=True)
            for _ in range(count):
                cv2.imwrite(str(folder / f"{split}_{number}.png"), rng.integers(0, 256, (48, 48), dtype=np.uint8))
                number += 1
    (scratch / "tiny.yaml").write_text(RECIPE)
    return {
        "predict": Command(
            lambda out: [
                "predict", str(images), "--jsonl", f"{out}/faces.jsonl", "--save", f"{out}/annotated",
                "--failures", f"{out}/failed.csv", "--crops", f"{out}/crops",
            ],
            ("--resume",), read_files,
        ),
        "video": Command(
            lambda out: [
                "video", str(talk), "--save", f"{out}/talk.mp4", "--csv", f"{out}/faces.csv",
                "--jsonl", f"{out}/faces.jsonl", "--timeline", f"{out}/time.png",
            ],
            (), read_files,
        ),
        "train": Command(
            lambda out: [
                "train", "--data", str(faces), "--recipe", str(scratch / "tiny.yaml"), "--out", f"{out}/run",
            ],
            ("--resume",), read_run,
        ),
        "batch": Command(
            lambda out: ["batch", str(images), "--out", f"{out}/table", "--part", "6", "--workers", "1"], (), read_table
        ),
        "data soft-labels": Command(
            lambda out: [
                "data", "soft-labels", str(faces), "--model", "mien-xs", "--model", "mien-s",
                "--out", f"{out}/soft.npz",
            ],
            (), read_arrays,
        ),
    }  # fmt: skip


def read_files(out: Path) -> Content:
    """Return all files, JSON lines and tables as rows."""
    files = {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    rows = [line for name, data in files.items() if name.endswith(("l", "v")) for line in data.decode().splitlines()]
    return {**files, "rows": rows}


def read_run(out: Path) -> Content:
    """Return the last and the best checkpoint, and the log without its last column, which is time."""
    from mien.train import checkpoint

    found: Content = {}
    for name in ("best", "last"):
        tensors, _ = checkpoint.load(out / f"run/{name}.safetensors")
        found[name] = {key: value.numpy().tobytes() for key, value in tensors.items()}
    found["names"] = sorted(path.name for path in (out / "run").iterdir())
    found["rows"] = [line.rpartition(",")[0] for line in (out / "run/log.csv").read_text().splitlines()]
    return found


def read_table(out: Path) -> Content:
    """Return the rows of the Parquet files."""
    import pyarrow.parquet as pq

    table = pq.read_table(out / "table").to_pylist()
    parts = sorted(path.name for path in (out / "table").glob("part-*.parquet"))
    return {"rows": sorted(json.dumps(row, default=str, sort_keys=True) for row in table), "names": parts}


def read_arrays(out: Path) -> Content:
    """Return the arrays of the soft labels, and the name of the cache."""
    with np.load(out / "soft.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    cache = sorted(path.name for path in (out / "cache").iterdir())
    return {
        **{name: array.tobytes() for name, array in arrays.items()}, "cache": cache,
        "rows": [str(key) for key in arrays["keys"]],
    }  # fmt: skip


def measure(name: str, command: Command, scratch: Path, kills: int, turn: int, rng: random.Random) -> dict[str, Any]:
    """Kill a command some times; return what came of it."""
    whole = scratch / "out"
    expected, seconds = run_whole(command, whole)
    found: dict[str, Any] = {
        "seconds": seconds, "kills": 0, "rows": len(expected["rows"]), "rows lost": 0, "other outputs": 0,
        "drafts left": 0, "second run failed": 0, "moments": [],
    }  # fmt: skip
    while found["kills"] < kills:
        kind = SIGNALS[(found["kills"] + turn) % len(SIGNALS)]
        reset(whole)
        moment = rng.uniform(0.0, seconds)
        if not killed(command.words(whole), whole, kind, moment):
            seconds *= 0.9  # the machine has less to do now
            continue
        found["kills"] += 1
        drafts = list(left(whole))
        again = start([*command.words(whole), *command.again], whole)
        code = again.wait()
        found["moments"].append({"signal": kind.name, "seconds": round(moment, 2), "drafts": len(drafts)})
        remaining = list(left(whole))
        found["drafts left"] += len(remaining)
        try:
            content = command.read(whole)
        except Exception as error:  # whatever makes the outputs unreadable
            content = {"rows": [], "error": str(error)}
        lost = set(expected["rows"]) - set(content["rows"])
        differing = sorted(key for key in expected.keys() | content.keys() if expected.get(key) != content.get(key))
        found["rows lost"] += len(lost)
        found["other outputs"] += bool(differing)
        found["second run failed"] += code not in (0, 1)
        if lost or differing or remaining or code not in (0, 1):
            found["moments"][-1] |= {"lost": len(lost), "differing": differing[:5], "left": remaining, "code": code}
            print((whole.parent / "log.txt").read_text(errors="replace")[-600:], flush=True)
        print(name, found["moments"][-1], flush=True)
    return found


def run_whole(command: Command, out: Path) -> tuple[Content, float]:
    """Run a command twice, the first time to warm up; return its outputs and its duration."""
    for _ in range(2):
        reset(out)
        begin = time.perf_counter()
        code = start(command.words(out), out).wait()
        seconds = time.perf_counter() - begin
        assert code in (0, 1), (out.parent / "log.txt").read_text()
    return command.read(out), seconds


def reset(out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    (out / "cache").mkdir(parents=True)


def start(words: list[str], out: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "MIEN_CACHE": str(out / "cache"), "OMP_NUM_THREADS": "1"}
    with (out.parent / "log.txt").open("wb") as log:
        return subprocess.Popen([sys.executable, "-m", "mien", *words], stdout=log, stderr=log, env=environment)


def killed(words: list[str], out: Path, kind: signal.Signals, moment: float) -> bool:
    """Start a command and send it a signal; return whether that ended it."""
    process = start(words, out)
    try:
        process.wait(moment)
        return False
    except subprocess.TimeoutExpired:
        process.send_signal(kind)
    code = process.wait(600)  # a busy machine takes its time
    return code in (-kind, 130) or (kind == signal.SIGTERM and code not in (0, 1))


def left(out: Path) -> list[str]:
    """Return the drafts and temporary files in a folder."""
    return [
        path.relative_to(out).as_posix()
        for path in sorted(out.rglob("*"))
        if ".mien.part" in path.name or path.name.endswith((".tmp", ".lock"))
    ]


if __name__ == "__main__":
    main()
