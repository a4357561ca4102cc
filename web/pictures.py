"""Make docs/page.png and page-phone.png from the built page: `python web/pictures.py`, with Chromium and playwright."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.e2e.conftest import FLAGS, STATIC, Site  # noqa: E402


def main() -> None:
    """Take a picture of an analysed video on a desktop, and of the drawings on a phone, dark."""
    site = Site(STATIC)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        page = _opened(browser, site.url, viewport={"width": 1200, "height": 1170})
        page.click("[data-file='video.webm']")
        page.click("#analyse")
        page.wait_for_selector("#report:not([hidden])")
        page.evaluate("video.currentTime = 5")
        page.wait_for_selector("#headline:has-text('1 surprise')")
        page.evaluate("document.querySelector('#status').textContent = 'video.webm · 320×240 · 1 face'")  # no timing
        page.screenshot(path=ROOT / "docs/page.png")
        phone = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "device_scale_factor": 1.5}
        page = _opened(browser, site.url, **phone)
        page.click("[data-file='drawings.jpg']")
        page.wait_for_selector(".face >> nth=4")
        page.evaluate("document.activeElement.blur()")
        page.wait_for_timeout(500)
        page.screenshot(path=ROOT / "docs/page-phone.png")
        browser.close()
    site.stop()


def _opened(browser: Any, url: str, **settings: Any) -> Any:
    page = browser.new_context(service_workers="block", **settings).new_page()
    page.set_default_timeout(300_000)
    page.goto(url)
    page.wait_for_selector("html[data-ready]")
    return page


if __name__ == "__main__":
    main()
