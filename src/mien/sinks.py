"""Where results go: JSON lines, CSV, drawn pictures, face crops.

Nothing half-written ever carries its final name: a file is written as `<name>.part` beside it and renamed when whole.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable, Sequence
from itertools import chain, count
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, Self

import cv2

from mien.types import EMOTIONS, Face, Failure, Image, Result, SourceError


class _TextFile:
    """A text file under a temporary name until `close`; flushed after each write, so that a crash loses nothing."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._part = self.path.with_name(self.path.name + ".part")
        try:
            if self.path.is_dir():
                raise IsADirectoryError(21, "it is a folder")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # backslashreplace: a file name that is no valid UTF-8 must not end a batch
            self._file = self._part.open("w", encoding="utf-8", errors="backslashreplace", newline="")
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def _put(self, text: str) -> None:
        if self._file.closed:
            raise SourceError(f"{self.path}: already closed; write before closing, or open a new sink")
        try:
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def close(self) -> None:
        """Give the file its final name, replacing an older one; calling it twice does no harm.

        Raises:
            SourceError: the file cannot be finished.
        """
        if self._file.closed:
            return
        try:
            self._file.close()
            os.replace(self._part, self.path)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:  # an older complete file is worth more than this incomplete one, which stays to be looked at as .part
            self._file.close()


class Jsonl(_TextFile):
    """One JSON object a line, in UTF-8: `Result.to_dict()` a picture, {"name", "error"} a failure.

    Raises:
        SourceError: the path cannot be written.
    """

    def write(self, result: Result) -> None:
        """Add a picture; without a face its "faces" is []."""
        self._line(result.to_dict())

    def fail(self, failure: Failure) -> None:
        """Add an item that could not be read."""
        self._line({"name": failure.name, "error": failure.reason})

    def _line(self, value: dict[str, Any]) -> None:
        self._put(json.dumps(value, ensure_ascii=False) + "\n")


class Csv(_TextFile):
    """A row a face; a picture without a face and a failure also get one row, with the face's columns empty.

    Columns: name, index, time (s), face (from 0), id, x1, y1, x2, y2 (px), score, emotion, confidence, uncertain (0 or
    1), a probability for each of `labels`, error.

    Raises:
        SourceError: the path cannot be written.
    """

    def __init__(self, path: str | Path, labels: Sequence[str] = EMOTIONS) -> None:
        super().__init__(path)
        self._labels = tuple(labels)
        fixed = [
            "name",
            "index",
            "time",
            "face",
            "id",
            "x1",
            "y1",
            "x2",
            "y2",
            "score",
            "emotion",
            "confidence",
            "uncertain",
        ]
        self._columns = [*fixed, *self._labels, "error"]
        self._writer = csv.DictWriter(_Lines(self._put), self._columns, restval="", lineterminator="\n")
        self._writer.writeheader()

    def write(self, result: Result) -> None:
        """Add a picture's faces."""
        frame = result.frame
        common = {"name": frame.name, "index": frame.index, "time": round(float(frame.time), 6)}
        for row in [self._face(k, face) for k, face in enumerate(result.faces)] or [{}]:
            self._writer.writerow({**common, **row})

    def fail(self, failure: Failure) -> None:
        """Add an item that could not be read."""
        self._writer.writerow({"name": failure.name, "index": failure.index, "error": failure.reason})

    def _face(self, k: int, face: Face) -> dict[str, Any]:
        plain = face.to_dict()
        row = {name: plain[name] for name in ("id", "score", "emotion")}
        row |= dict(zip(("x1", "y1", "x2", "y2"), plain["box"], strict=True)) | {"face": k}
        if plain["probabilities"]:  # before classification there is nothing to be sure or unsure of
            row |= {"confidence": plain["confidence"], "uncertain": int(plain["uncertain"])}
        return row | {name: plain["probabilities"].get(name, "") for name in self._labels}


class _Lines:
    """The one method of a file that the csv module calls."""

    def __init__(self, put: Callable[[str], None]) -> None:
        self.write = put


class _Folder:
    """A folder of pictures, each written whole or not at all."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._taken: set[str] = set()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def fail(self, failure: Failure) -> None:
        """An item that could not be read leaves no picture."""

    def close(self) -> None:
        """Nothing is left to do: each picture was finished when it was written."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _stem(self, name: str) -> str:
        """A stem that no earlier picture of this run has: the file's own, else with its folder's name, else counted."""
        path = PurePath(name)
        stem = _clean(path.stem) or "picture"
        if name and Path(name).parent.resolve() == self.folder.resolve():
            stem += "_mien"  # never write over the pictures that are being read
        parent = _clean(path.parent.name)
        first = [stem, f"{parent}_{stem}"] if parent else [stem]
        wanted = chain(first, (f"{stem}_{k}" for k in count(2)))
        # casefold: some file systems take A.jpg and a.jpg for the same
        free = next(each for each in wanted if each.casefold() not in self._taken)
        self._taken.add(free.casefold())
        return free

    def _save(self, name: str, image: Image) -> None:
        path = self.folder / name
        part = path.with_name(name + ".part")
        try:
            part.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
            os.replace(part, path)
        except (OSError, cv2.error) as error:
            part.unlink(missing_ok=True)
            raise _unwritable(path, error) from error


class Images(_Folder):
    """Drawn pictures as `<stem>.jpg`, named apart when stems collide.

    Args:
        folder: made when it does not exist. In the folder of the pictures themselves the names end in `_mien`.
        draw: turns a result into a uint8 BGR picture; usually `mien.draw.draw`.

    Raises:
        SourceError: the folder cannot be written.
    """

    def __init__(self, folder: str | Path, draw: Callable[[Result], Image]) -> None:
        super().__init__(folder)
        self._draw = draw

    def write(self, result: Result) -> None:
        """Draw and save one picture."""
        self._save(self._stem(result.frame.name) + ".jpg", self._draw(result))


class Crops(_Folder):
    """The 48x48 gray crops that the network saw, as `<stem>_<k>_<emotion>.png`, k from 0.

    Raises:
        SourceError: the folder cannot be written.
    """

    def write(self, result: Result) -> None:
        """Save the crops of one picture; without faces nothing is written."""
        stem = self._stem(result.frame.name)
        for k, (face, crop) in enumerate(zip(result.faces, result.crops, strict=False)):
            self._save(f"{stem}_{k}_{_clean(face.emotion) or 'face'}.png", crop)


def _clean(name: str) -> str:
    """Characters that every file system takes, and few enough of them."""
    return re.sub(r"[^\w.+ -]", "_", name).strip(". ")[:60]


def _unwritable(path: Path, error: Exception) -> SourceError:
    reason = getattr(error, "strerror", None) or str(error)
    return SourceError(
        f"{path}: cannot be written ({reason}); choose another place, or check its rights and free space"
    )
