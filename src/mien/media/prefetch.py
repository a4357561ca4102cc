"""Make items in background threads before they are asked for, and process them in batches of bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice, repeat
from typing import TypeVar

from mien.types import Failure

T = TypeVar("T")
R = TypeVar("R")
Job = TypeVar("Job")

BATCH = 16
"""Items that wait in memory at most, and images in one classifier call."""

MAX_BYTES = 64_000_000
"""Fewer items wait when their pixels come to this: three 4K frames."""


def prefetch(items: Iterable[T], size: Callable[[T], int], count: int = BATCH) -> Generator[T, None, None]:
    """Iterate over `items`, none of them None, in one background thread.

    At most `count` items wait, and only one when each holds more than 64 MB (`size` gives an item's bytes). Close the
    generator to end the thread early.
    """
    source = iter(items)
    ahead = prefetch_map(
        lambda _: next(source, None), repeat(None), lambda item: 0 if item is None else size(item), 1, count
    )
    try:
        while (item := next(ahead)) is not None:
            yield item
            del item  # else one more stays in memory
    finally:
        ahead.close()
        if isinstance(source, Generator):
            source.close()


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
