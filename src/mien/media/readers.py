"""Files, folders, globs and arrays -> a stream of frames."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import starmap
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mien.errors import SourceError
from mien.media.image import decode, page_name, to_bgr
from mien.media.image_header import read_header
from mien.media.paths import VIDEO_SUFFIXES, display, expand_source, read_file
from mien.types import Failure, Frame

T = TypeVar("T")
_AHEAD = 16  # images that threads read before they are asked for
_BYTES = 64_000_000  # or fewer, when their pixels come to this: of 12 megapixels one a thread
Item = str | Path | NDArray[Any] | Failure
Source = Item | Sequence[Item]


def read_images(
    source: Source, threads: int = 0, skip: Container[str] = frozenset(), skipped: Counter[str] | None = None
) -> Iterator[Frame | Failure]:
    """Read images in the order of the source: a Frame (uint8 BGR, time 0) each, or a Failure where one cannot be read.

    Nothing is raised, so one broken file never ends a batch. Each page of a TIFF file is an image. `index` counts
    frames and failures together, from 0.

    Args:
        source: A file, folder or glob; an array holding one image (what `image.to_bgr` takes); a failure, which is
            passed on; or a list of these.
        threads: How many read ahead: up to 16 images, or about 64 MB of pixels but one a thread, wait in memory. With
            0 each image is read when it is asked for.
        skip: Names of images to pass over without decoding them; the others keep the index they would have had.
        skipped: Counts the files of folders that are no images, for `paths.skipped_line`.
    """
    return map_images(source, _itself, threads, skip, skipped)


def map_images(
    source: Source,
    look: Callable[[Frame], T],
    threads: int = 0,
    skip: Container[str] = frozenset(),
    skipped: Counter[str] | None = None,
) -> Iterator[T | Failure]:
    """Do as `read_images` does, and yield what `look` makes of each frame in the thread that has read it.

    `look` must be safe to call from several threads; what it raises ends all.
    """
    jobs = (job for job in _jobs(source, skipped) if job[2] not in skip)
    if threads > 0:
        return _read_ahead(jobs, look, threads)
    return (item if isinstance(item, Failure) else look(item) for item in starmap(_read, jobs))


@dataclass(frozen=True, slots=True)
class _Page:
    """A page of a TIFF file behind the first."""

    path: Path
    number: int


def _itself(frame: Frame) -> Frame:
    return frame


def _jobs(source: Source, skipped: Counter[str] | None) -> Iterator[tuple[Any, int, str]]:
    """(a file, page, array, failure or what is no source; index; name) of each image."""
    one = isinstance(source, (str, Path, np.ndarray, Failure))
    items: Sequence[Any] = [source] if one else source  # type: ignore[assignment]
    index = 0
    for position, item in enumerate(items):
        for found in _found(item, skipped):
            yield found, index, _name(found) or f"array {position}"
            index += 1


def _name(item: Any) -> str:
    if isinstance(item, _Page):
        return page_name(str(item.path), item.number)
    return item.name if isinstance(item, Failure) else str(item) if isinstance(item, Path) else ""


def _read_ahead(
    jobs: Iterator[tuple[Any, int, str]], look: Callable[[Frame], T], threads: int
) -> Iterator[T | Failure]:
    def read(job: tuple[Any, int, str]) -> tuple[T | Failure, int]:
        item = _read(*job)
        return (item, 0) if isinstance(item, Failure) else (look(item), item.image.nbytes)

    waiting: deque[Future[tuple[T | Failure, int]]] = deque()
    room = threads  # until the size of the images is known
    pool = ThreadPoolExecutor(threads, "mien-read")
    try:
        for job in jobs:
            while len(waiting) >= room:
                item, size = waiting.popleft().result()
                if size:
                    room = max(threads, min(_AHEAD, _BYTES // size))
                yield item
                del item  # else one more image stays in memory
            waiting.append(pool.submit(read, job))
        while waiting:
            yield waiting.popleft().result()[0]
    finally:
        pool.shutdown(cancel_futures=True)


def _found(item: Any, skipped: Counter[str] | None) -> Iterator[Any]:
    """Expand an item into files, pages and arrays, or into the failure that says why it cannot be."""
    if not isinstance(item, (str, Path)):
        yield item
        return
    try:
        files = expand_source(item, skipped)
    except SourceError as error:
        yield Failure(str(item), str(error))
        return
    for file in files:
        yield file
        if isinstance(file, Path) and file.suffix.lower() in (".tif", ".tiff"):
            yield from (_Page(file, number) for number in range(1, _pages(file)))


def _pages(path: Path) -> int:
    try:
        return read_header(path).frames
    except SourceError:  # told when it is read
        return 1


def _read(item: Any, index: int, name: str) -> Frame | Failure:
    if isinstance(item, Failure):
        return replace(item, index=index)
    shown = display(name)
    try:
        if isinstance(item, np.ndarray):
            return Frame(to_bgr(item, name), index, 0.0, name)
        if isinstance(item, _Page):
            return Frame(decode(read_file(item.path), shown, page=item.number), index, 0.0, name)
        if not isinstance(item, Path):
            return Failure(name, f"a {type(item).__name__} is no source; give a path or a numpy array", index)
        if item.suffix.lower() in VIDEO_SUFFIXES:
            reason = "a video, where images are read; give it to mien.media.video_reader.Video or mien video"
            return Failure(name, f"{shown}: {reason}", index)
        return Frame(decode(read_file(item), shown), index, 0.0, name)
    except SourceError as error:
        return Failure(name, str(error), index)
