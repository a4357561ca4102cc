"""Listening: where the server may, and uvicorn with deadlines for slow clients."""

from __future__ import annotations

import asyncio
import codecs
import ipaddress
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import cv2
import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from mien.serve.limits import Limits
from mien.serve.security import CROWDED
from mien.types import ConfigError

_LEAST_TOKEN = 16  # characters; who reaches the server may try as many shorter ones as it answers


def bind(host: str, port: int, token: str | None) -> socket.socket:
    """Open a port.

    Args:
        host: address or name; 127.0.0.1 and ::1 are reached from this machine alone.
        port: 0 for any free one.
        token: that the server will ask for, or None.

    Raises:
        ConfigError: other machines could reach it and there is no token, or one that is soon guessed; or the port is
            taken or not allowed.
    """
    if len(token or "") < _LEAST_TOKEN and not _is_loopback(host):
        raise ConfigError(
            f"{host} can be reached from other machines: set a token of {_LEAST_TOKEN} characters in MIEN_TOKEN, "
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


def url(listening: socket.socket) -> str:
    """Where a browser on this machine finds it."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def run(app: FastAPI, listening: socket.socket, limits: Limits) -> None:
    """Serve until SIGINT or SIGTERM, then finish what was taken.

    Nothing is logged but warnings: a line a request would hold names, and tokens given in the address of a WebSocket.
    """
    cv2.setNumThreads(1)  # each picture has a thread of its own; more inside of it would only fight (42 against 19 ms)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # who sends nonsense is told so in the answer
    _Protocol.header_seconds, _Protocol.take_seconds = limits.header_seconds, limits.read_seconds
    _Protocol.most_connections = limits.connections
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws=_WebSocket,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # else whoever reaches the port could choose the address that `rate` counts
        timeout_keep_alive=5,
        timeout_graceful_shutdown=round(limits.read_seconds + limits.work_seconds),
        ws_max_size=2 * limits.frame_bytes,  # uvicorn hangs up at once; up to here the route says why
        ws_per_message_deflate=False,  # pictures are compressed already, and a small message could unpack to a huge one
    )
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


class _Protocol(H11Protocol):
    """uvicorn's HTTP with deadlines for the headers and for taking an answer; it would wait forever.

    A connection too many is marked for Guard to refuse: uvicorn's own refusal is no JSON and is not counted.
    """

    header_seconds = 10.0
    take_seconds = 30.0
    most_connections = 512
    _due: asyncio.TimerHandle | None = None  # for the headers
    _stuck: asyncio.TimerHandle | None = None  # for what was sent to leave the buffer

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            self.app_state = self.app_state | {CROWDED: True}
        self._due = self.loop.call_later(self.header_seconds, self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        upgraded = self.transport.get_protocol() is not self
        if upgraded or (self.cycle is not None and not self.cycle.response_complete):
            self._stop_due()
        elif self._due is None:  # the beginning of another request, or the rest of one that was refused
            self._due = self.loop.call_later(self.header_seconds, self.timeout_keep_alive_handler)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; where it is the body of a request, that is over, and may have its answer already."""
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = self.loop.call_later(self.take_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_stuck()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_due()
        self._stop_stuck()
        super().connection_lost(exc)

    def _stop_due(self) -> None:
        if self._due is not None:
            self._due.cancel()
        self._due = None

    def _stop_stuck(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
        self._stuck = None


class _WebSocket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket; it would wait forever after a handshake that cannot be read, and take any number of parts of
    a message, where empty ones never reach the limit of its size."""

    most_parts = 1024
    _parts = 0  # of the present message
    _text: codecs.IncrementalDecoder | None = None  # of the present message, where it is one

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.handshake_initiated:  # the head of the request came whole, in the first call
            self.handshake_complete = self.close_sent = True
            refusal = b"".join(self.conn.data_to_send())  # older versions of websockets say nothing
            self.transport.write(refusal or b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            self.transport.close()

    def handle_text(self, event: Frame) -> None:
        self._parts, self._text = 0, codecs.getincrementaldecoder("utf-8")()
        self._take(event, super().handle_text)

    def handle_bytes(self, event: Frame) -> None:
        self._parts, self._text = 0, None
        self._take(event, super().handle_bytes)

    def handle_cont(self, event: Frame) -> None:
        self._take(event, super().handle_cont)

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True  # else it is logged as an error

    def _take(self, event: Frame, take: Callable[[Frame], None]) -> None:
        if self.close_sent:
            return
        self._parts += 1
        try:
            if self._text:
                self._text.decode(event.data, event.fin)
        except UnicodeDecodeError:
            self._fail(1007, "not UTF-8")
        else:
            if self._parts > self.most_parts:
                self._fail(1009, "too many parts")
            else:
                take(event)

    def _fail(self, code: int, reason: str) -> None:
        self.conn.fail(code, reason)
        self.handle_parser_exception()
