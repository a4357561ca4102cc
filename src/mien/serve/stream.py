"""The WebSocket: picture files in, JSON out, with ids and smoothing of its own for each connection.

    import asyncio, websockets

    async def main():
        async with websockets.connect("ws://127.0.0.1:8000/v1/stream") as socket:
            await socket.send(open("face.jpg", "rb").read())
            print(await socket.recv())

A client may send as fast as it likes: of the frames that come while one is looked at, the newest counts and the others
are skipped. Each answer carries the frame's `index` (frames are numbered as they come, from 0) and `skipped`, how many
were passed over since the last answer; then either what `Result.to_dict()` has and `left_out`, or `error`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from mien.serve.engine import Busy, Engine, Picture
from mien.serve.limits import Limits
from mien.serve.security import SUBPROTOCOL
from mien.serve.telemetry import Telemetry
from mien.track import Tracker
from mien.types import SourceError

_GOING_AWAY, _NOT_BYTES, _TOO_LARGE = 1001, 1003, 1009  # RFC 6455, section 7.4.1


@dataclass(slots=True)
class _Newest:
    """A place for one frame: index, seconds since the start, bytes. A newer one replaces it."""

    frame: tuple[int, float, bytes] | None = None
    skipped: int = 0
    there: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, frame: tuple[int, float, bytes]) -> bool:
        """Whether an older frame had to go."""
        replaced = self.frame is not None
        self.frame, self.skipped = frame, self.skipped + replaced
        self.there.set()
        return replaced

    async def take(self) -> tuple[tuple[int, float, bytes], int]:
        """The frame, as soon as there is one, and how many it has replaced."""
        await self.there.wait()
        self.there.clear()
        assert self.frame is not None
        taken = self.frame, self.skipped
        self.frame, self.skipped = None, 0
        return taken


async def talk(socket: WebSocket, engine: Engine, telemetry: Telemetry) -> None:
    """Serve one connection until its client leaves, breaks the protocol or falls silent."""
    if engine.streams >= engine.limits.streams:
        refusal = JSONResponse({"detail": "too many streams at once; try again later"}, 503, {"Retry-After": "10"})
        await socket.send_denial_response(refusal)
        return
    engine.streams += 1
    try:
        await _talk(socket, engine, telemetry)
    finally:
        engine.streams -= 1


async def _talk(socket: WebSocket, engine: Engine, telemetry: Telemetry) -> None:
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
    newest = _Newest()
    reading: asyncio.Task[int | None] = asyncio.create_task(_read(socket, newest, engine.limits, telemetry))
    answering: asyncio.Task[None] = asyncio.create_task(_answer(socket, newest, engine, telemetry))
    try:
        await asyncio.wait({reading, answering}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (reading, answering):
            task.cancel()
        # Not gather: when this is cancelled in turn, gather raises the cancellation of a child in place of our own.
        await asyncio.wait({reading, answering})
    for task in (reading, answering):
        error = None if task.cancelled() else task.exception()
        if error and not isinstance(error, WebSocketDisconnect | TimeoutError):
            raise error
    code = None if reading.cancelled() or reading.exception() else reading.result()
    if code is not None:
        with suppress(WebSocketDisconnect, RuntimeError, TimeoutError):  # it may have left meanwhile
            async with asyncio.timeout(1):
                await socket.close(code)


async def _read(socket: WebSocket, newest: _Newest, limits: Limits, telemetry: Telemetry) -> int | None:
    """Take what comes; returns the code with which to close, or None when the client has left."""
    start, index = monotonic(), 0
    while True:
        try:
            message = await asyncio.wait_for(socket.receive(), limits.idle_seconds)
        except TimeoutError:
            return _GOING_AWAY
        if message["type"] == "websocket.disconnect":
            return None
        data = message.get("bytes")
        if data is None:
            return _NOT_BYTES
        if len(data) > limits.frame_bytes:
            return _TOO_LARGE
        if newest.put((index, monotonic() - start, data)):
            telemetry.frames.labels("skipped").inc()
        index += 1


async def _answer(socket: WebSocket, newest: _Newest, engine: Engine, telemetry: Telemetry) -> None:
    tracker = Tracker()
    while True:
        (index, time, data), skipped = await newest.take()
        told: dict[str, Any] = {"index": index, "skipped": skipped}
        try:
            with engine.admit():
                async with asyncio.timeout(engine.limits.work_seconds):
                    seen = await engine.process(Picture(f"frame {index}", data), index, time)
            result = replace(seen.result, faces=tracker.update(seen.result.faces, time))
            told |= result.to_dict() | {"left_out": seen.left_out}
        except (SourceError, Busy) as error:
            told["error"] = str(error)
        except TimeoutError:
            told["error"] = "it took too long; try again in a moment"
        telemetry.frames.labels("failed" if "error" in told else "answered").inc()
        async with asyncio.timeout(engine.limits.read_seconds):  # for one that sends and never reads
            await socket.send_json(told)
