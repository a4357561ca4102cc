"""Check that minutes of the live window and of the web page's camera leave memory flat: soak.json.

Both run at the same time. The live window shows a video that repeats at its own rate in place of a camera, with the
strip of the last 30 seconds, in a window of SDL's driver "dummy" if there is no screen, and writes a table. The page
runs in Chromium with a file as its camera. Every few seconds the memory of the window's process and of the page's
renderer is read: all that is resident, and the part of it that is the process's own, without files and memory shared
with other processes, such as the frames of the camera; and the page's JavaScript heap. The page and its worker collect
their garbage before. What counts is the mean of the first and the last minute, and the slope of a line: through all
values but those of the first minute, in which everything is loaded, and through the second half. The page keeps a row a
face and frame for its table.

Usage: python -m benchmarks.reliability.soak VIDEO [--minutes 10] [--every 20] [--out FILE]
(Linux; needs `make web`, chromium, playwright and the extra `live`)
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from http.server import ThreadingHTTPServer
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks import harness
from benchmarks.speed import web_page
from mien import runner
from mien.live.viewer import Viewer
from mien.live.window import Window
from mien.media.video import Video
from mien.pipeline import Pipeline
from mien.types import Frame, Image
from mien.video_pipeline import VideoPipeline

RATE, SIZE = 30.0, (640, 480)
FRAMES = 120
"""Frames of the video that are repeated."""

Samples = list[tuple[float, float]]
"""Seconds and MB."""


class Memory:
    """Resident memory of a process, and its own part of it, over time."""

    def __init__(self, process: int | str = "self") -> None:
        self._status = Path(f"/proc/{process}/status")
        self._resident: Samples = []
        self._own: Samples = []

    def read(self, seconds: float) -> None:
        text = self._status.read_text()
        for samples, name in ((self._resident, "VmRSS"), (self._own, "RssAnon")):
            found = re.search(rf"{name}:\s+(\d+) kB", text)
            assert found
            samples.append((seconds, 1.024e-3 * int(found[1])))

    def summary(self) -> dict[str, Any]:
        return {"resident": summary(self._resident), "own": summary(self._own)}


def read_frames(path: Path) -> list[Image]:
    """Return the first frames of a video, fitted into SIZE with black around."""
    images = (item.image for item in Video(path) if isinstance(item, Frame))
    return [fitted(image) for image in islice(images, FRAMES)]


def fitted(image: Image) -> Image:
    scale = min(SIZE[0] / image.shape[1], SIZE[1] / image.shape[0])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    canvas = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    top, left = (SIZE[1] - small.shape[0]) // 2, (SIZE[0] - small.shape[1]) // 2
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return canvas


class VirtualCamera:
    """A camera that shows images again and again at RATE."""

    def __init__(self, images: list[Image]) -> None:
        self.name, self.kind, self.rate = "virtual camera", "camera", RATE
        self.ended = False
        self.skipped = 0
        self._images, self._start, self._last = images, time.monotonic(), -1

    def get(self, timeout: float | None = None) -> Frame | None:
        """Return the newest frame, or None when there is none within `timeout` seconds."""
        if self.ended:
            return None
        due = self._start + (self._last + 1) / RATE - time.monotonic()
        time.sleep(max(min(due, timeout or due), 0.0))
        newest = int((time.monotonic() - self._start) * RATE)
        if newest == self._last:
            return None
        self.skipped += newest - self._last - 1
        self._last = newest
        return Frame(self._images[newest % len(self._images)].copy(), newest, newest / RATE, self.name)

    def close(self) -> None:
        self.ended = True


def live(video: Path, minutes: float, every: float) -> dict[str, Any]:
    """Run the live window, and read this process's memory."""
    if "DISPLAY" not in os.environ:
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    memory, count = Memory(), 0
    pipeline = Pipeline()
    before = set(threading.enumerate())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tables = runner.tables(stack, pipeline.classifier.labels, None, folder / "soak.csv", None)
        window = stack.enter_context(Window())
        camera = VirtualCamera(read_frames(video))
        viewer = Viewer(camera, VideoPipeline(pipeline), tables, window, mirror=True)
        viewer.press("t")
        start = time.monotonic()
        while (passed := time.monotonic() - start) < 60 * minutes:
            viewer.step()
            if passed >= every * count:
                memory.read(passed)
                count += 1
        frames = camera._last + 1 - camera.skipped
    left = [thread.name for thread in set(threading.enumerate()) - before]
    driver = os.environ.get("SDL_VIDEODRIVER", "")
    found = {"frames": frames, "dropped": camera.skipped, "driver": driver, "threads_left": left}
    return found | memory.summary()


