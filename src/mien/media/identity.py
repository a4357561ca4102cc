"""Tell which names are of one file."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

PathLike = str | os.PathLike[str]


def nearest_existing(path: Path) -> Path:
    """Return a path, or the nearest of its parents that exists."""
    return next((place for place in (path, *path.parents) if identity_of(place) is not None), Path(path.anchor))


def name_key(path: Path) -> tuple[int | str, ...]:
    """Return what two names of one file have in common, also of one that does not exist yet.

    Names of new files that differ in case alone count as one: some file systems take them so.
    """
    here = nearest_existing(path)
    rest = path.relative_to(here).parts
    identity = identity_of(here) or 0
    return (identity, *(unicodedata.normalize("NFC", part).casefold() for part in rest))


def is_file(path: Path) -> bool:
    """Tell whether a path leads to a regular file; where that may not be known it does not."""
    try:
        return path.is_file()
    except OSError:
        return False


def identity_of(path: PathLike) -> int | None:
    """Return what all names of one file have in common, or None where there is no file; links are followed."""
    try:
        return packed(os.stat(path))  # noqa: PTH116 - of millions of names
    except (OSError, ValueError):
        return None


def packed(state: os.stat_result) -> int:
    """Return the same from what the system said of a file: one number, since there may be millions."""
    return state.st_dev << 64 | state.st_ino
