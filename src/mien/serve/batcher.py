"""Batcher: classifies the crops of concurrent requests in one call of the network."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.types import Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    crops: NDArray[np.uint8]
    answer: asyncio.Future[Floats]
    deadline: float  # loop time at which it goes, alone or in a batch


class Batcher:
    """Classifies crops in batches, in a thread of its own.

    A call starts when `max_batch` crops wait or the first of them has waited for `max_wait`. The next batch collects
    while a call runs, so that under load no request waits for the clock. The callers bound the queue: each waits for
    one answer. All methods belong to one event loop.
    """

    def __init__(
        self,
        classify: Callable[[NDArray[np.uint8]], Floats],
        max_batch: int = 64,
        max_wait: float = 0.003,
        on_batch: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Start with an empty queue.

        Args:
            classify: uint8 (N, 48, 48) -> float32 (N, C).
            max_batch: crops in a call; only a single larger request exceeds it. 1 turns batching off.
            max_wait: seconds that the first request of a batch waits for others.
            on_batch: called with the number of crops after each call.
        """
        self._classify, self._max_batch, self._max_wait, self._on_batch = classify, max_batch, max_wait, on_batch
        self._queue: deque[_Request] = deque()
        self._count = 0  # crops in the queue
        self._full = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "mien-classify")

    async def __call__(self, crops: NDArray[np.uint8]) -> Floats:
        """Classify uint8 (N, 48, 48) -> float32 (N, C), in the same order.

        What the network raises, all requests of that batch raise; later batches are not affected.
        """
        loop = asyncio.get_running_loop()
        request = _Request(crops, loop.create_future(), loop.time() + self._max_wait)
        self._queue.append(request)
        self._count += len(crops)
        if self._count >= self._max_batch:
            self._full.set()
        if self._running is None:
            self._running = loop.create_task(self._run())
        return await request.answer

    async def close(self) -> None:
        """Answer all waiting requests, then end the thread."""
        try:
            while self._running is not None:
                await asyncio.wait([self._running])
        finally:
            self._thread.shutdown(wait=False)

    async def _run(self) -> None:
        try:
            while self._queue:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(self._queue[0].deadline):
                        await self._full.wait()
                if batch := self._next_batch():
                    await self._answer(batch)
        finally:
            self._running = None

    def _next_batch(self) -> list[_Request]:
        """Take the next batch, without cancelled requests."""
        batch: list[_Request] = []
        count = 0
        while self._queue and (not batch or count + len(self._queue[0].crops) <= self._max_batch):
            request = self._queue.popleft()
            self._count -= len(request.crops)
            if not request.answer.done():
                batch.append(request)
                count += len(request.crops)
        if self._count < self._max_batch:
            self._full.clear()
        return batch

    async def _answer(self, batch: list[_Request]) -> None:
        crops = np.concatenate([request.crops for request in batch])
        try:
            rows = await asyncio.get_running_loop().run_in_executor(self._thread, self._classify, crops)
        except Exception as error:
            for request in batch:
                if not request.answer.done():
                    request.answer.set_exception(error)
            return
        self._on_batch(len(crops))
        ends = np.cumsum([len(request.crops) for request in batch])
        for request, part in zip(batch, np.split(rows, ends[:-1]), strict=True):
            if not request.answer.done():
                request.answer.set_result(part)
