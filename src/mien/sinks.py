"""Where results go: JSON lines, CSV, Parquet, failures, annotated video, drawn pictures, face crops.

Nothing half-written ever carries its final name: a file is written under a draft's name beside it and renamed when
whole. A draft can be read after a crash, kill -9 included:
    Jsonl, Csv, Failures: `<name>.part` holds every result (the system has each line before the next one is written);
    Parquet: `<name>.part/` is a folder of whole Parquet files, which readers take as one table, up to some seconds ago;
    Video: `<stem>.part.mp4` or `.mkv` plays, see mien.video.
The next run into the same name replaces what an earlier one left; Jsonl can go on behind it instead.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path, PurePath
from time import monotonic
from types import TracebackType
from typing import Any, Self

import cv2

from mien import video
from mien.types import EMOTIONS, ConfigError, Face, Failure, Image, Result, SourceError


class _File:
    """A file under a draft's name until `close`."""

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
        """Give the file its final name, replacing an older one; calling it twice does no harm.

        Raises:
            SourceError: the file cannot be finished.
        """
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
        elif not self._closed:  # an older complete file is worth more than this incomplete one, which stays as a draft
            self._closed = True
            with self._writing():
                self._stop()

    def _open(self) -> None:
        """Start the draft, so that a place that cannot be written is known before the work begins."""
        raise NotImplementedError

    def _stop(self) -> None:
        """Complete the draft, and leave it under its own name."""
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


class _TextFile(_File):
    """Flushed after each line, so that a crash loses nothing."""

    _mode = "w"

    def _open(self) -> None:
        # backslashreplace: a file name that is no valid UTF-8 must not end a batch
        self._file = self._part.open(self._mode, encoding="utf-8", errors="backslashreplace", newline="")

    def _put(self, text: str) -> None:
        self._check_open()
        with self._writing():
            self._file.write(text)
            self._file.flush()

    def _stop(self) -> None:
        self._file.close()


class Jsonl(_TextFile):
    """One JSON object a line, in UTF-8: `Result.to_dict()` a picture, {"name", "error"} a failure.

    Attributes:
        done: what the file holds of an earlier run that is gone on with: name -> reason of a failure, or "".
    """

    def __init__(self, path: str | Path, resume: bool = False, retry: Container[str] = ()) -> None:
        """Start the draft.

        Args:
            path: of the file.
            resume: go on behind the lines of a run that was stopped (its draft), or else of the finished file, which
                stays as it is until `close`. A last line that is not whole is cut off.
            retry: then take out the lines of failures of these names, so that they count as not done.

        Raises:
            SourceError: the path cannot be written, or what is to be gone on with is no such file.
        """
        self.done: dict[str, str] = {}
        self._mode = "a" if resume else "w"
        self._retry = retry
        super().__init__(path)

    def write(self, result: Result) -> None:
        """Add a picture; without a face its "faces" is []."""
        self._line(result.to_dict())

    def fail(self, failure: Failure) -> None:
        """Add an item that could not be read."""
        self._line({"name": failure.name, "error": failure.reason})

    def _open(self) -> None:
        if self._mode == "a":
            copied = self.path.exists() and not self._part.exists()
            if copied:
                shutil.copyfile(self.path, self._copy)
                os.replace(self._copy, self._part)  # whole or not at all
            if self._part.exists():
                try:
                    os.truncate(self._part, self._read())
                except SourceError:
                    if copied:
                        self._part.unlink()
                    raise
                if again := {name for name, reason in self.done.items() if reason and name in self._retry}:
                    self._forget(again)
        super()._open()

    @property
    def _copy(self) -> Path:
        return self._part.with_name(self._part.name + ".copy")

    def _read(self) -> int:
        """Note what is done; number of bytes up to the end of the last whole line."""
        size = 0
        with self._part.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                try:
                    row = json.loads(line)
                    self.done[row["name"]] = row.get("error", "")
                except (ValueError, TypeError, KeyError, AttributeError) as error:
                    raise SourceError(
                        f"{self._part}: line {number} is none that mien wrote; give another file, or do not resume"
                    ) from error
                size += len(line)
        return size

    def _forget(self, names: set[str]) -> None:
        with self._part.open("rb") as file, self._copy.open("wb") as copy:
            copy.writelines(line for line in file if json.loads(line)["name"] not in names)
        os.replace(self._copy, self._part)
        self.done = {name: reason for name, reason in self.done.items() if name not in names}

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
        columns = [*_COLUMNS, *self._labels, "error"]
        self._writer = csv.DictWriter(_Lines(self._put), columns, restval="", lineterminator="\n")
        self._writer.writeheader()

    def write(self, result: Result) -> None:
        """Add a picture's faces."""
        for row in rows(result, self._labels):
            self._writer.writerow(row if "uncertain" not in row else row | {"uncertain": int(row["uncertain"])})

    def fail(self, failure: Failure) -> None:
        """Add an item that could not be read."""
        self._writer.writerows(rows(failure, self._labels))


