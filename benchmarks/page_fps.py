"""How many frames a second the web page looks at, in Chromium without a GPU, with a file in place of the camera.

The camera gives 30 frames a second of 640x480 with one face that moves in a circle. After a warm-up, in which Chromium
compiles, answers of the page's worker are counted for some seconds; the worker's own time on a processor is read from
/proc, since it hardly depends on what else the machine does. Needs `make web`, chromium and playwright.

Usage: python benchmarks/page_fps.py [--seconds 20] [--warm 15] [--screenshot FILE] [--out FILE]     (Linux)
"""

from __future__ import annotations

import argparse
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
from playwright.sync_api import sync_playwright

from mien import files, image, runtime, search
from mien.report_page import environment

STATIC = Path(__file__).parents[1] / "src/mien/serve/static"
SIZE, RATE = (640, 480), 30
FLAGS = ["--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
COUNT = """
window.answers = 0;
window.Worker = class extends Worker {
  constructor(...given) {
    super(...given);
    this.addEventListener("message", ({ data }) => (window.answers += data.faces ? 1 : 0));
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
    """Two seconds of a face on a circle, as the file that Chromium plays again and again."""
    portrait = image.decode((search.ASSETS / "portrait.jpg").read_bytes(), "portrait")
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{SIZE[0]} H{SIZE[1]} F{RATE}:1 Ip A1:1 C420jpeg\n".encode())
        for angle in np.linspace(0, 2 * np.pi, 2 * RATE, endpoint=False):
            move = np.array([[0.9, 0, 90 + 30 * np.cos(angle)], [0, 0.9, 10 + 15 * np.sin(angle)]])
            frame = cv2.warpAffine(portrait, move, SIZE, borderMode=cv2.BORDER_REPLICATE)
            file.write(b"FRAME\n" + cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420).tobytes())


def worker_time() -> int:
    """Processor time in ms of all threads in which pages of this machine's Chromium run a worker."""
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


def measured(page: Any, warm: float, seconds: float) -> dict[str, Any]:
    """Start the camera and count."""
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--warm", type=float, default=15)
    parser.add_argument("--screenshot", type=Path)
    parser.add_argument("--static", type=Path, default=STATIC, help="folder of another version of the page")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "page_fps.json")
    options = parser.parse_args()
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
        found = measured(page, options.warm, options.seconds) | {"chromium": browser.version}
        if options.screenshot:
            page.screenshot(path=options.screenshot)
        browser.close()
    server.shutdown()
    found |= {"cores_used": runtime.cores(), "environment": environment()}
    files.write_text(options.out, json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
