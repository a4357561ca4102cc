"""Listening: where the server may, and uvicorn with deadlines for slow clients."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import cv2
import h11
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mien.errors import ConfigError
from mien.serve.limits import Limits
from mien.serve.middleware import CROWDED

_TOKEN_LENGTH = 16  # characters at least; shorter tokens can be guessed
_CONNECTION = "connection"  # key in the state of a request


def bind(host: str, port: int, token: str | None) -> socket.socket:
    """Open a port, 0 for any free one, or raise ConfigError. A port that other machines can reach needs a token."""
    if len(token or "") < _TOKEN_LENGTH and not is_loopback(host):
        raise ConfigError(
            f"{host} can be reached from other machines: set a token of {_TOKEN_LENGTH} characters in MIEN_TOKEN, "
            "such as one from python3 -c 'import secrets; print(secrets.token_urlsafe())'; or listen on 127.0.0.1"
        )
    if not 0 <= port < 65536:
        raise ConfigError(f"cannot listen on port {port}; give a --port of 1 to 65535, or 0 for any free one")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host} port {port}: {error}; choose another with --host or --port"
        ) from error


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def url(listening: socket.socket) -> str:
    """Return the address for a browser on this machine."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def run(app: FastAPI, listening: socket.socket, limits: Limits) -> None:
    """Serve until SIGINT or SIGTERM, then finish the accepted requests.

    Requests are not logged: a line would hold names, and tokens in the address of a WebSocket.
    """
    cv2.setNumThreads(1)  # each image has a thread of its own; more in each took 42 instead of 19 ms
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # the answer says what is wrong
    config = uvicorn.Config(
        _track(app),
        http="h11",
        ws="websockets-sansio",
        interface="asgi3",
        log_config=None,
        log_level="critical",  # MetricsMiddleware logs errors; uvicorn would also log what clients do wrong
        access_log=False,
        server_header=False,
        proxy_headers=False,  # otherwise a client could choose the address that `rate` counts
        timeout_keep_alive=5,
        timeout_graceful_shutdown=round(limits.read_seconds + limits.work_seconds),
        ws_max_size=2 * limits.frame_bytes,  # uvicorn hangs up at once; up to here the route gives a reason
        ws_per_message_deflate=False,  # images are compressed, and a small message could unpack to a huge one
    )
    config.load()
    config.http_protocol_class = partial(_Connection, config.http_protocol_class, limits, set())  # type: ignore[assignment]
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])
    if app.state.serving.engine.pending:  # a thread in native code cannot be stopped, and Python would wait for it
        os._exit(0)


def _track(app: ASGIApp) -> ASGIApp:
    """Tell a connection when the application works for it."""

    async def tracked(scope: Scope, receive: Receive, send: Send) -> None:
        connection = scope.get("state", {}).get(_CONNECTION)
        if connection is None:  # lifespan
            await app(scope, receive, send)
            return

        async def send_while_open(message: Message) -> None:
            if scope["type"] == "http" and connection.is_closing():  # uvicorn has refused a broken body
                await connection.lost.wait()
            await send(message)

        connection.begin_request()
        try:
            await app(scope, receive, send_while_open)
        finally:
            connection.end_request()

    return tracked


class _Connection(asyncio.Protocol):
    """Adds deadlines and back-pressure to a connection of uvicorn, which would wait for slow clients forever.

    It is the protocol of the real transport and the transport of uvicorn's protocol, and uses nothing else of either.
    A request and its headers must arrive within `header_seconds`, and a client must read within `read_seconds` what it
    was sent; until then nothing more is read from it, so that a flood of pings fills no memory.
    """

    def __init__(
        self,
        protocol: type[Any],
        limits: Limits,
        connections: set[_Connection],
        *,
        app_state: dict[str, Any],
        **more: Any,
    ) -> None:
        self._limits, self._connections = limits, connections
        self._state = app_state | {_CONNECTION: self}
        self._protocol = protocol(app_state=self._state, **more)
        self._transport: Any = None
        self.lost = asyncio.Event()
        self._requests = 0  # that the application works on
        self._held = False  # uvicorn wants to read no more
        self._reading = True
        self._headers_due, self._writes_due = _Deadline(), _Deadline()

    def begin_request(self) -> None:
        """Note that the headers are complete."""
        self._requests += 1
        self._headers_due.stop()

    def end_request(self) -> None:
        """Note that the answer is complete."""
        self._requests -= 1

    # As the protocol of the real transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._connections.add(self)
        if len(self._connections) > self._limits.connections:
            self._state[CROWDED] = True
        self._headers_due.start(self._limits.header_seconds, self.close)
        self._protocol.connection_made(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._protocol.data_received(data)
        except h11.LocalProtocolError:  # uvicorn refuses a broken body even when its answer was sent
            self.abort()
        if not self._requests:  # another request begins, or a refused body goes on
            self._headers_due.start(self._limits.header_seconds, self.close)

    def eof_received(self) -> bool | None:
        result: bool | None = self._protocol.eof_received()
        return result

    def pause_writing(self) -> None:
        self._protocol.pause_writing()
        self._writes_due.start(self._limits.read_seconds, self._transport.abort)
        self._update_reading()

    def resume_writing(self) -> None:
        self._writes_due.stop()
        self._protocol.resume_writing()
        self._update_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._headers_due.stop()
        self._writes_due.stop()
        self._connections.discard(self)
        self._protocol.connection_lost(exc)
        self.lost.set()

    # As the transport of uvicorn's protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def set_protocol(self, protocol: Any) -> None:
        """Hand over to another protocol, as an upgrade to a WebSocket does."""
        self._protocol = protocol

    def pause_reading(self) -> None:
        self._held = True
        self._update_reading()

    def resume_reading(self) -> None:
        self._held = False
        self._update_reading()

    def close(self) -> None:
        """Close when everything is sent, or when the client does not read it."""
        self._writes_due.start(self._limits.read_seconds, self._transport.abort)
        self._transport.close()

    def _update_reading(self) -> None:
        reading = not self._held and not self._writes_due
        if reading != self._reading and not self._transport.is_closing():
            self._reading = reading
            (self._transport.resume_reading if reading else self._transport.pause_reading)()


class _Deadline:
    """A timer; starting it again while it runs changes nothing."""

    _handle: asyncio.TimerHandle | None = None

    def start(self, seconds: float, callback: Callable[[], object]) -> None:
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(seconds, callback)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = None

    def __bool__(self) -> bool:
        return self._handle is not None