class Failures(_TextFile):
    """What could not be read, and why: {"name", "reason"} a line, or a table where the path ends in .csv.

    An empty file, or table, says that there was nothing.

    Raises:
        SourceError: the path cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._writer = (
            csv.writer(_Lines(self._put), lineterminator="\n") if self.path.suffix.lower() == ".csv" else None
        )
        if self._writer:
            self._writer.writerow(("name", "reason"))

    def write(self, result: Result) -> None:
        """What could be read is no failure."""

    def fail(self, failure: Failure) -> None:
        """Add an item that could not be read."""
        if self._writer:
            self._writer.writerow((failure.name, failure.reason))
        else:
            self._put(json.dumps({"name": failure.name, "reason": failure.reason}, ensure_ascii=False) + "\n")


class Parquet(_File):
    """The table of `Csv` with typed columns (`uncertain` is a boolean, what is empty there is null); needs PyArrow.

    A Parquet file cannot be read before its end is written. So rows go to numbered files in the folder `<name>.part`,
    each whole, and `close` joins them into one file, a row group each, with no more than one in memory.

    Raises:
        ConfigError: PyArrow is not installed.
        SourceError: the path cannot be written.
    """

    def __init__(
        self, path: str | Path, labels: Sequence[str] = EMOTIONS, seconds: float = 5.0, rows: int = 20_000
    ) -> None:
        """Start the draft.

        Args:
            path: of the file.
            labels: a column of probabilities each.
            seconds: rows are written out when so much time has passed since the last ones were: what a crash can lose.
            rows: or when there are so many.
        """
        try:
            import pyarrow as pa
        except ModuleNotFoundError as error:
            raise ConfigError("Parquet needs PyArrow; pip install 'mien[parquet]', or write CSV") from error
        super().__init__(path)
        self._labels = tuple(labels)
        kinds = dict.fromkeys(("face", "id"), pa.int32()) | dict.fromkeys(("name", "emotion", "error"), pa.string())
        kinds |= {"index": pa.int64(), "time": pa.float64(), "uncertain": pa.bool_()}
        columns = (*_COLUMNS, *self._labels, "error")
        self._schema = pa.schema([(name, kinds.get(name, pa.float32())) for name in columns])
        self._seconds, self._most = seconds, rows
        self._rows: list[dict[str, Any]] = []
        self._files = 0
        self._saved = monotonic()

    def write(self, result: Result) -> None:
        """Add a picture's faces."""
        self._add(rows(result, self._labels))

    def fail(self, failure: Failure) -> None:
        """Add an item that could not be read."""
        self._add(rows(failure, self._labels))

    def _add(self, rows: list[dict[str, Any]]) -> None:
        self._check_open()
        self._rows += rows
        if len(self._rows) >= self._most or monotonic() - self._saved >= self._seconds:
            with self._writing():
                self._save()

    def _open(self) -> None:
        self._part.mkdir(exist_ok=True)
        self._clear()

    def _save(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        draft = self._part / f".{self._files:06d}"  # a name that readers of folders pass over
        pq.write_table(pa.Table.from_pylist(list(map(safe, self._rows)), self._schema), draft)
        os.replace(draft, self._part / f"{self._files:06d}.parquet")
        self._files += 1
        self._rows.clear()
        self._saved = monotonic()

    def _stop(self) -> None:
        if self._rows or self._files == 0:
            self._save()

    def _finish(self) -> None:
        import pyarrow.parquet as pq

        whole = self._part / ".whole"
        with pq.ParquetWriter(whole, self._schema) as writer:
            for k in range(self._files):
                writer.write_table(pq.read_table(self._part / f"{k:06d}.parquet"))
        os.replace(whole, self.path)
        self._clear()
        with suppress(OSError):  # somebody else's files are in it
            self._part.rmdir()

    def _clear(self) -> None:
        for each in self._part.iterdir():
            if re.fullmatch(r"\d{6}\.parquet|\.\d{6}|\.whole", each.name):
                each.unlink()


_BOX = ("x1", "y1", "x2", "y2")
_COLUMNS = ("name", "index", "time", "face", "id", *_BOX, "score", "emotion", "confidence", "uncertain")


def rows(item: Result | Failure, labels: Sequence[str]) -> list[dict[str, Any]]:
    """A picture as rows of a table, one a face and at least one; what is not known is left out."""
    if isinstance(item, Failure):
        return [{"name": item.name, "index": item.index, "error": item.reason}]
    frame = item.frame
    common = {"name": frame.name, "index": frame.index, "time": round(float(frame.time), 6)}
    return [common | _columns(k, face, labels) for k, face in enumerate(item.faces)] or [common]


def safe(row: dict[str, Any]) -> dict[str, Any]:
    """A row for Parquet: a name that is no valid UTF-8 is written as in the text files."""
    return {k: v.encode("utf-8", "backslashreplace").decode() if isinstance(v, str) else v for k, v in row.items()}


def _columns(k: int, face: Face, labels: Sequence[str]) -> dict[str, Any]:
    plain = face.to_dict()
    row = {name: plain[name] for name in ("id", "score", "emotion")}
    row |= dict(zip(_BOX, plain["box"], strict=True)) | {"face": k}
    probabilities = plain["probabilities"]
    if probabilities:  # before classification there is nothing to be sure or unsure of
        row |= {"confidence": plain["confidence"], "uncertain": plain["uncertain"]}
    return row | {name: probabilities[name] for name in labels if name in probabilities}


class _Lines:
    """The one method of a file that the csv module calls."""

    def __init__(self, put: Callable[[str], None]) -> None:
        self.write = put


class Video(_File):
    """An annotated video, each frame at its own time; H.264 that browsers play, and sound, with PyAV (`mien.video`).

    Args:
        path: its suffix chooses the kind: .mp4, .m4v, .mov, .mkv or, with PyAV, .webm.
        draw: turns a result into a uint8 BGR picture; usually `mien.draw.draw`. The first one's size is the video's.
        fps: nominal rate. Without PyAV the rate is constant: frames are repeated or left out to keep the time.
        sound: the video that is being watched, to take its sound from; without PyAV there is none.

    Raises:
        ConfigError: another suffix.
        SourceError: the path cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        draw: Callable[[Result], Image],
        fps: float = 30.0,
        sound: str | Path | None = None,
    ) -> None:
        self._encoder = video.encoder(Path(path), fps)
        self._draw = draw
        self._sound = None if sound is None else Path(sound)
        if self._sound and self._sound.exists() and Path(path).exists() and self._sound.samefile(path):
            raise ConfigError(f"{path}: that is the video being read; give the new one another name")
        super().__init__(path)

    def write(self, result: Result) -> None:
        """Add a frame."""
        self._check_open()
        with self._writing():
            self._encoder.write(self._draw(result), result.frame.time)

    def fail(self, failure: Failure) -> None:
        """A frame that could not be read is not shown; the one before it stays longer."""

    def _open(self) -> None:
        self._encoder.part.touch()

    def _stop(self) -> None:
        self._encoder.stop()

    def _finish(self) -> None:
        self._encoder.finish(self._sound)


class _Folder:
    """A folder of pictures, each written whole or not at all."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._taken: set[str] = set()
        self._names: set[str] = set()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def fail(self, failure: Failure) -> None:
        """An item that could not be read leaves no picture."""

    def reserve(self, name: str) -> None:
        """Keep the file that an earlier run made of this picture; call it in the order of that run, before `write`."""
        self._stem(name, 0)

    def close(self) -> None:
        """Nothing is left to do: each picture was finished when it was written."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _stem(self, name: str, index: int) -> str:
        """A stem that no earlier picture of this run has: the file's own, else with its folder's name, else counted.

        The second frame of a video, and each later one, has its number.
        """
        path = PurePath(name)
        stem = _clean(path.stem) or "picture"
        if name and Path(name).parent.resolve() == self.folder.resolve():
            stem += "_mien"  # never write over the pictures that are being read
        if name and name in self._names:
            stem += f"_{index:06d}"
        self._names.add(name)
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
            part.write_bytes(_encoded(path, image))
            os.replace(part, path)
        except (OSError, cv2.error) as error:
            with suppress(OSError):
                part.unlink()
            raise _unwritable(path, error) from error


class Images(_Folder):
    """Drawn pictures as `<stem>.jpg`, or `.png` where a side is too long for JPEG; named apart when stems collide.

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
        image = self._draw(result)
        suffix = ".jpg" if max(image.shape[:2]) <= _JPEG_SIDE else ".png"
        self._save(self._stem(result.frame.name, result.frame.index) + suffix, image)


class Crops(_Folder):
    """The 48x48 gray crops that the network saw, as `<stem>_<k>_<emotion>.png`, k from 0.

    Raises:
        SourceError: the folder cannot be written.
    """

    def write(self, result: Result) -> None:
        """Save the crops of one picture; without faces nothing is written."""
        stem = self._stem(result.frame.name, result.frame.index)
        for k, (face, crop) in enumerate(zip(result.faces, result.crops, strict=False)):
            self._save(f"{stem}_{k}_{_clean(face.emotion, 30) or 'face'}.png", crop)


_JPEG_SIDE = 65_500  # px, the most that a JPEG encoder takes


def _encoded(path: Path, image: Image) -> bytes:
    """The content of a picture file of the kind that its name ends in."""
    done, data = cv2.imencode(path.suffix, image)
    if not done:
        size = "x".join(str(side) for side in image.shape[1::-1])
        raise SourceError(
            f"{path}: a picture of {size} pixels is too large for a file; make it smaller or leave it out"
        )
    return data.tobytes()


def _clean(name: str, most: int = 90) -> str:
    """Characters that every file system takes, and few enough bytes: a name is made of two such parts and a number."""
    return re.sub(r"[^\w.+ -]", "_", name).strip(". ").encode()[:most].decode(errors="ignore")


def _unwritable(path: Path, error: Exception) -> SourceError:
    reason = getattr(error, "strerror", None) or str(error)
    return SourceError(
        f"{path}: cannot be written ({reason}); choose another place, or check its rights and free space"
    )
