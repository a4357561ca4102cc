"""Measure `mien serve` under load: many connections that never pause, with and without batching, on one machine.

Two servers, one with the defaults and one with `--max-batch 1`, are asked in turn with six kinds of requests: an image
with one face, one that a face fills, one with eight, a large photograph, one crop, and sixteen crops. With `--before`
the second server is that of an older checkout, the file is server-checkouts.json, and a third server has
`--quick-search`. wrk is the client where it is installed, else Python, which takes more of the cores that it shares
with the server; rates are lower bounds. Memory is the server's own (resident), at the start, in the middle and at the
end.

Usage: python -m benchmarks.speed.server [--seconds 75] [--connections 64] [--before CHECKOUT] [--out FILE]
       (seconds in all; Linux)
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks import harness
from mien.faces.crop import crops
from mien.faces.onnx import ASSETS
from mien.faces.yunet import YuNet
from mien.media.image import decode

MODES = {"batching": [], "one by one": ["--max-batch", "1"]}
QUICK = ("close face",)
"""Workloads for which `--quick-search` is meant."""

HEAD = b'--x\r\nContent-Disposition: form-data; name="pictures"; filename="a"\r\n\r\n'
"""Of a file in a form; mien 0.1.0 asked for this name, today's server takes any."""


@dataclass(frozen=True)
class Workload:
    """The content of one request."""

    about: str
    path: str
    images: list[bytes]

    def form(self) -> bytes:
        """Return the body of the request."""
        return b"".join(HEAD + image + b"\r\n" for image in self.images) + b"--x--\r\n"


def workloads() -> dict[str, Workload]:
    """Return the workloads, made from the portrait in the assets."""
    portrait = decode((ASSETS / "portrait.jpg").read_bytes(), "portrait")
    scaled = cv2.resize(portrait, (480, 480), interpolation=cv2.INTER_AREA)
    one = cv2.copyMakeBorder(scaled, 0, 0, 80, 80, cv2.BORDER_REPLICATE)
    many = np.tile(cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_AREA), (2, 4, 1))
    (crop,) = crops(portrait, YuNet()(portrait))
    large = cv2.resize(one, (4000, 3000), interpolation=cv2.INTER_CUBIC)
    close = cv2.copyMakeBorder(cv2.resize(portrait[20:230, 115:325], (480, 480)), 0, 0, 80, 80, cv2.BORDER_REPLICATE)
    jpeg = [cv2.imencode(".jpg", image)[1].tobytes() for image in (one, many, large, close)]
    png = cv2.imencode(".png", crop)[1].tobytes()
    return {
        "one face": Workload("640x480 JPEG, one face", "/v1/predict", jpeg[:1]),
        "eight faces": Workload("1024x512 JPEG, eight faces", "/v1/predict", jpeg[1:2]),
        "close face": Workload("640x480 JPEG, a face of half its height", "/v1/predict", jpeg[3:]),
        "large photograph": Workload("4000x3000 JPEG, one face", "/v1/predict", jpeg[2:3]),
        "one crop": Workload("48x48 PNG, a face cut out", "/v1/predict?crops=true", [png]),
        "sixteen crops": Workload("sixteen 48x48 PNG, faces cut out", "/v1/predict?crops=true", [png] * 16),
    }


