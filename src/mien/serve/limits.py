"""Limits of a server, and the rate limit of a client."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields
from time import monotonic

from mien.errors import ConfigError

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a server accepts. All values are positive; a `rate` of 0 means no limit.

    Attributes:
        body_bytes: Bytes of a request; more is answered with 413.
        frame_bytes: Bytes of a WebSocket frame; a larger one closes the connection with code 1009.
        buffered_bytes: Bytes of all uploads in memory together; more is answered with 503.
        pixels: Pixels of an image, as declared in its header.
        images: Images in a request; more is answered with 413.
        faces: Faces classified in an image, the largest first.
        queue: Images accepted and not yet answered; more is answered with 503.
        streams: Open WebSockets.
        connections: Open connections; beyond it everything but /health is answered with 503.
        header_seconds: Seconds for the request line and headers to arrive.
        read_seconds: Seconds for a body to arrive, then 408; and for a client to read its answer.
        work_seconds: Seconds to compute an answer, then 503.
        idle_seconds: Seconds without a frame before a WebSocket is closed.
        rate: Requests per second of one client, then 429; 0 for no limit.
        burst: Requests that a client may send at once before `rate` applies.
        max_batch: Faces in one call of the network; 1 turns batching off.
        max_wait: Seconds that a face waits for others to share its call.
        threads: Images searched for faces at the same time; 0 for one per available core.
    """

    body_bytes: int = 16 * _MIB
    frame_bytes: int = 4 * _MIB
    buffered_bytes: int = 256 * _MIB
    pixels: int = 25_000_000
    images: int = 16
    faces: int = 64
    queue: int = 128
    streams: int = 16
    connections: int = 512
    header_seconds: float = 10.0
    read_seconds: float = 30.0
    work_seconds: float = 30.0
    idle_seconds: float = 60.0
    rate: float = 0.0
    burst: int = 20
    max_batch: int = 64
    max_wait: float = 0.003
    threads: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name in ("rate", "max_wait", "threads") else 1 if isinstance(value, int) else 1e-3
            if not least <= value < float("inf"):  # also rejects NaN
                raise ConfigError(f"{field.name} is {value}; give a number of at least {least}")
        if self.images > self.queue:
            raise ConfigError(f"images is {self.images} but queue is {self.queue}; a full request must fit the queue")


class RateLimit:
    """A token bucket for each client: `burst` requests at once, then `rate` per second. Not thread-safe."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = monotonic, clients: int = 10_000) -> None:
        """Remember the last `clients` clients; a forgotten one starts with a full bucket again."""
        self._rate, self._burst, self._clock, self._clients = rate, burst, clock, clients
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens left, and when

    def wait(self, address: str) -> float:
        """Take a token of this client. Return 0, or the seconds to wait when there is none."""
        if not self._rate:
            return 0.0
        client, now = _client(address), self._clock()
        left, then = self._buckets.pop(client, (float(self._burst), now))
        left = min(left + (now - then) * self._rate, float(self._burst))
        missing = max(1 - left, 0.0)
        self._buckets[client] = (left if missing else left - 1, now)
        if len(self._buckets) > self._clients:
            self._buckets.popitem(last=False)
        return missing / self._rate


def _client(address: str) -> str:
    """The IPv4 address, or the /64 network of an IPv6 address, all of which belongs to one client."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:  # a Unix socket, or a name in a test
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped:  # a dual-stack socket shows IPv4 clients as ::ffff:192.0.2.1
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
