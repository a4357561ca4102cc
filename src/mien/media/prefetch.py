"""Make items in background threads before they are asked for, and process them in batches of bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import Generic, Self, TypeVar

from mien.types import Failure

T = TypeVar("T")
R = TypeVar("R")
Job = TypeVar("Job")

BATCH = 16
"""Items that wait in memory at most, and images in one classifier call."""

MAX_BYTES = 64_000_000
"""Fewer items wait when their pixels come to this: three 4K frames."""


class Prefetch(Generic[R]):
    """Iterate over `function(item)` for each item, none of them None, computed in one background thread.

    At most `count` results wait, and only one when each holds more than 64 MB (`size` gives the bytes of a result).
    """

    def __init__(
        self, function: Callable[[T], R], items: Iterable[T], size: Callable[[R], int], count: int = BATCH
    ) -> None:
        self._items, self._results, self._size, self._count = items, map(function, items), size, count
        self._pool = ThreadPoolExecutor(1, "mien-read")
        self._waiting: deque[Future[R | None]] = deque()
        self._room = 1  # until the size is known
        self._ended = False
        self._submit()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> R:
        try:
            item = self._waiting.popleft().result()
        except (CancelledError, IndexError):  # closed by another thread
            raise StopIteration from None
        except Exception:
            self._end()
            raise
        if item is None:
            self._end()
            raise StopIteration
        self._room = max(1, min(self._count, MAX_BYTES // max(self._size(item), 1)))
        self._submit()
        return item

    def close(self) -> None:
        """End early: close the items, if they have `close`, and end the thread. Any thread may call it."""
        if self._ended:
            return
        close = getattr(self._items, "close", lambda: None)
        if isinstance(self._items, Generator):  # refuses to be closed while the thread is in it
            self._pool.shutdown(cancel_futures=True)
            close()
        else:  # the thread may wait for it
            close()
            self._pool.shutdown(cancel_futures=True)

    def _end(self) -> None:
        self._ended = True
        self._pool.shutdown(cancel_futures=True)

    def _submit(self) -> None:
        with suppress(RuntimeError):  # closed by another thread
            while len(self._waiting) < self._room:
                self._waiting.append(self._pool.submit(next, self._results, None))


def prefetch_map(
    function: Callable[[Job], T], jobs: Iterable[Job], size: Callable[[T], int], threads: int, count: int = BATCH
) -> Generator[T, None, None]:
    """Yield `function(job)` for each job in order, computed in `threads` background threads.

    At most `count` results wait, fewer when they come to more than 64 MB, but one a thread.
    """
    left = iter(jobs)
    pool = ThreadPoolExecutor(threads, "mien-read")
    room = threads  # until the size is known
    waiting: deque[Future[T]] = deque(pool.submit(function, job) for job in islice(left, room))
    try:
        while waiting:
            item = waiting.popleft().result()
            if held := size(item):
                room = max(threads, min(count, MAX_BYTES // held))
            waiting.extend(pool.submit(function, job) for job in islice(left, max(room - len(waiting), 0)))
            yield item
            del item  # else one more stays in memory
    finally:
        pool.shutdown(cancel_futures=True)


def map_batches(
    function: Callable[[list[T]], Iterable[R]],
    items: Iterable[T | Failure],
    size: Callable[[T], int],
    count: int = BATCH,
) -> Iterator[R | Failure]:
    """Yield what `function` makes of lists of at most `count` items and about 64 MB, and failures, in order."""
    batch: list[T] = []
    for item in items:
        if not isinstance(item, Failure):
            batch.append(item)
            if len(batch) < count and sum(map(size, batch)) < MAX_BYTES:
                continue
        if batch:
            yield from function(batch)
        batch = []
        if isinstance(item, Failure):
            yield item
    if batch:
        yield from function(batch)