class Server:
    """`mien serve` on a free port."""

    def __init__(self, arguments: list[str], checkout: Path = harness.ROOT) -> None:
        command = [sys.executable, "-m", "mien", "serve", "--port", "0", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(checkout.absolute() / "src")}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
        assert self.process.stdout is not None
        found = re.search(r"http://([\d.]+):(\d+)", self.process.stdout.readline())
        assert found, "the server did not start"
        self.url, self.host, self.port = found[0], found[1], int(found[2])
        while not self.ready():
            time.sleep(0.1)

    def ready(self) -> bool:
        """Return whether the server takes requests."""
        try:
            with urllib.request.urlopen(f"{self.url}/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def figures(self) -> Counter[str]:
        """Return the metrics without labels."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        return Counter({name: float(value) for name, value in re.findall(r"^(\w+) ([\d.e+]+)$", text, re.MULTILINE)})

    def memory(self) -> float:
        """Return the resident memory in MiB."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found
        return round(int(found[1]) / 1024, 1)

    def idle(self) -> None:
        """Wait until requests of clients that have left are done."""
        while self.figures()["mien_queue_images"]:
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop the server and wait."""
        self.process.terminate()
        self.process.wait(timeout=60)


def with_wrk(server: Server, workload: Workload, connections: int, seconds: float) -> dict[str, Any]:
    """Ask with wrk; server.lua prints the figures."""
    with tempfile.NamedTemporaryFile() as body:
        body.write(workload.form())
        body.flush()
        script = Path(__file__).with_suffix(".lua")
        command = [
            "wrk", "-t1", f"-c{connections}", f"-d{max(round(seconds), 1)}s", "--timeout", "30s",
            "-s", str(script), server.url + workload.path, "--", body.name,
        ]  # fmt: skip
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=seconds + 60).stdout
    found: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
    return found


def with_python(server: Server, workload: Workload, connections: int, seconds: float) -> dict[str, Any]:
    """Ask with a client in Python."""
    return asyncio.run(_with_python(server, workload, connections, seconds))


async def _with_python(server: Server, workload: Workload, connections: int, seconds: float) -> dict[str, Any]:
    form = workload.form()
    head = f"POST {workload.path} HTTP/1.1\r\nHost: {server.host}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    request = f"{head}Content-Length: {len(form)}\r\n\r\n".encode() + form
    statuses: Counter[str] = Counter()
    latencies: list[float] = []
    lost, start = 0, time.perf_counter()

    async def client() -> None:
        nonlocal lost
        while True:
            try:
                reader, writer = await asyncio.open_connection(server.host, server.port)
                while True:
                    asked = time.perf_counter()
                    writer.write(request)
                    answer = await reader.readuntil(b"\r\n\r\n")
                    length = re.search(rb"content-length: (\d+)", answer, re.IGNORECASE)
                    await reader.readexactly(int(length[1]) if length else 0)
                    statuses[answer.split()[1].decode()] += 1
                    latencies.append(time.perf_counter() - asked)
            except (OSError, asyncio.IncompleteReadError):
                lost += 1

    clients = [asyncio.create_task(client()) for _ in range(connections)]
    await asyncio.wait(clients, timeout=seconds)
    for each in clients:
        each.cancel()
    took = time.perf_counter() - start
    p50, p99 = np.percentile(latencies or [0], [50, 99]) * 1000
    return {"statuses": dict(statuses), "lost": lost, "seconds": took, "p50": float(p50), "p99": float(p99)}


def measure(server: Server, workload: Workload, connections: int, seconds: float) -> dict[str, Any]:
    """Return the figures of one server and one kind of request."""
    ask = with_wrk if shutil.which("wrk") else with_python
    ask(server, workload, connections, 1)  # so that memory and caches have settled
    server.idle()
    memory = [server.memory()]
    middle = threading.Timer(seconds / 2, lambda: memory.append(server.memory()))
    before = server.figures()
    middle.start()
    found = ask(server, workload, connections, seconds)
    middle.join()
    memory.append(server.memory())
    passed = server.figures()
    passed.subtract(before)
    server.idle()
    statuses = Counter(found["statuses"])
    total = sum(statuses.values())
    rate = statuses["200"] / found["seconds"]
    return {
        "requests_per_second": round(rate, 1),
        "images_per_second": round(rate * len(workload.images), 1),
        "statuses": {name: statuses.pop(name, 0) for name in ("200", "503", "429")} | {"other": sum(statuses.values())},
        "lost": found["lost"],
        "latency_ms": {name: round(found[name], 1) for name in ("p50", "p99")},
        "cpu_ms_per_request": round(passed["process_cpu_seconds_total"] / max(total, 1) * 1000, 1),
        "crops_per_call": round(passed["mien_batch_crops_sum"] / max(passed["mien_batch_crops_count"], 1), 1),
        "memory_mib": memory,
    }


@contextmanager
def servers(connections: int, before: Path | None) -> Iterator[dict[str, Server]]:
    """Start the servers; the queue holds what all connections may send, so that no request is refused."""
    queue = ["--queue", str(16 * connections)]
    with ExitStack() as stack:
        started = {}
        older = {"now": [], "quick": ["--quick-search"], "before": []}
        for mode, arguments in (MODES if before is None else older).items():
            checkout = before if before and mode == "before" else harness.ROOT
            started[mode] = Server([*queue, *arguments], checkout)
            stack.callback(started[mode].stop)
        yield started


def main() -> None:
    parser = harness.parser(__doc__, "server")
    parser.add_argument("--seconds", type=float, default=75)
    parser.add_argument("--before", type=Path, help="checkout of an older commit to compare with")
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    kinds = workloads()
    each = options.seconds / len(kinds) / (len(MODES) if options.before is None else 3)
    client = "wrk" if shutil.which("wrk") else "Python"
    found: dict[str, Any] = {"client": client, "connections": options.connections, "seconds_each": each, "requests": {}}
    with servers(options.connections, options.before) as started:
        for name, workload in kinds.items():
            rows = {mode: measure(server, workload, options.connections, each) for mode, server in started.items()
                    if mode != "quick" or name in QUICK}  # fmt: skip
            first, *_, second = (row["requests_per_second"] for row in rows.values())
            ratio = first / max(second, 0.1)
            found["requests"][name] = {"about": workload.about, "ratio": round(ratio, 2), **rows}
            print(name, json.dumps(found["requests"][name], indent=1), flush=True)
    out = options.out if options.before is None else options.out.with_stem(f"{options.out.stem}-checkouts")
    harness.save(out, found)


if __name__ == "__main__":
    main()
