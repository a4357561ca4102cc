"""What `mien serve` stands: many connections that never pause, with batching and without, in one run on one machine.

Two servers are started, one with its defaults and one with `--max-batch 1`, and asked in turn with four kinds of
requests: a picture with one face, a picture with eight, a face cut out already, and sixteen of those. wrk asks where it
is installed, else a client in Python, which takes more of the processors that it shares with the server. Rates are
lower bounds therefore. Memory is the server's own (resident): at the start, in the middle and at the end.

Usage: python benchmarks/serve_load.py [--seconds 60] [--connections 64] [--out FILE]     (seconds in all; Linux)
"""

from __future__ import annotations

import argparse
import asyncio
import json
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

from mien import detect, files, image, search
from mien.report_page import environment

ASSETS = search.ASSETS
MODES = {"batching": [], "one by one": ["--max-batch", "1"]}
HEAD = b'--x\r\nContent-Disposition: form-data; name="pictures"; filename="a"\r\n\r\n'


@dataclass(frozen=True)
class Workload:
    """What one request holds."""

    about: str
    path: str
    pictures: list[bytes]

    def form(self) -> bytes:
        """The body."""
        return b"".join(HEAD + picture + b"\r\n" for picture in self.pictures) + b"--x--\r\n"


def workloads() -> dict[str, Workload]:
    """Made of the portrait that comes with mien."""
    portrait = image.decode((ASSETS / "portrait.jpg").read_bytes(), "portrait")
    scaled = cv2.resize(portrait, (480, 480), interpolation=cv2.INTER_AREA)
    one = cv2.copyMakeBorder(scaled, 0, 0, 80, 80, cv2.BORDER_REPLICATE)
    many = np.tile(cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_AREA), (2, 4, 1))
    (crop,) = image.crops(portrait, detect.YuNet()(portrait))
    jpeg = [cv2.imencode(".jpg", picture)[1].tobytes() for picture in (one, many)]
    png = cv2.imencode(".png", crop)[1].tobytes()
    return {
        "one face": Workload("640x480 JPEG, one face", "/v1/predict", jpeg[:1]),
        "eight faces": Workload("1024x512 JPEG, eight faces", "/v1/predict", jpeg[1:]),
        "one crop": Workload("48x48 PNG, a face cut out", "/v1/predict?crops=true", [png]),
        "sixteen crops": Workload("sixteen 48x48 PNG, faces cut out", "/v1/predict?crops=true", [png] * 16),
    }


class Server:
    """`mien serve` on a free port."""

    def __init__(self, arguments: list[str]) -> None:
        command = [sys.executable, "-m", "mien", "serve", "--port", "0", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        found = re.search(r"http://([\d.]+):(\d+)", self.process.stdout.readline())
        assert found, "the server did not start"
        self.url, self.host, self.port = found[0], found[1], int(found[2])
        while not self.ready():
            time.sleep(0.1)

    def ready(self) -> bool:
        """Whether it would take a request now."""
        try:
            with urllib.request.urlopen(f"{self.url}/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def figures(self) -> Counter[str]:
        """Its metrics that have no labels."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        return Counter({name: float(value) for name, value in re.findall(r"^(\w+) ([\d.e+]+)$", text, re.MULTILINE)})

    def memory(self) -> float:
        """Resident MiB."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found
        return round(int(found[1]) / 1024, 1)

    def idle(self) -> None:
        """Wait until what was asked by clients that have left is done."""
        while self.figures()["mien_queue_pictures"]:
            time.sleep(0.1)

    def stop(self) -> None:
        """End it and wait."""
        self.process.terminate()
        self.process.wait(timeout=60)


def with_wrk(server: Server, workload: Workload, connections: int, seconds: float) -> dict[str, Any]:
    """Ask with wrk; see serve_load.lua for what it says."""
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
    """The same in Python, for where there is no wrk."""
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


def measured(server: Server, workload: Workload, connections: int, seconds: float) -> dict[str, Any]:
    """One server, one kind of request."""
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
        "pictures_per_second": round(rate * len(workload.pictures), 1),
        "statuses": {name: statuses.pop(name, 0) for name in ("200", "503", "429")} | {"other": sum(statuses.values())},
        "lost": found["lost"],
        "latency_ms": {name: round(found[name], 1) for name in ("p50", "p99")},
        "cpu_ms_per_request": round(passed["process_cpu_seconds_total"] / max(total, 1) * 1000, 1),
        "crops_per_call": round(passed["mien_batch_crops_sum"] / max(passed["mien_batch_crops_count"], 1), 1),
        "memory_mib": memory,
    }


@contextmanager
def servers(connections: int) -> Iterator[dict[str, Server]]:
    """One of each mode; the queue holds what all connections may send, so that no request is refused."""
    with ExitStack() as stack:
        started = {}
        for mode, arguments in MODES.items():
            started[mode] = Server(["--queue", str(16 * connections), *arguments])
            stack.callback(started[mode].stop)
        yield started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "serve_load.json")
    options = parser.parse_args()
    kinds = workloads()
    each = options.seconds / len(kinds) / len(MODES)
    client = "wrk" if shutil.which("wrk") else "Python"
    found: dict[str, Any] = {"client": client, "connections": options.connections, "seconds_each": each, "requests": {}}
    with servers(options.connections) as started:
        for name, workload in kinds.items():
            rows = {mode: measured(server, workload, options.connections, each) for mode, server in started.items()}
            ratio = rows["batching"]["requests_per_second"] / max(rows["one by one"]["requests_per_second"], 0.1)
            found["requests"][name] = {"about": workload.about, "ratio": round(ratio, 2), **rows}
            print(name, json.dumps(found["requests"][name], indent=1), flush=True)
    files.write_text(options.out, json.dumps(found | {"environment": environment()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
