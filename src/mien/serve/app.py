"""create_app: the ASGI application."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

import mien
from mien.faces.onnx import ASSETS
from mien.pipeline import Pipeline
from mien.serve.engine import Engine, QueueFull, load
from mien.serve.limits import Limits, RateLimit
from mien.serve.metrics import Metrics
from mien.serve.middleware import AccessMiddleware, MetricsMiddleware, SecurityHeadersMiddleware
from mien.serve.routes import RETRY, Serving, router
from mien.serve.uploads import Uploads

STATIC = Path(__file__).parent / "static"

_KINDS = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}

_ABOUT = """Finds faces and says how each looks, with probabilities.

Besides the routes below there is a WebSocket at `/v1/stream`: picture files as binary messages in, JSON out, with ids
and smoothing over time."""


def create_app(
    pipeline: Pipeline | None = None,
    *,
    token: str | None = None,
    hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
    limits: Limits | None = None,
    static: Path = STATIC,
) -> FastAPI:
    """The server as an ASGI application, for `mien serve` or any ASGI server.

    Args:
        pipeline: what looks at the pictures; None for the default one.
        token: that /v1/ and /metrics ask for, or None for none: only for a server that other machines cannot reach.
        hosts: names under which it is reached, besides localhost and addresses.
        origins: of web pages that may use it besides its own (CORS), such as "https://example.org".
        limits: None for the defaults.
        static: folder of the page, served at / when it exists.

    Raises:
        ModelError: the default model is missing or damaged.
    """
    limits = limits or Limits()
    telemetry = Metrics()
    engine = Engine(pipeline or load(), limits, telemetry.faces.observe, telemetry.batch.observe)
    telemetry.queue.set_function(lambda: engine.inside)
    telemetry.streams.set_function(lambda: engine.streams)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await engine.warm()
        yield
        await engine.close()

    # FastAPI's own pages for the description load scripts from elsewhere, which the CSP forbids.
    app = FastAPI(
        title="mien", description=_ABOUT, version=mien.__version__, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    # The page's own files come first: its detector takes pictures of any size.
    models = {path.stem: path for folder in (ASSETS, static / "models") for path in folder.glob("*.onnx")}
    app.state.serving = Serving(engine, Uploads(limits), telemetry, limits, models)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(QueueFull, _queue_full)
    # The last one added is the outermost.
    app.add_middleware(
        AccessMiddleware, token=token, hosts=hosts, origins=origins, rate=RateLimit(limits.rate, limits.burst)
    )
    if origins:
        allowed = ["Authorization", "Content-Type"]
        app.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST"], allow_headers=allowed)
    app.add_middleware(MetricsMiddleware, telemetry=telemetry)
    app.add_middleware(SecurityHeadersMiddleware)
    app.include_router(router)
    if static.is_dir():
        # The system's own table may be wrong, and browsers run no script or module of another type.
        for suffix, kind in _KINDS.items():
            mimetypes.add_type(kind, suffix)
        app.mount("/", _Page(directory=static, html=True), name="page")
    return app


class _Page(StaticFiles):
    """The files of the page; a WebSocket to one of them is refused."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await super().__call__(scope, receive, send)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """A parameter that is not as described; FastAPI's own answer would repeat what was sent."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return JSONResponse({"detail": f"{'.'.join(map(str, first['loc']))}: {first['msg']}"}, 422)


async def _queue_full(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 503, RETRY)
