"""create_app: the ASGI application."""

from __future__ import annotations

import logging
import mimetypes
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

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

# Browsers run scripts and modules of these types only, and the system's own table may be wrong.
_MEDIA_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}

_ABOUT = """Finds faces and classifies their expression, with probabilities.

Besides the routes below there is a WebSocket at `/v1/stream`: image files as binary messages in, JSON out, with face
ids and smoothing over time."""


def create_app(
    pipeline: Pipeline | None = None,
    *,
    token: str | None = None,
    hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
    limits: Limits | None = None,
    static: Path = STATIC,
    quick_search: bool = False,
) -> FastAPI:
    """Create the server as an ASGI application, for `mien serve` or any ASGI server.

    Args:
        pipeline: None for the default one.
        token: required by /v1/ and /metrics; None only for a server that other machines cannot reach.
        hosts: names of the server besides localhost, 127.0.0.1 and [::1]; "*" for any, which needs a token.
        origins: of web pages that may use it besides its own (CORS), such as "https://example.org".
        limits: None for the defaults.
        static: folder of the web page, served at / when it exists.
        quick_search: search an image that one large face fills at half size only, see `Pipeline.detect`.
    """
    limits = limits or Limits()
    metrics = Metrics()
    engine = Engine(pipeline or load(), limits, metrics, quick_search)
    metrics.queue.set_function(lambda: engine.pending)
    metrics.streams.set_function(lambda: engine.streams)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            await engine.warm()
        except Exception:
            logging.getLogger("mien.serve").exception("the pipeline does not work")
            raise
        yield
        await engine.close()

    # FastAPI's documentation pages load scripts from elsewhere, which the CSP forbids.
    app = FastAPI(
        title="mien", description=_ABOUT, version=mien.__version__, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    # The page's own files take precedence: its detector accepts images of any size.
    models = {path.stem: path for folder in (ASSETS, static / "models") for path in folder.glob("*.onnx")}
    app.state.serving = Serving(engine, Uploads(limits), metrics, limits, models)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(QueueFull, _queue_full)
    # The last one added is the outermost.
    app.add_middleware(AccessMiddleware, token=token, origins=origins, rate=RateLimit(limits.rate, limits.burst))
    names = ["localhost", "127.0.0.1", "[::1]", *(f"[{host}]" if host.count(":") > 1 else host for host in hosts)]
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=names, www_redirect=False)
    if origins:
        headers = ["Authorization", "Content-Type"]
        app.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST"], allow_headers=headers)
    app.add_middleware(MetricsMiddleware, metrics=metrics)
    app.add_middleware(SecurityHeadersMiddleware)
    app.include_router(router)
    if static.is_dir():
        for suffix, media_type in _MEDIA_TYPES.items():
            mimetypes.add_type(media_type, suffix)
        # Not a mount, which would accept WebSockets.
        app.router.routes.append(Route("/{path:path}", StaticFiles(directory=static, html=True)))
    return app


def has_page() -> bool:
    """Whether the web page's models and runtime, which `make web` collects, are there."""
    return all((STATIC / name).is_file() for name in ("models/models.json", "vendor/ort.wasm.min.mjs"))


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """Answer an invalid parameter. FastAPI's own answer would repeat what was sent."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return JSONResponse({"detail": f"{'.'.join(map(str, first['loc']))}: {first['msg']}"}, 422)


async def _queue_full(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 503, RETRY)
