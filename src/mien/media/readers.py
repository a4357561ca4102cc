"""Read files, folders, globs, arrays and all else that `inputs` reads as a stream of frames."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mien.errors import SourceError
from mien.media.image import decode, page_name
from mien.media.image_header import read_header
from mien.media.inputs import ImageLike, is_many, read_frame
from mien.media.paths import VIDEO_SUFFIXES, display, expand_source, read_file, without_password
from mien.media.prefetch import prefetch_map
from mien.media.reduced_jpeg import decode_for_search
from mien.types import Failure, Frame

T = TypeVar("T")
Item = ImageLike | Failure
Source = Item | Iterable[Item]


def read_images(
    source: Source, threads: int = 0, skip: Container[str] = frozenset(), skipped: Counter[str] | None = None
) -> Iterator[Frame | Failure]:
    """Read images in the order of the source: a Frame (uint8 BGR, time 0) or a Failure for each.

    `source` is a file, folder, glob or http(s) URL, another image (see `inputs.ImageLike`; arrays are BGR), a failure,
    which is passed on, or an iterable of these. Each page of a TIFF file is an image. With `threads` above 0, up to 16
    images or about 64 MB of pixels, but one a thread, are read ahead. Images named in `skip` are not decoded; the
    others keep their `index`, which counts frames and failures together, from 0. `skipped` counts the other files of
    folders, see `paths.list_images`.
    """
    return map_images(source, lambda frame: frame, threads, skip, skipped)


def map_images(
    source: Source,
    function: Callable[[Frame], T],
    threads: int = 0,
    skip: Container[str] = frozenset(),
    skipped: Counter[str] | None = None,
    searched_side: Callable[[int], int] | None = None,
) -> Iterator[T | Failure]:
    """Read images as `read_images` does and yield `function(frame)`, called in the thread that read the frame.

    With `searched_side`, large JPEG files are frames of a `ReducedJpeg`, see `reduced_jpeg.decode_for_search`.
    """

    def read(job: tuple[Any, int, str, str]) -> tuple[T | Failure, int]:
        item = _read(*job, searched_side)
        return (item, 0) if isinstance(item, Failure) else (function(item), item.nbytes)

    jobs = (job for job in _jobs(source, skipped) if job[2] not in skip)
    for item, _ in prefetch_map(read, jobs, itemgetter(1), threads) if threads > 0 else map(read, jobs):
        yield item
        del item  # else one more image stays in memory


@dataclass(frozen=True, slots=True)
class _Page:
    """A page of a TIFF file behind the first."""

    path: Path
    number: int


def _jobs(source: Source, skipped: Counter[str] | None) -> Iterator[tuple[Any, int, str, str]]:
    """Yield (file, page, failure or another image; index; name; what to add to the name of an unnamed one)."""
    index = 0
    for position, item in enumerate(source if is_many(source) else [source]):
        for part in _expand(item, skipped):
            yield part, index, _name(part, f" {position}"), f" {position}"
            index += 1


def _name(part: Any, unnamed: str) -> str:
    if isinstance(part, _Page):
        return page_name(str(part.path), part.number)
    if isinstance(part, Failure):
        return part.name
    if isinstance(part, (str, os.PathLike)):
        return without_password(os.fsdecode(part))
    return f"{'array' if isinstance(part, np.ndarray) else 'image'}{unnamed}"


def _expand(item: Any, skipped: Counter[str] | None) -> Iterator[Any]:
    """Expand an item into files, TIFF pages and arrays, or into the failure that says why it cannot be."""
    if not isinstance(item, (str, os.PathLike)) or "://" in str(item):
        yield item
        return
    try:
        files = expand_source(os.fsdecode(item), skipped)
    except SourceError as error:
        yield Failure(str(item), str(error))
        return
    for file in files:
        yield file
        if isinstance(file, Path) and file.suffix.lower() in (".tif", ".tiff"):
            yield from (_Page(file, number) for number in range(1, _count_pages(file)))


def _count_pages(path: Path) -> int:
    try:
        return read_header(path).frames
    except SourceError:  # reading the first page gives the failure
        return 1


def _read(
    item: Any, index: int, name: str, unnamed: str, searched_side: Callable[[int], int] | None = None
) -> Frame | Failure:
    if isinstance(item, Failure):
        return replace(item, index=index)
    shown = display(name)
    try:
        if isinstance(item, _Page):
            return Frame(decode(read_file(item.path), shown, page=item.number), index, 0.0, name)
        if not isinstance(item, Path):
            return read_frame(item, index=index, unnamed=unnamed)
        if item.suffix.lower() in VIDEO_SUFFIXES:
            return Failure(name, f"{shown}: a video, not an image; use mien video", index)
        return Frame(decode_for_search(read_file(item), shown, searched_side), index, 0.0, name)
    except SourceError as error:
        return Failure(name, str(error), index)
