"""The WebSocket: image files in, JSON out, with face ids and smoothing for each connection.

A client may send as fast as it likes: while a frame is processed, the newest of the others waits and older ones are
skipped. Each answer carries the `index` of the frame, counted from 0 as frames arrive, and `skipped`, the number of
frames skipped since the last answer; then `Result.to_dict()` and `left_out`, or `error`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
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

_Frames = asyncio.Queue[tuple[int, float, bytes]]
"""Holds the newest frame: index, seconds since the start, bytes."""


async def handle(socket: WebSocket, engine: Engine, metrics: Metrics) -> None:
    """Serve one connection until its client leaves, breaks the protocol or sends nothing for too long."""
    if engine.streams >= engine.limits.streams:
        refusal = JSONResponse({"detail": "too many open streams; try again later"}, 503, {"Retry-After": "10"})
        await socket.send_denial_response(refusal)
        return
    engine.streams += 1
    try:
        offered = socket.scope.get("subprotocols", [])
        await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        code = await _serve(socket, engine, metrics)
        if code is not None:
            with suppress(WebSocketDisconnect, RuntimeError, TimeoutError):  # the client may have left
                async with asyncio.timeout(1):
                    await socket.close(code)
    finally:
        engine.streams -= 1


async def _serve(socket: WebSocket, engine: Engine, metrics: Metrics) -> int | None:
    """Receive and answer until either ends. Return the code to close with, or None."""
    frames = _Frames(1)
    receiving = asyncio.create_task(_receive(socket, frames, engine.limits, metrics))
    answering = asyncio.create_task(_answer(socket, frames, engine, metrics))
    tasks: tuple[asyncio.Task[Any], ...] = (receiving, answering)
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
    return None if receiving.cancelled() or receiving.exception() else receiving.result()


async def _receive(socket: WebSocket, frames: _Frames, limits: Limits, metrics: Metrics) -> int | None:
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
        if frames.full():
            frames.get_nowait()
            metrics.frames.labels("skipped").inc()
        frames.put_nowait((index, monotonic() - start, data))
        index += 1


async def _answer(socket: WebSocket, frames: _Frames, engine: Engine, metrics: Metrics) -> None:
    tracker, last = Tracker(), -1
    while True:
        index, time, data = await frames.get()
        answer: dict[str, Any] = {"index": index, "skipped": index - last - 1}
        last = index
        try:
            with engine.admit():
                async with asyncio.timeout(engine.limits.work_seconds):
                    result, left_out = await engine.process(EncodedImage(f"frame {index}", data), index, time)
            faces = tracker.update(result.faces, time)
            answer |= replace(result, faces=faces).to_dict() | {"left_out": left_out}
        except (SourceError, QueueFull) as error:
            answer["error"] = str(error)
        except TimeoutError:
            answer["error"] = "it took too long; try again in a moment"
        metrics.frames.labels("failed" if "error" in answer else "answered").inc()
        async with asyncio.timeout(engine.limits.read_seconds):  # the client may not read
            await socket.send_json(answer)
