"""The WebSocket: image files in, JSON out, with face ids and smoothing for each connection.

A client may send as fast as it likes: while a frame is processed, the newest of the others waits and older ones are
skipped. Each answer carries the `index` of the frame, counted from 0 as frames arrive, and `skipped`, the number of
frames skipped since the last answer; then `Result.to_dict()` and `left_out`, or `error`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from mien.errors import SourceError
from mien.faces.tracker import Tracker
from mien.serve.engine import EncodedImage, Engine, QueueFull
from mien.serve.limits import Limits
from mien.serve.metrics import Metrics
from mien.serve.middleware import SUBPROTOCOL

_GOING_AWAY, _NOT_BYTES, _TOO_LARGE = 1001, 1003, 1009  # RFC 6455, section 7.4.1


@dataclass(slots=True)
class _LatestFrame:
    """Holds one frame: index, seconds since the start, bytes. A newer one replaces it."""

    frame: tuple[int, float, bytes] | None = None
    skipped: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, frame: tuple[int, float, bytes]) -> bool:
        """Store a frame. Return whether it replaced another."""
        replaced = self.frame is not None
        self.frame, self.skipped = frame, self.skipped + replaced
        self.arrived.set()
        return replaced

    async def get(self) -> tuple[tuple[int, float, bytes], int]:
        """Wait for a frame. Return it and the number of frames that it replaced."""
        await self.arrived.wait()
        self.arrived.clear()
        assert self.frame is not None
        frame, skipped = self.frame, self.skipped
        self.frame, self.skipped = None, 0
        return frame, skipped


async def handle(socket: WebSocket, engine: Engine, metrics: Metrics) -> None:
    """Serve one connection until its client leaves, breaks the protocol or sends nothing for too long."""
    if engine.streams >= engine.limits.streams:
        refusal = JSONResponse({"detail": "too many open streams; try again later"}, 503, {"Retry-After": "10"})
        await socket.send_denial_response(refusal)
        return
    engine.streams += 1
    try:
        await _handle(socket, engine, metrics)
    finally:
        engine.streams -= 1


async def _handle(socket: WebSocket, engine: Engine, metrics: Metrics) -> None:
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
    latest = _LatestFrame()
    receiving: asyncio.Task[int | None] = asyncio.create_task(_receive(socket, latest, engine.limits, metrics))
    answering: asyncio.Task[None] = asyncio.create_task(_answer(socket, latest, engine, metrics))
    tasks = {receiving, answering}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)  # not gather, which would raise a child's cancellation in place of our own
    for task in tasks:
        error = None if task.cancelled() else task.exception()
        if error and not isinstance(error, WebSocketDisconnect | TimeoutError):
            raise error
    code = None if receiving.cancelled() or receiving.exception() else receiving.result()
    if code is not None:
        with suppress(WebSocketDisconnect, RuntimeError, TimeoutError):  # the client may have left
            async with asyncio.timeout(1):
                await socket.close(code)


async def _receive(socket: WebSocket, latest: _LatestFrame, limits: Limits, metrics: Metrics) -> int | None:
    """Receive frames. Return the code to close with, or None when the client has left."""
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
        if latest.put((index, monotonic() - start, data)):
            metrics.frames.labels("skipped").inc()
        index += 1


async def _answer(socket: WebSocket, latest: _LatestFrame, engine: Engine, metrics: Metrics) -> None:
    tracker = Tracker()
    while True:
        (index, time, data), skipped = await latest.get()
        answer: dict[str, Any] = {"index": index, "skipped": skipped}
        try:
            with engine.admit():
                async with asyncio.timeout(engine.limits.work_seconds):
                    image = await engine.process(EncodedImage(f"frame {index}", data), index, time)
            result = replace(image.result, faces=tracker.update(image.result.faces, time))
            answer |= result.to_dict() | {"left_out": image.left_out}
        except (SourceError, QueueFull) as error:
            answer["error"] = str(error)
        except TimeoutError:
            answer["error"] = "it took too long; try again in a moment"
        metrics.frames.labels("failed" if "error" in answer else "answered").inc()
        async with asyncio.timeout(engine.limits.read_seconds):  # the client may not read
            await socket.send_json(answer)
