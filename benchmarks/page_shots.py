"""Pictures of the web page for the documents: on a desktop, light, and on a phone, dark; the portrait is the camera.

The page is the one that `mien serve` delivers. Needs `make web`, chromium and playwright.

Usage: python benchmarks/page_shots.py [--seconds 12] [--out docs]
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from page_fps import FLAGS, RATE, SIZE
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from mien import draw, image, search

SHOTS = {
    "page.png": {"viewport": {"width": 1200, "height": 1066}, "color_scheme": "light"},
    "page-phone.png": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
}


def camera(path: Path) -> None:
    """Four seconds of the portrait, which sways and turns a little, as the file that Chromium plays again and again."""
    portrait = image.decode((search.ASSETS / "portrait.jpg").read_bytes(), "portrait")
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{SIZE[0]} H{SIZE[1]} F{RATE}:1 Ip A1:1 C420jpeg\n".encode())
        for angle in np.linspace(0, 2 * np.pi, 4 * RATE, endpoint=False):
            move = cv2.getRotationMatrix2D((225, 120), 6 * np.sin(angle), 1.6)
            move[:, 2] += (90 + 12 * np.cos(angle), 70 + 6 * np.sin(2 * angle))
            frame = cv2.warpAffine(portrait, move, SIZE, borderMode=cv2.BORDER_REFLECT)
            file.write(b"FRAME\n" + cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420).tobytes())


def shoot(browser: Browser, url: str, settings: dict[str, object], seconds: float, path: Path) -> None:
    """The page after some seconds of the camera, so that the timeline shows something."""
    context = browser.new_context(service_workers="block", **settings)
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("html[data-ready]", timeout=120_000)
    page.click("#start")
    page.wait_for_selector(".face .number:not(:empty)", timeout=60_000)
    page.wait_for_timeout(1000 * seconds)
    page.screenshot(path=path)
    context.close()
    packed(path)


def packed(path: Path) -> None:
    """Write a PNG anew with 256 colours, a third of the size: mien's own, which are rare, and what fits the rest."""
    with Image.open(path) as shot:
        whole = shot.convert("RGB")
    own = [value for blue, green, red in draw.COLOURS.values() for value in (red, green, blue)]
    others = whole.quantize(256 - len(own) // 3).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette(own + others)
    whole.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs")
    options = parser.parse_args()
    command = [sys.executable, "-m", "mien", "serve", "--port", "0"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
        sync_playwright() as playwright,
    ):
        try:
            assert server.stdout is not None
            said = server.stdout.readline()
            found = re.search(r"http://\S+", said)
            assert found, said
            film = Path(folder) / "face.y4m"
            camera(film)
            flags = [*FLAGS, f"--use-file-for-fake-video-capture={film}"]
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
            for name, settings in SHOTS.items():
                shoot(browser, found[0], settings, options.seconds, options.out / name)
                print(f"{options.out / name}: {(options.out / name).stat().st_size // 1000} kB")
            browser.close()
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
