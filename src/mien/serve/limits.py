"""What a server takes on at most, and how often one client may ask."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields
from time import monotonic

from mien.types import ConfigError

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a server takes on. All are positive; `rate` of 0 means no limit.

    Attributes:
        body_bytes: Bytes of a request; more is answered with 413.
        frame_bytes: Bytes of a picture on the WebSocket; more closes it with code 1009.
        buffered_bytes: Bytes of all requests in memory together; more is answered with 503.
        pixels: Pixels that a picture may declare.
        pictures: Pictures of a request; more is answered with 413.
        faces: Faces of a picture that are classified, the largest first.
        queue: Pictures taken and not yet answered; more is answered with 503.
        streams: WebSockets at the same time.
        connections: Connections at the same time; on more, all but /health is answered with 503.
        header_seconds: Seconds for a request line and its headers to arrive.
        read_seconds: Seconds for a body to arrive, then 408; and for a client to take what it was sent.
        work_seconds: Seconds for the answer to be found, then 503.
        idle_seconds: Seconds without a frame after which a WebSocket is closed.
        rate: Requests a second of one client, then 429; 0 for no limit.
        burst: Requests that a client may make at once before `rate` counts.
        max_batch: Faces that go to the network in one call; 1 turns batching off.
        max_wait: Seconds that a face waits for others to share its call.
        threads: Pictures that are searched for faces at the same time; 0 for one a processor that it may use.
    """

    body_bytes: int = 16 * _MIB
    frame_bytes: int = 4 * _MIB
    buffered_bytes: int = 256 * _MIB
    pixels: int = 25_000_000
    pictures: int = 16
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
            # Written so that NaN fails it too.
            if not least <= value < float("inf"):
                raise ConfigError(f"{field.name} is {value}; give a number of at least {least}")
        if self.pictures > self.queue:
            raise ConfigError(f"pictures is {self.pictures} and queue {self.queue}; a full request must fit the queue")


class RateLimit:
    """A token bucket a client: `burst` requests at once, then `rate` a second. For one thread."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = monotonic, clients: int = 10_000) -> None:
        """Start with full buckets.

        Args:
            rate: requests a second; 0 for no limit.
            burst: size of a bucket.
            clock: seconds, for tests.
            clients: how many are remembered, the latest; one that was forgotten has a full bucket.
        """
        self._rate, self._burst, self._clock, self._clients = rate, burst, clock, clients
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what was left, and when

    def wait(self, address: str) -> float:
        """Take a request from a client's bucket: 0 when it may go on, else the seconds after which it may."""
        if not self._rate:
            return 0.0
        client, now = _network(address), self._clock()
        left, then = self._buckets.pop(client, (float(self._burst), now))
        left = min(left + (now - then) * self._rate, float(self._burst))
        missing = max(1 - left, 0.0)
        self._buckets[client] = (left if missing else left - 1, now)
        if len(self._buckets) > self._clients:
            self._buckets.popitem(last=False)
        return missing / self._rate


def _network(address: str) -> str:
    """The client behind an address: of IPv6 the /64, of which one client has all addresses."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:  # a name given by a test or a Unix socket
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address
