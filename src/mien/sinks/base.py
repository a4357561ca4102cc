"""Base classes of the sinks, and the rows of their tables."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, Self

import cv2

from mien.errors import SourceError
from mien.types import Face, Failure, Image, Result


class FileSink:
    """A file that has a draft's name until `close`. A path that cannot be written is a SourceError."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._part = self.path.with_name(self.path.name + ".part")
        self._closed = False
        with self._writing():
            if self.path.is_dir():
                raise IsADirectoryError(21, "it is a folder")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._open()

    def close(self) -> None:
        """Give the file its final name, replacing an older one; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        with self._writing():
            self._stop()
            self._finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif not self._closed:  # an older complete file stays, and this incomplete one stays a draft
            self._closed = True
            with self._writing():
                self._stop()

    def _open(self) -> None:
        """Start the draft, so that an unwritable path is known before the work begins."""
        raise NotImplementedError

    def _stop(self) -> None:
        """Complete the draft under its own name."""
        raise NotImplementedError

    def _finish(self) -> None:
        """Give the complete draft its final name."""
        os.replace(self._part, self.path)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def _check_open(self) -> None:
        if self._closed:
            raise SourceError(f"{self.path}: already closed; write before closing, or open a new sink")


class TextSink(FileSink):
    """A text file, flushed after each line so that a crash loses nothing."""

    _mode = "w"

    def _open(self) -> None:
        # backslashreplace: a file name that is not valid UTF-8 must not end a batch
        self._file = self._part.open(self._mode, encoding="utf-8", errors="backslashreplace", newline="")

    def _put(self, text: str) -> None:
        self._check_open()
        with self._writing():
            self._file.write(text)
            self._file.flush()

    def _stop(self) -> None:
        self._file.close()


class FolderSink:
    """A folder of images, each written completely or not at all. One that cannot be written is a SourceError."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._taken: set[str] = set()
        self._names: set[str] = set()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def fail(self, failure: Failure) -> None:
        """Write nothing."""

    def reserve(self, name: str) -> None:
        """Keep the file that an earlier run made of this image; call in that run's order, before `write`."""
        self._stem(name, 0)

    def close(self) -> None:
        """Do nothing: each image was finished when it was written."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _stem(self, name: str, index: int) -> str:
        """Return an unused stem: the file's own, else with its folder's name, else with a counter.

        Frames of a video after the first one get their index.
        """
        path = PurePath(name)
        stem = safe_name(path.stem) or "image"
        if name and Path(name).parent.resolve() == self.folder.resolve():
            stem += "_mien"  # never overwrite the images being read
        if name and name in self._names:
            stem += f"_{index:06d}"
        self._names.add(name)
        parent = safe_name(path.parent.name)
        plain = [stem, f"{parent}_{stem}"] if parent else [stem]
        candidates = chain(plain, (f"{stem}_{k}" for k in count(2)))
        # some file systems treat A.jpg and a.jpg as one file
        free = next(name for name in candidates if name.casefold() not in self._taken)
        self._taken.add(free.casefold())
        return free

    def _save(self, name: str, image: Image) -> None:
        path = self.folder / name
        part = path.with_name(name + ".part")
        try:
            part.write_bytes(_encoded(path, image))
            os.replace(part, path)
        except (OSError, cv2.error) as error:
            with suppress(OSError):
                part.unlink()
            raise _unwritable(path, error) from error


class LineWriter:
    """A file as the csv module needs it."""

    def __init__(self, put: Callable[[str], None]) -> None:
        self.write = put


_BOX = ("x1", "y1", "x2", "y2")
COLUMNS = ("name", "index", "time", "face", "id", *_BOX, "score", "emotion", "confidence", "uncertain")


def rows(item: Result | Failure, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return an image's rows, one a face and at least one; unknown values are left out."""
    if isinstance(item, Failure):
        return [{"name": item.name, "index": item.index, "error": item.reason}]
    frame = item.frame
    common = {"name": frame.name, "index": frame.index, "time": round(float(frame.time), 6)}
    return [common | _columns(k, face, labels) for k, face in enumerate(item.faces)] or [common]


def encodable(row: dict[str, Any]) -> dict[str, Any]:
    """Escape what is not valid UTF-8, as the text files do."""
    return {k: v.encode("utf-8", "backslashreplace").decode() if isinstance(v, str) else v for k, v in row.items()}


def _columns(k: int, face: Face, labels: Sequence[str]) -> dict[str, Any]:
    plain = face.to_dict()
    row = {name: plain[name] for name in ("id", "score", "emotion")}
    row |= dict(zip(_BOX, plain["box"], strict=True)) | {"face": k}
    probabilities = plain["probabilities"]
    if probabilities:  # empty before classification
        row |= {"confidence": plain["confidence"], "uncertain": plain["uncertain"]}
    return row | {name: probabilities[name] for name in labels if name in probabilities}


def _encoded(path: Path, image: Image) -> bytes:
    done, data = cv2.imencode(path.suffix, image)
    if not done:
        size = "x".join(str(side) for side in image.shape[1::-1])
        raise SourceError(f"{path}: an image of {size} pixels is too large for a file; make it smaller")
    return data.tobytes()


def safe_name(name: str, most: int = 90) -> str:
    """Keep characters that every file system takes, at most `most` bytes: a name has two such parts and a number."""
    return re.sub(r"[^\w.+ -]", "_", name).strip(". ").encode()[:most].decode(errors="ignore")


def _unwritable(path: Path, error: Exception) -> SourceError:
    reason = getattr(error, "strerror", None) or str(error)
    return SourceError(
        f"{path}: cannot be written ({reason}); choose another place, or check its rights and free space"
    )
