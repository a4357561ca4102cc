"""What `mien serve` stands: many connections that never pause, with batching and without, in one run on one machine.

Usage: python benchmarks/serve_load.py [--seconds 10] [--connections 64] [--picture FILE] [--json FILE]

Client and server share the processors, so the rates are lower bounds. Memory is the server's own (resident).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

PORTRAIT = Path(__file__).parents[1] / "src" / "mien" / "assets" / "portrait.jpg"


async def ask(host: str, port: int, request: bytes, streams: Any = None) -> tuple[int, bytes, Any]:
    """One request on an open connection or a new one: status, body, the connection."""
    reader, writer = streams or await asyncio.open_connection(host, port)
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    body = await reader.readexactly(int(length[1])) if length else b""
    return int(head.split()[1]), body, (reader, writer)


async def figures(host: str, port: int) -> dict[str, float]:
    """The server's metrics that have no labels."""
    _, body, (_, writer) = await ask(host, port, f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    writer.close()
    return {name: float(value) for name, value in re.findall(r"^(\w+) ([\d.e+]+)$", body.decode(), re.MULTILINE)}


async def load(host: str, port: int, picture: bytes, connections: int, seconds: float) -> dict[str, Any]:
    """Ask from all connections until the time is over; what came back."""
    form = b'--x\r\nContent-Disposition: form-data; name="pictures"; filename="a"\r\n\r\n' + picture + b"\r\n--x--\r\n"
    head = f"POST /v1/predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    request = f"{head}Content-Length: {len(form)}\r\n\r\n".encode() + form
    statuses: Counter[str] = Counter()
    latencies: list[float] = []
    before, start = await figures(host, port), perf_counter()

    async def client() -> None:
        streams = None
        while perf_counter() - start < seconds:
            asked = perf_counter()
            try:
                status, _, streams = await ask(host, port, request, streams)
            except (OSError, asyncio.IncompleteReadError) as error:
                statuses[type(error).__name__] += 1
                streams = None
                continue
            statuses[str(status)] += 1
            latencies.append(perf_counter() - asked)
        if streams:
            streams[1].close()

    await asyncio.gather(*(client() for _ in range(connections)))
    took, after = perf_counter() - start, await figures(host, port)
    calls = after["mien_batch_crops_count"] - before.get("mien_batch_crops_count", 0)
    crops = after["mien_batch_crops_sum"] - before.get("mien_batch_crops_sum", 0)
    cpu = after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]
    percentiles = np.percentile(latencies, [50, 95, 99]) * 1000
    return {
        "statuses": dict(statuses),
        "requests_per_second": round(statuses["200"] / took, 1),
        "latency_ms": {name: round(float(v), 1) for name, v in zip(("p50", "p95", "p99"), percentiles, strict=True)},
        "cpu_ms_per_request": round(cpu / max(len(latencies), 1) * 1000, 1),
        "crops_per_call": round(crops / max(calls, 1), 2),
        "rss_mib": [round(each["process_resident_memory_bytes"] / 2**20, 1) for each in (before, after)],
    }


def serve(max_batch: int, picture: bytes, connections: int, seconds: float) -> dict[str, Any]:
    """The same with a server of its own."""
    command = [sys.executable, "-m", "mien", "serve", "--port", "0", "--max-batch", str(max_batch)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://([\d.]+):(\d+)/", process.stdout.readline())
            assert found, "the server did not start"
            host, port = found[1], int(found[2])
            asyncio.run(load(host, port, picture, connections, 1.0))  # so that memory and caches have settled
            return asyncio.run(load(host, port, picture, connections, seconds))
        finally:
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--picture", type=Path, default=PORTRAIT)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = {"picture": options.picture.name, "connections": options.connections, "seconds": options.seconds}
    for name, max_batch in (("batching", 64), ("one by one", 1)):
        found[name] = serve(max_batch, options.picture.read_bytes(), options.connections, options.seconds)
        print(name, json.dumps(found[name]))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
