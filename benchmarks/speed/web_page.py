"""Measure how many frames a second the web page processes, in Chromium without a GPU, with a file as camera.

The camera gives 30 frames a second of 640x480 pixels with one face that moves in a circle. After a warm-up the answers
of the page's worker are counted. The worker's CPU time is read from /proc, because it hardly depends on other work on
the machine. Needs `make web`, chromium and playwright.

Usage: python -m benchmarks.speed.web_page [--seconds 20] [--warm 15] [--screenshot FILE] [--out FILE]     (Linux)
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks import harness
from mien.faces.onnx import ASSETS
from mien.media.image import decode

STATIC = harness.ROOT / "src/mien/serve/static"
SIZE, RATE = (640, 480), 30
FLAGS = ["--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
COUNT = """
window.answers = 0;
window.Worker = class extends Worker {
  constructor(...given) {
    super(...given);
    this.addEventListener("message", ({ data }) => (window.answers += data.answer?.faces ? 1 : 0));
  }
};
"""


class Handler(SimpleHTTPRequestHandler):
    """The page with the headers that `mien serve` sends."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript", ".wasm": "application/wasm"}

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def camera(path: Path) -> None:
    """Write two seconds of a face that moves on a circle; Chromium repeats the file."""
    portrait = decode((ASSETS / "portrait.jpg").read_bytes(), "portrait")
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{SIZE[0]} H{SIZE[1]} F{RATE}:1 Ip A1:1 C420jpeg\n".encode())
        for angle in np.linspace(0, 2 * np.pi, 2 * RATE, endpoint=False):
            move = np.array([[0.9, 0, 90 + 30 * np.cos(angle)], [0, 0.9, 10 + 15 * np.sin(angle)]])
            frame = cv2.warpAffine(portrait, move, SIZE, borderMode=cv2.BORDER_REPLICATE)
            file.write(b"FRAME\n" + cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420).tobytes())


def worker_time() -> int:
    """Return the CPU time in ms of all threads in which Chromium runs a worker."""
    total = 0
    for path in Path("/proc").glob("[0-9]*/task/*/stat"):
        try:
            text = path.read_text()
        except OSError:  # it has ended meanwhile
            continue
        if "DedicatedWorker" in text:
            fields = text.rpartition(")")[2].split()
            total += 10 * (int(fields[11]) + int(fields[12]))
    return total


def measure(page: Any, warm: float, seconds: float) -> dict[str, Any]:
    """Start the camera and count answers."""
    page.wait_for_selector("html[data-ready]", timeout=120_000)
    page.click("#start")
    page.wait_for_selector(".face .number:not(:empty)", timeout=60_000)
    page.wait_for_timeout(1000 * warm)
    read = "[performance.now() / 1000, window.answers]"
    (start, before), used = page.evaluate(read), worker_time()
    page.wait_for_timeout(1000 * seconds)
    (end, after), used = page.evaluate(read), worker_time() - used
    shown = re.search(r"([\d.]+) frames a second", page.inner_text("#status"))
    frames = after - before
    return {
        "frames_per_second": round(frames / (end - start), 1),
        "worker_cpu_ms_per_frame": round(used / max(frames, 1), 1),
        "camera_frames_per_second": float(shown[1]) if shown else None,
        "faces": page.locator(".face").count(),
        "seconds": round(end - start, 1),
        "isolated": page.evaluate("crossOriginIsolated"),
    }


def main() -> None:
    parser = harness.parser(__doc__, "web_page")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--warm", type=float, default=15)
    parser.add_argument("--screenshot", type=Path)
    parser.add_argument("--static", type=Path, default=STATIC, help="folder of another version of the page")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: Handler(*given, directory=str(options.static)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        film = Path(folder) / "face.y4m"
        camera(film)
        flags = [*FLAGS, f"--use-file-for-fake-video-capture={film}"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        page = browser.new_page(service_workers="block", viewport={"width": 1280, "height": 1200})
        page.add_init_script(COUNT)
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        found = measure(page, options.warm, options.seconds) | {"chromium": browser.version}
        if options.screenshot:
            page.screenshot(path=options.screenshot)
        browser.close()
    server.shutdown()
    harness.save(options.out, found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
