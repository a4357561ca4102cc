"""Files, folders, globs and arrays -> a stream of frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import starmap
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mien.errors import SourceError
from mien.media.image import decode, to_bgr
from mien.media.paths import VIDEO_SUFFIXES, expand_source
from mien.types import Failure, Frame

T = TypeVar("T")
_AHEAD = 16  # pictures that threads read before they are asked for
_BYTES = 64_000_000  # or fewer, when their pixels come to this: of 12 megapixels one a thread
Item = str | Path | NDArray[Any]
Source = Item | Sequence[Item]


def read_images(source: Source, threads: int = 0, skip: Container[str] = frozenset()) -> Iterator[Frame | Failure]:
    """Read pictures, in the order of the source.

    Args:
        source: a file, folder or glob; an array holding one picture (what `image.to_bgr` takes); or a list of these.
        threads: how many read ahead: up to 16 pictures, or about 64 MB of pixels but one a thread, wait in memory. With
            0 each picture is read when it is asked for.
        skip: names of pictures to pass over without opening them; the others keep the index they would have had.

    Yields:
        A Frame (uint8 BGR, time 0) for each picture, or a Failure for an item that cannot be read: nothing is raised,
        so one broken file never ends a batch. `index` counts frames and failures together, from 0.
    """
    return map_images(source, _itself, threads, skip)


def map_images(
    source: Source, look: Callable[[Frame], T], threads: int = 0, skip: Container[str] = frozenset()
) -> Iterator[T | Failure]:
    """The same, with each picture given to a function in the thread that has read it.

    Args:
        source: as of `frames`.
        look: what to make of a picture; of several threads, so it must be safe to call from them. What it raises ends
            all.
        threads: as of `frames`; `look` counts as reading.
        skip: as of `frames`.

    Yields:
        What `look` returned for each picture, or a Failure.
    """
    jobs = (job for job in _jobs(source) if job[2] not in skip)
    if threads > 0:
        return _read_ahead(jobs, look, threads)
    return (item if isinstance(item, Failure) else look(item) for item in starmap(_read, jobs))


def _itself(frame: Frame) -> Frame:
    return frame


def _jobs(source: Source) -> Iterator[tuple[Any, int, str]]:
    """(a file, an array, an error or what is no source; index; name) of each picture."""
    items: Sequence[Any] = [source] if isinstance(source, (str, Path, np.ndarray)) else source
    index = 0
    for position, item in enumerate(items):
        for found in _found(item):
            name = found[0] if isinstance(found, tuple) else str(found) if isinstance(found, Path) else None
            yield found, index, name or f"array {position}"
            index += 1


def _read_ahead(
    jobs: Iterator[tuple[Any, int, str]], look: Callable[[Frame], T], threads: int
) -> Iterator[T | Failure]:
    def read(job: tuple[Any, int, str]) -> tuple[T | Failure, int]:
        item = _read(*job)
        return (item, 0) if isinstance(item, Failure) else (look(item), item.image.nbytes)

    waiting: deque[Future[tuple[T | Failure, int]]] = deque()
    room = threads  # until it is known how large the pictures are
    pool = ThreadPoolExecutor(threads, "mien-read")
    try:
        for job in jobs:
            while len(waiting) >= room:
                item, size = waiting.popleft().result()
                if size:
                    room = max(threads, min(_AHEAD, _BYTES // size))
                yield item
                del item  # else one more picture stays in memory
            waiting.append(pool.submit(read, job))
        while waiting:
            yield waiting.popleft().result()[0]
    finally:
        pool.shutdown(cancel_futures=True)


def _found(item: Any) -> list[Any]:
    """Expand an item into files and arrays, or into the SourceError that says why it cannot be."""
    if not isinstance(item, (str, Path)):
        return [item]
    try:
        return list(expand_source(item))
    except SourceError as error:
        return [(str(item), error)]


def _read(item: Any, index: int, name: str) -> Frame | Failure:
    if isinstance(item, tuple):
        return Failure(name, str(item[1]), index)
    try:
        if isinstance(item, np.ndarray):
            return Frame(to_bgr(item, name), index, 0.0, name)
        if not isinstance(item, Path):
            return Failure(name, f"a {type(item).__name__} is no source; give a path or a numpy array", index)
        if item.suffix.lower() in VIDEO_SUFFIXES:
            return Failure(
                name,
                f"{name}: a video, where pictures are read; give it to mien.media.video_reader.Video or mien video",
                index,
            )
        return Frame(decode(item.read_bytes(), name), index, 0.0, name)
    except SourceError as error:
        return Failure(name, str(error), index)
    except OSError as error:
        return Failure(
            name, f"{name}: cannot be read ({error.strerror or error}); check that it is a file of yours", index
        )
