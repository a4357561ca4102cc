"""Read files, folders, globs and arrays as a stream of frames."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mien.errors import SourceError
from mien.media.image import decode, to_bgr
from mien.media.paths import VIDEO_SUFFIXES, expand_source
from mien.media.prefetch import prefetch_map
from mien.types import Failure, Frame

T = TypeVar("T")
Item = str | Path | NDArray[Any]
Source = Item | Sequence[Item]


def read_images(source: Source, threads: int = 0, skip: Container[str] = frozenset()) -> Iterator[Frame | Failure]:
    """Read images in the order of the source: a Frame (uint8 BGR, time 0) or a Failure for each.

    `source` is a file, folder or glob, an array with one image (see `image.to_bgr`), or a list of these. With
    `threads` above 0, up to 16 images or about 64 MB of pixels, but one a thread, are read ahead. Images named in
    `skip` are not opened; the others keep their `index`, which counts frames and failures together, from 0.
    """
    return map_images(source, lambda frame: frame, threads, skip)


def map_images(
    source: Source, function: Callable[[Frame], T], threads: int = 0, skip: Container[str] = frozenset()
) -> Iterator[T | Failure]:
    """Read images as `read_images` does and yield `function(frame)`, called in the thread that read the frame."""

    def read(job: tuple[Any, int, str]) -> tuple[T | Failure, int]:
        item = _read(*job)
        return (item, 0) if isinstance(item, Failure) else (function(item), item.nbytes)

    jobs = (job for job in _jobs(source) if job[2] not in skip)
    for item, _ in prefetch_map(read, jobs, itemgetter(1), threads) if threads > 0 else map(read, jobs):
        yield item
        del item  # else one more image stays in memory


def _jobs(source: Source) -> Iterator[tuple[Any, int, str]]:
    """Yield (file, array, error or unsupported item; index; name) of each image."""
    items: Sequence[Any] = [source] if isinstance(source, (str, Path, np.ndarray)) else source
    index = 0
    for position, item in enumerate(items):
        for part in _expand(item):
            name = part[0] if isinstance(part, tuple) else str(part) if isinstance(part, Path) else None
            yield part, index, name or f"array {position}"
            index += 1


def _expand(item: Any) -> list[Any]:
    """Expand an item into files and arrays, or into its name and the SourceError."""
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
            return Failure(name, f"a {type(item).__name__} cannot be read; give a path or a numpy array", index)
        if item.suffix.lower() in VIDEO_SUFFIXES:
            return Failure(name, f"{name}: a video, not an image; use mien video", index)
        return Frame(decode(item.read_bytes(), name), index, 0.0, name)
    except SourceError as error:
        return Failure(name, str(error), index)
    except OSError as error:
        return Failure(
            name, f"{name}: cannot be read ({error.strerror or error}); check that it is a file of yours", index
        )
