"""Middleware: access to the server, metrics, and the headers of every answer.

Every web page shown on a machine can reach a server on that machine. Three checks keep those pages out: the Host
header must name this server (against DNS rebinding; starlette's TrustedHostMiddleware), a POST or WebSocket with an
Origin must come from this server's own page, and no CORS header is sent.
"""

from __future__ import annotations

import base64
import hmac
import logging
import math
from collections.abc import Sequence
from contextlib import suppress
from time import perf_counter
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mien.serve.limits import RateLimit
from mien.serve.metrics import Metrics

SUBPROTOCOL = "mien"
"""Subprotocol of the WebSocket. Web pages offer it beside `bearer.<token>`, since they cannot set headers."""

CROWDED = "crowded"
"""Key in the state of a request whose connection is one too many; the server sets it."""

CSP = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; connect-src 'self'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)

_SECURITY_HEADERS = {
    "Content-Security-Policy": CSP,
    # Both together allow threads in WebAssembly.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_PRIVATE = ("/v1/", "/metrics")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

logger = logging.getLogger("mien.serve")


class SecurityHeadersMiddleware:
    """Adds the security headers to every answer; private answers are never cached."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                headers.update(_SECURITY_HEADERS)
                headers.setdefault("Cache-Control", "no-store" if _path(scope).startswith(_PRIVATE) else "no-cache")
            await send(message)

        await self._app(scope, receive, send if scope["type"] == "lifespan" else send_with_headers)


class AccessMiddleware:
    """Refuses requests: 400 smuggled, 401 missing token, 403 foreign Origin, 429 too often, 503 too many connections.

    Args:
        app: the application behind it.
        token: required by the private routes, or None.
        origins: of web pages that may use the server besides its own, such as "https://example.org".
        rate: limit for the routes under /v1/.
    """

    def __init__(self, app: ASGIApp, token: str | None, origins: Sequence[str], rate: RateLimit) -> None:
        self._app, self._rate = app, rate
        self._token = token.encode() if token else b""
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = None if scope["type"] == "lifespan" else self._refusal(scope, Headers(scope=scope))
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        if "content-length" in headers and "transfer-encoding" in headers:  # a proxy may read it as another request
            return _refuse(400, "send Content-Length or Transfer-Encoding, not both", {"Connection": "close"})
        if scope.get("state", {}).get(CROWDED) and _path(scope) != "/health":
            wait = {"Retry-After": "1", "Connection": "close"}  # closed, so that the next one has room
            return _refuse(503, "too many connections; try again in a moment", wait)
        if (scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS) and not self._same_origin(
            scope, headers
        ):
            return _refuse(403, "a page of another origin may not do this; allow it with --allow-origin")
        if not _path(scope).startswith(_PRIVATE):
            return None
        if self._token and not any(hmac.compare_digest(token, self._token) for token in _tokens(scope, headers)):
            return _refuse(401, "send the token: Authorization: Bearer <token>", {"WWW-Authenticate": "Bearer"})
        if _path(scope).startswith("/v1/"):
            seconds = self._rate.wait(scope["client"][0] if scope.get("client") else "")
            if seconds:
                return _refuse(429, "too many requests", {"Retry-After": str(math.ceil(seconds))})
        return None

    def _same_origin(self, scope: Scope, headers: Headers) -> bool:
        """Whether the request comes from an allowed page, or from a program, which sends no Origin."""
        scheme = "https" if scope["scheme"] in ("https", "wss") else "http"
        allowed = self._origins | {f"{scheme}://{headers.get('host', '')}".lower()}
        return all(origin.lower() in allowed for origin in headers.getlist("origin"))


class MetricsMiddleware:
    """Counts requests, and answers an unhandled error with a generic 500."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        status, start = 0, perf_counter()

        async def send_and_note(message: Message) -> None:
            nonlocal status
            status = status or _status(message)
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except ClientDisconnect:
            status = 499
        except Exception:
            logger.exception("unhandled error on %s", getattr(scope.get("route"), "path", "a route"))
            if status or scope["type"] == "websocket":
                raise
            status = 500
            await JSONResponse({"detail": "internal error; see the log of the server"}, 500)(scope, receive, send)
        finally:
            self._metrics.count(scope, status or 499, perf_counter() - start)


def _refuse(status: int, reason: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": reason}, status, headers)


def _path(scope: Scope) -> str:
    """The path without the prefix under which a proxy has mounted the server."""
    return str(scope.get("path", "")).removeprefix(scope.get("root_path", ""))


def _status(message: Message) -> int:
    """The status that a message announces, or 0; 101 for an accepted WebSocket and 403 for a refused one."""
    websocket = {"websocket.accept": 101, "websocket.close": 403}
    return int(websocket.get(message["type"]) or message.get("status", 0))


def _tokens(scope: Scope, headers: Headers) -> list[bytes]:
    """The tokens of a request; for a WebSocket also `?token=` and the subprotocol `bearer.<base64url>`."""
    tokens = []
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        tokens.append(credentials.strip().encode("latin-1"))
    if scope["type"] == "websocket":
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        tokens += [value.encode() for value in query.get("token", [])[:1]]
        for offered in scope.get("subprotocols", [])[:8]:
            text = offered.removeprefix("bearer.")
            with suppress(ValueError):
                tokens.append(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return tokens
