"""Who may ask: the Host and Origin of a request, the token, the rate; and the headers of every answer.

A server on one's own machine can be reached by every web page that this machine's browser shows. Three things keep
those pages out: the Host header must name this server (a page that has its own name point here, DNS rebinding, sends
that name), a POST or WebSocket with an Origin must come from this server's own page, and no CORS header is sent.
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
import math
from collections.abc import Iterable, Sequence
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mien.serve.limits import RateLimit

SUBPROTOCOL = "mien"
"""Of the WebSocket; a page offers it beside `bearer.<token>`, because it cannot send an Authorization header."""

CROWDED = "crowded"
"""In the state of a request when its connection is one too many; whoever listens sets it."""

CSP = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "worker-src 'self' blob:",
        "connect-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_ALWAYS = {
    "Content-Security-Policy": CSP,
    # Both together let WebAssembly use threads.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_PRIVATE = ("/v1/", "/metrics")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Hardened:
    """ASGI layer that puts the security headers on every answer; what is private is never cached."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""

        async def hardening(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                headers.update(_ALWAYS)
                headers.setdefault("Cache-Control", "no-store" if _is_private(scope) else "no-cache")
            await send(message)

        await self._app(scope, receive, hardening)


class Guard:
    """ASGI layer that refuses: 421 another Host, 403 another Origin, 401 no or a wrong token, 429 too often, and 503
    where there are too many connections."""

    def __init__(
        self, app: ASGIApp, token: str | None, hosts: Iterable[str], origins: Sequence[str], rate: RateLimit
    ) -> None:
        """Wrap an application.

        Args:
            app: what is behind.
            token: that the private routes ask for, or None for no token.
            hosts: names of this server besides localhost; addresses are always accepted, no page can have one point
                elsewhere.
            origins: of pages that may use it besides its own, such as "https://example.org".
            rate: for the routes under /v1/.
        """
        self._app, self._rate = app, rate
        self._token = token.encode() if token else b""
        self._hosts = frozenset(host.lower() for host in hosts) | {"localhost"}
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope, Headers(scope=scope))
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        if scope.get("state", {}).get(CROWDED) and _path(scope) != "/health":
            # Closed, so that the next one has room.
            return _refused(
                503, "too many connections; try again in a moment", {"Retry-After": "1", "Connection": "close"}
            )
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            return _refused(421, "the Host header does not name this server; start it with --allow-host to add a name")
        if (scope["type"] == "websocket" or scope["method"] not in _SAFE) and not self._may_come(
            headers.getlist("origin"), scope["scheme"], hosts[0]
        ):
            return _refused(403, "a page of another origin may not do this; start it with --allow-origin to let it")
        if not _is_private(scope):
            return None
        if self._token and not any(hmac.compare_digest(given, self._token) for given in _tokens(scope, headers)):
            return _refused(401, "send the token: Authorization: Bearer <token>", {"WWW-Authenticate": "Bearer"})
        if _path(scope).startswith("/v1/"):
            seconds = self._rate.wait(scope["client"][0] if scope.get("client") else "")
            if seconds:
                return _refused(429, "too many requests", {"Retry-After": str(math.ceil(seconds))})
        return None

    def _is_own(self, host: str) -> bool:
        name = _hostname(host)
        return name in self._hosts or _is_address(name)

    def _may_come(self, origins: list[str], scheme: str, host: str) -> bool:
        """Whether a request may change or read something; programs other than browsers send no Origin."""
        own = f"{'https' if scheme in ('https', 'wss') else 'http'}://{host}".lower()
        return all(origin.lower() == own or origin.lower() in self._origins for origin in origins)


def _refused(status: int, reason: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": reason}, status, headers)


def _is_private(scope: Scope) -> bool:
    return _path(scope).startswith(_PRIVATE)


def _path(scope: Scope) -> str:
    """The path without the prefix under which a proxy has mounted the server."""
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))


def _hostname(host: str) -> str:
    """The name or address of a Host header, lower case, without port and brackets; "" when it is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        return (parts.hostname or "").rstrip(".") if parts.netloc == host and "@" not in host else ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _tokens(scope: Scope, headers: Headers) -> list[bytes]:
    """What a client gives as its token; for a WebSocket also `?token=` or the subprotocol `bearer.<base64url>`."""
    found = []
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        found.append(credentials.strip().encode("latin-1"))
    if scope["type"] == "websocket":
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        found += [value.encode() for value in query.get("token", [])[:1]]
        for offered in scope.get("subprotocols", [])[:8]:
            if offered.startswith("bearer."):
                found.append(_unpadded(offered.removeprefix("bearer.")))
    return found


def _unpadded(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return b""
