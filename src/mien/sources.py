"""Where pictures come from: files, folders, globs and arrays become a stream of frames."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.image import decode, to_bgr
from mien.types import Failure, Frame, SourceError

PICTURES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm"})
VIDEOS = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"})

Item = str | Path | NDArray[Any]
Source = Item | Sequence[Item]


def expand(sources: Sequence[str | Path]) -> list[Path]:
    """Turn files, folders and globs into a list of files.

    A folder is searched recursively for pictures (by suffix, in any case; hidden files are passed over) and sorted, a
    glob (`*`, `?`, `[...]`, `**`) gives all its files, sorted, and a file stays as it is. The sources keep their order.

    Raises:
        SourceError: a path does not exist, or a folder or glob gives nothing.
    """
    return [path for source in sources for path in _expand_one(source)]


def frames(source: Source) -> Iterator[Frame | Failure]:
    """Read pictures one at a time.

    Args:
        source: a file, folder or glob; an array holding one picture (what `image.to_bgr` takes); or a list of these.

    Yields:
        A Frame (uint8 BGR, time 0) for each picture, or a Failure for an item that cannot be read: nothing is raised,
        so one broken file never ends a batch. `index` counts frames and failures together, from 0.
    """
    items: Sequence[Any] = [source] if isinstance(source, (str, Path, np.ndarray)) else source
    index = 0
    for position, item in enumerate(items):
        for found in _found(item):
            yield _read(found, index, position)
            index += 1


def _expand_one(source: str | Path) -> list[Path]:
    path = Path(source)
    try:
        if path.is_dir():
            return _folder(path)
        if path.exists():  # before the glob: a file may well be called "me [1].jpg"
            return [path]
        if glob.has_magic(str(source)):
            return _glob(str(source))
    except (OSError, ValueError) as error:  # a name that is too long or holds a null byte
        raise SourceError(f"{source}: cannot be looked up ({error}); check the path") from error
    raise SourceError(f"{source}: does not exist; check the spelling and the current folder")


def _folder(folder: Path) -> list[Path]:
    found = [
        Path(root, name)
        for root, _, names in os.walk(folder)  # follows no links to folders, so that it always ends
        for name in names
        if Path(name).suffix.lower() in PICTURES and not name.startswith(".")
    ]
    if not found:
        raise SourceError(f"{folder}: no pictures in this folder; give one that holds {_kinds()} files")
    return sorted(found)


def _glob(pattern: str) -> list[Path]:
    found = [path for path in map(Path, glob.glob(pattern, recursive=True)) if path.is_file()]
    if not found:
        raise SourceError(f"{pattern}: no file matches this pattern; check it, and the current folder")
    return sorted(found)


def _kinds() -> str:
    return ", ".join(sorted(suffix[1:] for suffix in PICTURES))


def _found(item: Any) -> list[Any]:
    """Expand an item into files and arrays, or into the SourceError that says why it cannot be."""
    if not isinstance(item, (str, Path)):
        return [item]
    try:
        return list(_expand_one(item))
    except SourceError as error:
        return [(str(item), error)]


def _read(item: Any, index: int, position: int) -> Frame | Failure:
    if isinstance(item, tuple):
        name, error = item
        return Failure(name, str(error), index)
    name = str(item) if isinstance(item, Path) else f"array {position}"
    try:
        if isinstance(item, np.ndarray):
            return Frame(to_bgr(item, name), index, 0.0, name)
        if not isinstance(item, Path):
            return Failure(name, f"a {type(item).__name__} is no source; give a path or a numpy array", index)
        if item.suffix.lower() in VIDEOS:
            return Failure(name, f"{name}: video is not supported yet by this version; give pictures", index)
        return Frame(decode(item.read_bytes(), name), index, 0.0, name)
    except SourceError as error:
        return Failure(name, str(error), index)
    except OSError as error:
        return Failure(
            name, f"{name}: cannot be read ({error.strerror or error}); check that it is a file of yours", index
        )