def page(video: Path, minutes: float, every: float) -> dict[str, Any]:
    """Run the page with a camera, and read the memory of its renderer and its heap."""
    from playwright.sync_api import sync_playwright

    heap: Samples = []
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *given: web_page.Handler(*given, directory=str(web_page.STATIC))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        film = Path(folder) / "camera.y4m"
        with film.open("wb") as file:
            file.write(f"YUV4MPEG2 W{SIZE[0]} H{SIZE[1]} F{RATE:.0f}:1 Ip A1:1 C420jpeg\n".encode())
            for image in read_frames(video):
                file.write(b"FRAME\n" + cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).tobytes())
        flags = [*web_page.FLAGS, f"--use-file-for-fake-video-capture={film}", "--js-flags=--expose-gc"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        shown = browser.new_page(service_workers="block", viewport={"width": 1280, "height": 900})
        shown.add_init_script(web_page.COUNT)
        shown.goto(f"http://127.0.0.1:{server.server_port}/")
        shown.wait_for_selector("html[data-ready]", timeout=120_000)
        shown.click("#start")
        shown.wait_for_selector(".face .number:not(:empty)", timeout=60_000)
        memory = Memory(renderer(browser))
        debugger = shown.context.new_cdp_session(shown)
        start = time.monotonic()
        while (passed := time.monotonic() - start) <= 60 * minutes:
            for realm in (shown, *shown.workers):
                realm.evaluate("gc()")
            heap.append((passed, debugger.send("Runtime.getHeapUsage")["usedSize"] / 1e6))
            memory.read(passed)
            shown.wait_for_timeout(1000 * max(every * len(heap) - (time.monotonic() - start), 0))
        answers = shown.evaluate("window.answers")
        found = {"chromium": browser.version, "frames": answers, "faces": shown.locator(".face").count()}
        browser.close()
    server.shutdown()
    return found | memory.summary() | {"heap": summary(heap)}


def renderer(browser: Any) -> int:
    """Return the id of the renderer process with the most memory."""
    debugger = browser.new_browser_cdp_session()
    processes = debugger.send("SystemInfo.getProcessInfo")["processInfo"]
    ids = [int(process["id"]) for process in processes if process["type"] == "renderer"]
    debugger.detach()
    return max(ids, key=harness.resident_mb)


def summary(samples: Samples) -> dict[str, Any]:
    """Return means of the first and last minute and the peak in MB, and slopes in MB a minute."""
    seconds, values = np.array(samples).T

    def slope(since: float) -> float:
        late = seconds >= since
        return round(60 * float(np.polyfit(seconds[late], values[late], 1)[0]), 3)

    return {
        "first_minute_mb": round(float(values[seconds < 60].mean()), 1),
        "last_minute_mb": round(float(values[seconds > seconds[-1] - 60].mean()), 1),
        "peak_mb": round(float(values.max()), 1),
        "slope_mb_per_minute": slope(min(60.0, seconds[-1] / 2)),
        "slope_second_half_mb_per_minute": slope(seconds[-1] / 2),
        "mb": values.round(1).tolist(),
    }


def send(part: Callable[..., dict[str, Any]], given: tuple[Any, ...], to: Connection) -> None:
    to.send(part(*given))


def main() -> None:
    parser = harness.parser(__doc__, "soak")
    parser.add_argument("video", type=Path, help="a video of a face")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=20.0, help="seconds between two readings")
    options = parser.parse_args()
    values = {"minutes": options.minutes, "every": options.every, **measure(options)}
    harness.save(options.out, values)
    print(json.dumps(values))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    given = (options.video, options.minutes, options.every)
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=send, args=(live, given, there))
    process.start()
    there.close()  # so that `recv` ends if the process does
    shown = page(*given)
    found = {"live": here.recv(), "page": shown}
    process.join()
    return found


if __name__ == "__main__":
    main()
