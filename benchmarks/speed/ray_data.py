"""Compare `mien batch` with a pipeline whose images pass through Ray Data, and run it on two nodes.

The pipeline is what Ray's documentation shows: `read_images`, `map_batches` with a pool of processes, `write_parquet`.
Both have two cores: two workers of `mien batch`, against one process that reads and one that computes. Both start Ray
in each turn, and they take turns. The
images are portraits of 640 pixels, shifted, and crops of 48 pixels. The time that Ray needs to start and end, measured
with one image, is taken off.

With `--nodes`, a second Ray raylet on this machine stands for a second machine: `mien batch --address` runs on both,
and the second one is killed in the middle of another run.

Usage: python -m benchmarks.speed.ray_data [--images 600] [--crops 12000] [--rounds 3] [--nodes] [--out FILE]   (Linux)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq

from benchmarks import harness
from mien.faces.crop import to_network_input
from mien.faces.onnx import ASSETS

THROUGH_RAY = """
import json, os, sys
os.environ["RAY_worker_niceness"] = "0"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
import cv2, numpy as np, ray
source, out, cropped = sys.argv[1], sys.argv[2], sys.argv[3] == "crops"

class Worker:
    def __init__(self):
        import mien
        cv2.setNumThreads(1)
        self.pipeline = mien.load(threads=1)

    def __call__(self, batch):
        images = [np.asarray(image) for image in batch["image"]]
        if cropped:
            from mien.faces.crop import to_network_input
            rows = self.pipeline.classify(np.stack([to_network_input(image[..., ::-1]) for image in images]))
            return {"path": batch["path"], "probabilities": rows}
        found = self.pipeline(images, rgb=True)
        return {"path": batch["path"], "faces": [result.to_json() for result in found]}

ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
ray.data.DataContext.get_current().enable_progress_bars = False
images = ray.data.read_images(source, include_paths=True, mode="RGB")
answers = images.map_batches(Worker, batch_size=64, num_cpus=1, compute=ray.data.ActorPoolStrategy(size=1))
answers.write_parquet(out)
"""


def main() -> None:
    parser = harness.parser(__doc__, "ray_data")
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--crops", type=int, default=12_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nodes", action="store_true", help="run on two nodes, too")
    options = parser.parse_args()
    values: dict[str, Any] = {"rounds": options.rounds}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for kind, count in (("images", options.images), ("crops", options.crops)):
            values[kind] = compare(scratch, kind, count, options.rounds)
            print(kind, values[kind], flush=True)
        if options.nodes:
            values["two nodes"] = {
                "undisturbed": two_nodes(scratch / "images", scratch, False),
                "one killed": two_nodes(scratch / "images", scratch, True),
            }
    harness.save(options.out, values)
    print(json.dumps(values, indent=1))


def make(folder: Path, kind: str, count: int) -> None:
    """Write portraits of 640 pixels or crops of 48, all different."""
    folder.mkdir()
    portrait = cv2.resize(cv2.imread(str(ASSETS / "portrait.jpg")), (640, 640))
    crop = to_network_input(portrait)
    for k in range(count):
        image = np.roll(crop if kind == "crops" else portrait, (k % 47, k // 47), (0, 1))
        cv2.imwrite(str(folder / f"{k:06d}.jpg"), image)


def compare(scratch: Path, kind: str, count: int, rounds: int) -> dict[str, Any]:
    """Return images a second of both, and the ratio of their times."""
    source, one = scratch / kind, scratch / f"one-{kind}"
    make(source, kind, count)
    make(one, kind, 1)
    contestants = {
        f"{who}{what}": partial(run, words, scratch)
        for what, folder in (("", source), (", one image", one))
        for who, words in (("mien batch", batch(folder, kind)), ("through Ray Data", through_ray(folder, kind)))
    }
    seconds = {name: np.array(each) for name, each in harness.take_turns(contestants, rounds).items()}
    net = {who: seconds[who] - np.median(seconds[f"{who}, one image"]) for who in ("mien batch", "through Ray Data")}
    return {
        "count": count,
        "start": {who: float(np.median(seconds[f"{who}, one image"])) for who in net},
        "images_per_second": {who: float(np.median((count - 1) / each)) for who, each in net.items()},
        "times_ray_data": harness.quartiles(net["through Ray Data"] / net["mien batch"]),
    }


def batch(source: Path, kind: str) -> list[str]:
    crops = ["--cropped"] if kind == "crops" else []
    return [sys.executable, "-m", "mien", "batch", str(source), *crops, "--workers", "2", "--out"]


def through_ray(source: Path, kind: str) -> list[str]:
    return [sys.executable, "-c", THROUGH_RAY, str(source), "OUT", kind]


def run(words: list[str], scratch: Path) -> float:
    """Run a command into a new folder; return its seconds."""
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        out = f"{name}/out"
        command = [out if word == "OUT" else word for word in words] if "OUT" in words else [*words, out]
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        return time.perf_counter() - start


def two_nodes(source: Path, scratch: Path, kill: bool) -> dict[str, Any]:
    """Run `mien batch` on two raylets, one of which may be killed in the middle; return what came of it."""
    from ray.cluster_utils import Cluster

    os.environ.update({"RAY_worker_niceness": "0"})
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    out = scratch / ("two-killed" if kill else "two")
    words = [sys.executable, "-m", "mien", "batch", str(source), "--part", "25", "--out", str(out)]
    try:
        driver = subprocess.Popen([*words, "--address", cluster.address], stdout=subprocess.DEVNULL)
        most = 0
        is_killed = False
        while driver.poll() is None:
            time.sleep(0.1)
            most = max(most, len(list(out.glob(".part-*.tmp"))))
            if kill and not is_killed and len(list(out.glob("part-*.parquet"))) >= 4:
                cluster.remove_node(second, allow_graceful=False)
                is_killed = True
        code = driver.wait()
    finally:
        cluster.shutdown()
    names = Counter(pq.read_table(out, columns=["name"])["name"].to_pylist())
    return {
        "exit code": code,
        "node killed": is_killed,
        "images": sum(1 for _ in source.iterdir()),
        "images in the table": len(names),
        "doubled": sum(count > 1 for count in names.values()),
        "parts at once, most seen": most,
    }


if __name__ == "__main__":
    main()
