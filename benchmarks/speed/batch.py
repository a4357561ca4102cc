"""Measure `mien batch` on 50,000 images: the speed, and that no row is lost or doubled after kills.

The images are the crops of FER2013, each a JPEG file with a name of its own. It has 35,887, so the first 14,113 come
twice; `--kind` packs them into tars or tables instead.

The command runs three times with one worker a core, each into a folder of its own: undisturbed; with a worker killed
(SIGKILL) in the middle; and killed itself with all its processes, then started again. Each run must leave one row an
image, with distinct names and keys. The speed is compared with a plain loop: decode and classify in batches of 64, in
one process and one thread, without a table.

Usage: python -m benchmarks.speed.batch --data fer2013.zip [--count 50000] [--kind files|tar|parquet] [--scratch FOLDER]
       [--workers 1] [--part 1000] [--out FILE]   (Linux)
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import harness
from mien.batch import partition
from mien.errors import SourceError
from mien.faces.classifier import OnnxClassifier
from mien.faces.crop import to_network_input
from mien.faces.models import DEFAULT
from mien.faces.onnx import ASSETS
from mien.media.image import decode


def main() -> None:
    parser = harness.parser(__doc__, "batch", data=True)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--kind", choices=["files", "tar", "parquet"], default="files")
    parser.add_argument("--scratch", type=Path, help="folder for images and tables; default: a temporary one")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--part", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        values = measure(Path(scratch), options)
    harness.save(options.out, values)
    print(json.dumps(values, indent=1))


def measure(scratch: Path, options: argparse.Namespace) -> dict[str, Any]:
    source = scratch / "in"
    distinct = pack(options, source)
    command = [sys.executable, "-m", "mien", "batch", str(source), "--cropped", "--part", str(options.part)]
    command += ["--workers", str(options.workers)]
    start = time.perf_counter()
    seen = plain(source, options.part)
    seconds = time.perf_counter() - start
    assert seen == options.count
    runs = {"plain loop": {"seconds": seconds}}
    for name, middle in {"batch": None, "worker killed": kill_worker, "driver killed": kill_driver}.items():
        runs[name] = run(command, scratch / name.replace(" ", "-"), middle, options.count)
        print(name, runs[name], flush=True)
    return {
        "images": options.count, "distinct": distinct, "kind": options.kind, "workers": options.workers,
        "part": options.part, "cores": len(os.sched_getaffinity(0)), "runs": runs,
        "images_per_second": {name: options.count / run["seconds"] for name, run in runs.items()},
    }  # fmt: skip


def pack(options: argparse.Namespace, folder: Path) -> int:
    """Write the images under distinct names, as files or in shards of a part each; return how many differ."""
    folder.mkdir()
    with zipfile.ZipFile(options.data) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))[: options.count]
        stored = [archive.read(name) for name in names]
    for first in range(0, options.count, options.part):
        numbers = range(first, min(first + options.part, options.count))
        named = [(f"{k:08d}.jpg", stored[k % len(stored)]) for k in numbers]
        if options.kind == "parquet":
            table = pa.table({"path": [name for name, _ in named], "image": [data for _, data in named]})
            pq.write_table(table, folder / f"{first:08d}.parquet")
        elif options.kind == "tar":
            with tarfile.open(folder / f"{first:08d}.tar", "w") as tar:
                for name, data in named:
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        else:
            for name, data in named:
                (folder / name).write_bytes(data)
    return len(stored)


def plain(source: Path, part: int) -> int:
    """Return the number of images that a plain loop classified."""
    classifier = OnnxClassifier(ASSETS / f"{DEFAULT}.onnx", threads=1)
    seen, block = 0, []
    for each in (image for cut in partition.split(str(source), part) for image in partition.read_images(cut)):
        assert not isinstance(each.data, SourceError)
        block.append(to_network_input(decode(each.data, each.name)))
        if len(block) == 64:
            seen += len(classifier(np.stack(block)))
            block = []
    return seen + (len(classifier(np.stack(block))) if block else 0)


def run(
    command: list[str], out: Path, middle: Callable[[subprocess.Popen[bytes]], int] | None, count: int
) -> dict[str, Any]:
    """Run the command, disturbed in the middle, and again where that ended it; check its output."""
    start = time.perf_counter()
    killed, kept = 0, {}
    driver = subprocess.Popen([*command, "--out", str(out)])
    if middle:
        enough = max(1, count // int(command[command.index("--part") + 1]) // 3)  # parts that are there by then
        while driver.poll() is None and not killed:
            time.sleep(0.2)
            if list(out.glob(".part-*.parquet.*.tmp")) and len(list(out.glob("part-*.parquet"))) >= enough:
                killed = middle(driver)
        assert killed, "it ended before it could be killed"
    code = driver.wait()
    again = code != 0
    if again:
        kept = {path: path.stat().st_mtime_ns for path in out.glob("part-*.parquet")}
        code = subprocess.run([*command, "--out", str(out)], check=False).returncode
    seconds = time.perf_counter() - start
    assert code == 0
    table = pq.read_table(out, columns=["name", "key", "error"])
    rows, names, keys = len(table), len(set(table["name"].to_pylist())), len(set(table["key"].to_pylist()))
    assert rows == names == keys == count and table["error"].null_count == count
    assert all(path.stat().st_mtime_ns == time_ for path, time_ in kept.items())
    manifest = json.loads((out / "_manifest.json").read_text())
    return {
        "seconds": seconds, "rows": rows, "distinct_names": names, "killed": killed, "started_again": again,
        "parts": manifest["parts"], "parts_kept": len(kept),
    }  # fmt: skip


def kill_worker(driver: subprocess.Popen[bytes]) -> int:
    """Kill one process that computes a part and return its id."""
    for process in below(driver.pid):
        if (name := title(process)).startswith("ray::MapWorker(MapBatches(Worker))"):
            os.kill(process, signal.SIGKILL)
            print(f"killed {process}, {name}", flush=True)
            return process
    return 0


def kill_driver(driver: subprocess.Popen[bytes]) -> int:
    """Kill the command and all its processes."""
    for process in [driver.pid, *below(driver.pid)]:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return driver.pid


def below(process: int) -> list[int]:
    """Return all descendants of a process."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    found = list(children.get(process, []))
    for each in found:
        found += children.get(each, [])
    return found


def title(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


if __name__ == "__main__":
    main()
