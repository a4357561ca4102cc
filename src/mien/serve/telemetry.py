"""Telemetry: what Prometheus reads at /metrics, and the layer that counts every request."""

from __future__ import annotations

import logging
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_COUNTS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

logger = logging.getLogger("mien.serve")


class Telemetry:
    """The figures of one server. Routes are counted by their pattern, so that no client can invent new series."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("mien_requests", "Requests answered.", ("route", "method", "status"), registry=registry)
        self.latency = Histogram(
            "mien_request_seconds", "From the headers to the end of the answer.", ("route",), registry=registry,
            buckets=_SECONDS,
        )  # fmt: skip
        self.batch = Histogram(
            "mien_batch_crops", "Crops of a call of the network.", registry=registry, buckets=_COUNTS[1:]
        )
        self.faces = Histogram("mien_picture_faces", "Faces of a picture.", registry=registry, buckets=_COUNTS)
        self.queue = Gauge("mien_queue_pictures", "Pictures taken and not yet answered.", registry=registry)
        self.streams = Gauge("mien_streams", "Open WebSockets.", registry=registry)
        self.frames = Counter(
            "mien_stream_frames", "Frames of WebSockets: answered, skipped or failed.", ("outcome",), registry=registry
        )

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self.registry)

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """One request more."""
        route = getattr(scope.get("route"), "path", "") or "other"
        method = scope.get("method", "WEBSOCKET" if scope["type"] == "websocket" else "other")
        self.requests.labels(route, method if method in _METHODS | {"WEBSOCKET"} else "other", str(status)).inc()
        if scope["type"] == "http":  # a WebSocket lasts as long as its client wants
            self.latency.labels(route).observe(seconds)


class Counted:
    """ASGI layer that counts, and answers what nobody has foreseen with a short 500 that tells nothing."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app, self._telemetry = app, telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        status, start = 0, perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            if not status:
                status = _status(message)
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except ClientDisconnect:
            status = 499
        except Exception:
            logger.exception("unforeseen error on %s", getattr(scope.get("route"), "path", "a route"))
            if status or scope["type"] == "websocket":
                raise
            status = 500
            await JSONResponse({"detail": "an error of the server; its log says more"}, 500)(scope, receive, send)
        finally:
            self._telemetry.count(scope, status or 499, perf_counter() - start)


def _status(message: Message) -> int:
    """The status that a message announces, or 0; a WebSocket that opens is 101 and one that is refused 403."""
    kinds = {"websocket.accept": 101, "websocket.close": 403}
    return int(kinds.get(message["type"]) or message.get("status", 0))
