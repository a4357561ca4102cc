"""Metrics for Prometheus, served at /metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import Scope

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_COUNTS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET"})


class Metrics:
    """Metrics of one server. Routes are counted by pattern, so that clients cannot create new series."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("mien_requests", "Requests answered.", ("route", "method", "status"), registry=registry)
        self.latency = Histogram(
            "mien_request_seconds", "Seconds from the headers to the end of the answer.", ("route",),
            registry=registry, buckets=_SECONDS,
        )  # fmt: skip
        self.batch = Histogram(
            "mien_batch_crops", "Crops in a call of the network.", registry=registry, buckets=_COUNTS[1:]
        )
        self.faces = Histogram("mien_image_faces", "Faces in an image.", registry=registry, buckets=_COUNTS)
        self.queue = Gauge("mien_queue_images", "Images accepted and not yet finished.", registry=registry)
        self.streams = Gauge("mien_streams", "Open WebSockets.", registry=registry)
        self.frames = Counter(
            "mien_stream_frames", "WebSocket frames: answered, skipped or failed.", ("outcome",), registry=registry
        )

    @property
    def answered(self) -> int:
        """Number of requests answered."""
        samples = [sample for metric in self.requests.collect() for sample in metric.samples]
        return round(sum(sample.value for sample in samples if sample.name.endswith("_total")))

    def text(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self.registry)

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """Count one request."""
        route = getattr(scope.get("route"), "path", "") or "other"
        method = scope.get("method", "WEBSOCKET")
        self.requests.labels(route, method if method in _METHODS else "other", str(status)).inc()
        if scope["type"] == "http":  # a WebSocket lasts as long as its client wants
            self.latency.labels(route).observe(seconds)
