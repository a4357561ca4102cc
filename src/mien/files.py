"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def draft(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A place beside `path` to write to; it takes that name at the end, and is gone when the writing failed.

    Missing folders are made.

    Raises:
        OSError: the folder cannot be made, or the file not renamed.
    """
    goal = Path(path)
    goal.parent.mkdir(parents=True, exist_ok=True)
    place = goal.with_name(f".{goal.name}.{uuid4().hex}.tmp")
    try:
        yield place
        os.replace(place, goal)
    finally:
        place.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 text file by way of `draft`."""
    with draft(path) as place:
        place.write_text(text, "utf-8")
