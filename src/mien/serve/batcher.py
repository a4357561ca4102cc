"""Batcher: gathers the crops of concurrent requests into one call of the network."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.types import Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    crops: NDArray[np.uint8]
    answer: asyncio.Future[Floats]
    due: float  # loop time at which it goes, in company or alone


class Batcher:
    """Classifies crops together with those of others who wait at the same time.

    A call starts when `max_batch` crops wait or the first of them has waited for `max_wait`. While a call runs, the
    next batch gathers, so that under load nobody waits for the clock. Its queue is bounded by whoever calls it: each
    caller waits for one answer.

    All methods belong to one event loop; the network runs in a thread of its own.
    """

    def __init__(
        self,
        classify: Callable[[NDArray[np.uint8]], Floats],
        max_batch: int = 64,
        max_wait: float = 0.003,
        seen: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Start with nothing waiting.

        Args:
            classify: uint8 (N, 48, 48) -> float32 (N, C).
            max_batch: crops of a call; only a single request with more than that exceeds it. 1 turns batching off.
            max_wait: seconds that the first of a batch waits for others.
            seen: told how many crops each call had.
        """
        self._classify, self._max_batch, self._max_wait, self._seen = classify, max_batch, max_wait, seen
        self._waiting: deque[_Waiting] = deque()
        self._count = 0  # crops that wait
        self._arrived = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "mien-classify")

    async def __call__(self, crops: NDArray[np.uint8]) -> Floats:
        """Classify crops: uint8 (N, 48, 48) -> float32 (N, C), in the same order.

        Raises:
            Exception: what the network raised; all requests of the batch get it, and later ones are served.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(crops, loop.create_future(), loop.time() + self._max_wait)
        self._waiting.append(waiting)
        self._count += len(crops)
        self._arrived.set()
        if self._running is None:
            self._running = loop.create_task(self._run())
        return await waiting.answer

    async def close(self) -> None:
        """Answer all who wait, then end the thread."""
        while self._running is not None:
            await asyncio.wait([self._running])
        self._thread.shutdown()

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                batch = self._take()
                if batch:
                    await self._answer(batch)
        finally:
            self._running = None

    async def _gather(self) -> None:
        """Wait until the batch is full or its first has to go."""
        loop = asyncio.get_running_loop()
        while self._count < self._max_batch:
            self._arrived.clear()
            try:
                async with asyncio.timeout_at(self._waiting[0].due):
                    await self._arrived.wait()
            except TimeoutError:
                return
            if loop.time() >= self._waiting[0].due:
                return

    def _take(self) -> list[_Waiting]:
        """The next batch, without those who have given up."""
        batch: list[_Waiting] = []
        count = 0
        while self._waiting and (not batch or count + len(self._waiting[0].crops) <= self._max_batch):
            each = self._waiting.popleft()
            self._count -= len(each.crops)
            if not each.answer.done():
                batch.append(each)
                count += len(each.crops)
        return batch

    async def _answer(self, batch: list[_Waiting]) -> None:
        crops = np.concatenate([each.crops for each in batch])
        try:
            rows = await asyncio.get_running_loop().run_in_executor(self._thread, self._classify, crops)
        except Exception as error:
            for each in batch:
                if not each.answer.done():
                    each.answer.set_exception(error)
            return
        self._seen(len(crops))
        start = 0
        for each in batch:
            end = start + len(each.crops)
            if not each.answer.done():
                each.answer.set_result(rows[start:end])
            start = end
