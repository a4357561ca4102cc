"""A browser and a server for the page; where one of them cannot be had, the tests of this folder are skipped."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "src/mien/serve/static"
POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; media-src 'self' blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Site(ThreadingHTTPServer):
    """A folder on a port of the loopback, with the headers that a good server sends, or without.

    Attributes:
        paths: what was asked for, in order.
        bodies: number of requests that carried a body.
        altered: what is answered in place of a file, by path; None for 404.
        moved: where a path is redirected to.
    """

    daemon_threads = True

    def __init__(self, folder: Path, headers: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
        self.paths: list[str] = []
        self.bodies = 0
        self.headers = headers
        self.altered: dict[str, bytes | None] = {}
        self.moved: dict[str, str] = {}
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Answer no more; calling it twice does no harm."""
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
            self.server_close()


class _Handler(SimpleHTTPRequestHandler):
    server: Site
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".webmanifest": "application/manifest+json",
        ".onnx": "application/octet-stream",
    }

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        content = self.server.altered.get(self.path, b"")
        if self.path in self.server.moved:
            self.send_response(302)
            self.send_header("Location", self.server.moved[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif content is None:
            self.send_error(404)
        elif content:
            self.send_response(200)
            self.send_header("Content-Type", self.guess_type(self.path))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        else:
            super().do_GET()

    def do_POST(self) -> None:
        self.server.bodies += 1
        self.send_error(405)

    do_PUT = do_POST

    def end_headers(self) -> None:
        if self.server.headers:
            self.send_header("Content-Security-Policy", POLICY)
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


# Playwright runs an event loop in this thread as long as it is started: no longer than a module, for other tests have
# loops of their own.
@pytest.fixture(scope="module")
def launch() -> Iterator[Callable[..., Any]]:
    """launch(*flags) starts Chromium; all of them end with the module."""
    api = pytest.importorskip("playwright.sync_api", reason="browser tests need playwright: pip install playwright")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("browser tests need Debian's browser: apt-get install chromium")
    if not all((STATIC / name).exists() for name in ("models/models.json", "vendor/ort.wasm.min.mjs")):
        pytest.skip("browser tests need the page's runtime and models: make web (it needs npm)")
    with api.sync_playwright() as playwright:
        started: list[Any] = []

        def start(*flags: str) -> Any:
            started.append(playwright.chromium.launch(executable_path=path, args=[*FLAGS, *flags]))
            return started[-1]

        yield start
        for browser in started:
            browser.close()


@pytest.fixture
def site() -> Iterator[Site]:
    server = Site(STATIC)
    yield server
    server.stop()
