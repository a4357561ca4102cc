"""Read ahead in a thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_BYTES = 64_000_000  # or fewer, when their pixels come to this: of 12 megapixels one a thread


def prefetch(items: Iterable[T], size: Callable[[T], int], count: int = 16) -> Generator[T, None, None]:
    """The same items, none of them None, of which a thread makes some while the ones before are looked at.

    Close it to end the thread before the items have ended.

    Args:
        items: what is made one after the other.
        size: bytes that an item holds.
        count: items that wait at most; fewer when they come to more than 64 MB.
    """
    source = iter(items)
    pool = ThreadPoolExecutor(1, "mien-read")
    waiting = deque([pool.submit(next, source, None)])
    room = 1  # until it is known how large they are
    try:
        while (item := waiting.popleft().result()) is not None:
            room = max(1, min(count, _BYTES // max(size(item), 1)))
            while len(waiting) < room:
                waiting.append(pool.submit(next, source, None))
            yield item
            del item  # else one more stays in memory
    finally:
        pool.shutdown(cancel_futures=True)
        if isinstance(source, Generator):
            source.close()
