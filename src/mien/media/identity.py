"""Tell whether two names mean the same file."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

PathLike = str | os.PathLike[str]


def nearest_existing(path: Path) -> Path:
    """Return the path itself if it exists, else its nearest existing parent."""
    return next((place for place in (path, *path.parents) if identity_of(place) is not None), Path(path.anchor))


def name_key(path: Path) -> tuple[int | str, ...]:
    """Return a key that is equal for all names of one file, existing or not.

    Names of new files that differ only in case count as one: some file systems ignore case.
    """
    here = nearest_existing(path)
    rest = path.relative_to(here).parts
    identity = identity_of(here) or 0
    return (identity, *(unicodedata.normalize("NFC", part).casefold() for part in rest))


def is_file(path: Path) -> bool:
    """Tell whether a path leads to a regular file; False if that cannot be found out."""
    try:
        return path.is_file()
    except OSError:
        return False


def identity_of(path: PathLike) -> int | None:
    """Return a number that is equal for all names of one file, links followed, or None if there is no file."""
    try:
        return packed(os.stat(path))  # noqa: PTH116 - called for millions of names
    except (OSError, ValueError):
        return None


def packed(state: os.stat_result) -> int:
    """Return device and inode as one number, since there may be millions."""
    return state.st_dev << 64 | state.st_ino
