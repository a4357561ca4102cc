"""Base classes of the sinks, and the rows of their tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import chain, count
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, ClassVar, Self

import cv2

from mien.errors import OutputError
from mien.media.identity import identity_of
from mien.media.output_paths import Output, OutputFolder, OutputPaths
from mien.media.targets import output_error, writing
from mien.types import QUALITY, Face, Failure, Image, Result


class FileSink:
    """A file that has a draft's name until `close`; what cannot be written is an OutputError.

    The constructor only checks the path. The draft is made by `start`, or by the first row.

    Args:
        path: the file, or what `ask` returned for it.
    """

    _options: ClassVar[dict[str, Any]] = {}  # of `OutputPaths.file`

    def __init__(self, path: str | Path | Output) -> None:
        self._asked = isinstance(path, Output)
        self.file = path if isinstance(path, Output) else self.ask(OutputPaths(), path)
        self.path = self.file.path
        self._closed = False
        self._is_empty = True

    @classmethod
    def ask(cls, outputs: OutputPaths, path: str | Path) -> Output:
        """Check that this kind of file may be written at `path`, before anything else is known."""
        return outputs.file(path, **cls._options)

    def start(self, outputs: OutputPaths | None = None) -> None:
        """Make the draft unless that is done; `outputs` knows the inputs of the run."""
        if self._closed:
            raise OutputError(f"{self.path}: already closed; write before closing, or open a new sink")
        if self.file.started:
            return
        if outputs is not None and not self._asked:
            self.file = self.ask(outputs, self.path)
        self._is_empty = not self._begin()

    def close(self) -> None:
        """Give the file its final name, replacing an older one; safe to call twice."""
        if self._closed:
            return
        self.start()
        self._closed = True
        try:
            with writing(self.path):
                self._finish()
        except BaseException:
            (self.file.discard if self._is_empty else self.file.abandon)()
            raise
        self.file.commit()

    def abandon(self) -> None:
        """End after an error: an older complete file stays, and the rows so far stay in the draft."""
        if not self.file.started or self._closed:
            return
        self._closed = True
        if self._is_empty:
            self.file.discard()
            return
        try:
            with writing(self.path):
                self._stop()
        finally:
            self.file.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def _begin(self) -> bool:
        """Make the draft, and tell whether it holds rows of an earlier run."""
        self.file.start()
        return False

    def _stop(self) -> None:
        """Make the draft readable."""

    def _finish(self) -> None:
        """Make the draft complete."""
        self._stop()


class TextSink(FileSink):
    """A text file; the system has each line before the next, so that a kill loses nothing."""

    def _put(self, text: str) -> None:
        self.start()
        self._is_empty = False
        # backslashreplace: a file name that is not valid UTF-8 must not end a batch
        self.file.write(text.encode("utf-8", "backslashreplace"))


class FolderSink:
    """A folder of images, each written completely or not at all; never over an input.

    Args:
        folder: the folder, or what `ask` returned for it.
    """

    _options: ClassVar[dict[str, Any]] = {}  # of `OutputPaths.folder`

    def __init__(self, folder: str | Path | OutputFolder) -> None:
        self._asked = isinstance(folder, OutputFolder)
        self._target = folder if isinstance(folder, OutputFolder) else self.ask(OutputPaths(), folder)
        self.folder = self._target.path
        self._started = False
        self._taken: set[str] = set()
        self._names: set[str] = set()

    @classmethod
    def ask(cls, outputs: OutputPaths, folder: str | Path) -> OutputFolder:
        """Check that images may be written into `folder`, before anything else is known."""
        return outputs.folder(folder, **cls._options, again=("*.jpg", "*.png"))

    def start(self, outputs: OutputPaths | None = None) -> None:
        """Make and lock the folder unless that is done; `outputs` knows the inputs of the run."""
        if self._started:
            return
        if outputs is not None and not self._asked:
            self._target = self.ask(outputs, self.folder)
        self._target.start()
        self._started = True

    def fail(self, failure: Failure) -> None:
        """Write nothing."""

    def reserve(self, name: str) -> None:
        """Keep the file that an earlier run made of this image; call in that run's order, before `write`."""
        self._stem(name, 0)

    def close(self) -> None:
        """Let other runs write into the folder; each image was finished when it was written."""
        self._target.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _stem(self, name: str, index: int) -> str:
        """Return an unused stem: the file's own, else with its folder's name, else with a counter.

        `_mien` is added where the stem is an input's. Frames of a video after the first one get their index.
        """
        path = PurePath(name)
        stem = safe_name(path.stem) or "image"
        source = identity_of(name) if name else None
        if name and name in self._names:
            stem += f"_{index:06d}"
        self._names.add(name)
        parent = safe_name(path.parent.name)
        plain = [stem, *([] if self._is_free(stem, source) else [f"{stem}_mien"])]
        plain += [f"{parent}_{stem}"] if parent else []
        candidates = chain(plain, (f"{stem}_{k}" for k in count(2)))
        # some file systems treat A.jpg and a.jpg as one file
        free = next(each for each in candidates if each.casefold() not in self._taken and self._is_free(each, source))
        self._taken.add(free.casefold())
        return free

    def _is_free(self, stem: str, source: int | None) -> bool:
        """Tell whether images of this stem replace no input; a sink that knows no inputs spares its own source."""
        names = (f"{stem}.jpg", f"{stem}.png")
        own = source is not None and any(identity_of(self.folder / name) == source for name in names)
        return not own and all(map(self._target.is_free, names))

    def _save(self, name: str, image: Image) -> None:
        self.start()
        self._target.write(name, encode(self.folder / name, image))


class LineWriter:
    """A file as the csv module needs it."""

    def __init__(self, put: Callable[[str], None]) -> None:
        self.write = put


_BOX = ("x1", "y1", "x2", "y2")
COLUMNS = (
    "name",
    "index",
    "time",
    "shot",
    "face",
    "id",
    *_BOX,
    "score",
    "emotion",
    "confidence",
    "uncertain",
    *QUALITY,
)


def rows(item: Result | Failure, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return an image's rows, one a face and at least one; unknown values are left out."""
    if isinstance(item, Failure):
        return [{"name": item.name, "index": item.index, "error": item.reason}]
    frame = item.frame
    common: dict[str, Any] = {"name": frame.name, "index": frame.index, "time": round(float(frame.time), 6)}
    common |= {} if item.shot is None else {"shot": item.shot}
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
    row |= plain["quality"] or {}
    return row | {name: probabilities[name] for name in labels if name in probabilities}


def encode(path: Path, image: Image) -> bytes:
    """Return an image file of the format that its name ends in."""
    try:
        done, data = cv2.imencode(path.suffix, image)
    except cv2.error as error:
        raise output_error(path, error) from error
    if not done:
        size = "x".join(str(side) for side in image.shape[1::-1])
        raise OutputError(f"{path}: an image of {size} pixels is too large for a file; make it smaller")
    return data.tobytes()


def safe_name(name: str, most: int = 90) -> str:
    """Keep characters that every file system takes, at most `most` bytes: a name has two such parts and a number."""
    return re.sub(r"[^\w.+ -]", "_", name).strip(". ").encode()[:most].decode(errors="ignore")
