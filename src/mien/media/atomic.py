"""Write files whole or not at all.

A file is written under its draft's name (see mien.media.drafts) and renamed when it is complete. A link is written at
its target, and an existing file's rights are kept. A pipe, a character device and standard output (see
mien.media.targets) have no draft: they get the bytes as they come.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from mien.errors import ConfigError, OutputError
from mien.media import drafts
from mien.media.drafts import draft_path
from mien.media.targets import FLAGS, open_stream, resolve, shown, writing

_BLOCK = 1 << 20  # bytes


class AtomicFile:
    """A file that takes its name when it is complete.

    As a context manager it starts at the beginning, and ends with `commit` or, after an error, with `abandon`.

    Attributes:
        path: the path as it was given.
        target: what it leads to.
        draft: the draft's path, for a program that opens files by itself; None for a stream.
        complete: what takes the file's name at the end: the draft, or another file, such as one in a draft that is a
            folder; then the draft is removed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        suffix: str = "",
        folder: bool = False,
        keep: bool = False,
        sync: bool = True,
        wait: float = 5.0,
    ) -> None:
        """Prepare without touching anything.

        Args:
            path: of the file.
            suffix: of the draft, see `drafts.draft_path`.
            folder: make the draft a folder, for formats that are put together at the end.
            keep: keep the draft when the run fails, because what it holds is of use or can be resumed.
            sync: try the disk at the start, and wait at the end until it has the file. Leave it out for many small
                files that can be made again.
            wait: seconds to wait for the reader of a pipe.
        """
        self.target = resolve(path)
        self.path = self.target.path
        self.draft = draft_path(self.target.real, suffix) if self.target.kind in ("file", "folder") else None
        self.complete = self.draft
        self._folder, self._keep, self._sync, self._wait = folder, keep, sync, wait
        self._fd = -1
        self._closed = False

    @property
    def started(self) -> bool:
        """Whether the file is open for writing."""
        return self._fd >= 0

    def start(self, resume: bool = False, may_drop: Callable[[bytes], bool] | None = None) -> Self:
        """Open and lock the draft, empty or as an earlier run left it; missing folders are made.

        Args:
            resume: go on with the draft of a dead run or, without one, with a copy of the finished file. Where both
                are there, the draft must hold all lines of the file.
            may_drop: tells of a line of the finished file whether the draft may lack it.

        Raises:
            OutputError: the place cannot be written, the disk is full, or another run is writing the file.
            ConfigError: the draft is not a continuation of the finished file, or a stream is to be resumed.
        """
        if resume and (self.draft is None or self._folder):
            raise ConfigError(f"{shown(self.path)}: cannot be resumed; give the file of the earlier run")
        with writing(self.path):
            if self.target.kind == "descriptor":
                for stream in (sys.stdout, sys.stderr):
                    with suppress(AttributeError, ValueError):  # there is none, or it is closed
                        stream.flush()
                self._fd = os.dup(self.target.descriptor)
            elif self.draft is None:
                self._fd = open_stream(self.path, self._wait)
            elif self.target.kind != "file":
                raise IsADirectoryError(errno.EISDIR, "it is a folder")
            else:
                self._start_draft(self.draft, resume, may_drop)
        return self

    def _start_draft(self, draft: Path, resume: bool, may_drop: Callable[[bytes], bool] | None) -> None:
        draft.parent.mkdir(parents=True, exist_ok=True)
        old = drafts.state_of(self.target.real)
        mode = 0o666 if old is None else old.st_mode & 0o777
        self._fd, is_new = drafts.open_draft(self.path, draft, folder=self._folder, mode=mode, fresh=not resume)
        if self._folder:
            return
        try:
            if old is not None:
                _take_over(self._fd, draft, old)
            if resume and old is not None:
                self._continue(draft, may_drop)
            if self._keep:
                drafts.remove_dead_draft(draft_path(draft))  # see `replace`
            if self._sync:
                _probe(self._fd)
        except BaseException:
            self._release()
            if is_new or not resume:
                drafts.remove(draft)
            raise

    def _continue(self, draft: Path, may_drop: Callable[[bytes], bool] | None) -> None:
        """Make the draft a continuation of the finished file."""
        real = self.target.real
        if _is_beginning(draft, real):  # a new draft, or one whose run was killed just here
            self.truncate(0)
            with real.open("rb") as source:
                shutil.copyfileobj(source, self, _BLOCK)
        elif not _is_beginning(real, draft) and not _holds(draft, real, may_drop):
            raise ConfigError(
                f"{self.path}: {draft} holds rows of another run; move one of the two away, or do not resume"
            )

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Add bytes; the system has them when this returns, so that a kill does not lose them.

        Raises:
            OutputError: they cannot be written; a full disk, a reader that has ended.
        """
        self._check()
        left = memoryview(data).cast("B")
        size = left.nbytes
        with writing(self.path):
            while left:
                left = left[os.write(self._fd, left) :]
        return size

    def read(self) -> io.BufferedReader:
        """Open the draft for reading from its beginning, in a run that resumes."""
        if self.draft is None:
            raise ConfigError(f"{shown(self.path)}: cannot be resumed; give the file of the earlier run")
        with writing(self.path):
            return self.draft.open("rb")

    def truncate(self, size: int) -> None:
        """Cut the draft to `size` bytes and go on there."""
        self._check()
        with writing(self.path):
            os.ftruncate(self._fd, size)
            os.lseek(self._fd, size, os.SEEK_SET)

    def probe(self) -> None:
        """Raise an OutputError if the disk takes nothing more: some encoders do not tell."""
        self._check()
        with writing(self.path):
            _probe(self._fd)

    def replace(self, lines: Iterable[bytes]) -> None:
        """Put other lines in place of all that the draft holds, whole or not at all; the lock stays."""
        self._check()
        if self.draft is None:
            raise ConfigError(f"{shown(self.path)}: cannot be resumed; give the file of the earlier run")
        place = draft_path(self.draft)
        with writing(self.path):
            mode = os.fstat(self._fd).st_mode & 0o777
            fd, _ = drafts.open_draft(self.path, place, mode=mode, fresh=True)
            try:
                with os.fdopen(os.dup(fd), "wb") as stream:
                    stream.writelines(lines)
                if sys.platform == "win32":  # which renames no open files
                    os.close(fd)
                    self._release()
                os.replace(place, self.draft)
                if sys.platform == "win32":
                    fd, _ = drafts.open_draft(self.path, self.draft, fresh=False)
                os.lseek(fd, 0, os.SEEK_END)
            except BaseException:
                with suppress(OSError):
                    os.close(fd)
                drafts.remove(place)
                raise
            self._release()
            self._fd = fd

    def commit(self) -> None:
        """Give the file its name, replacing an older one; calling it twice does no harm.

        Raises:
            OutputError: it cannot be finished; then the draft stays if it is to be kept.
        """
        if self._closed or not self.started:
            return
        self._closed = True
        try:
            with writing(self.path):
                if self.draft is not None and self.complete is not None:
                    self._rename(self.draft, self.complete)
        except BaseException:
            if self.draft is not None and not self._keep:
                self._release()
                drafts.remove(self.draft)
            raise
        finally:
            self._release()

    def _rename(self, draft: Path, complete: Path) -> None:
        if self._sync:
            _sync(complete)
        if sys.platform == "win32":
            self._release()
        if (old := drafts.state_of(self.target.real)) is not None:
            with suppress(OSError):  # some file systems have no rights
                complete.chmod(old.st_mode & 0o777)
        os.replace(complete, self.target.real)
        if self._sync:
            _sync(self.target.real.parent)
        if complete != draft:
            drafts.remove(draft)

    def abandon(self) -> None:
        """End after an error: keep the draft or remove it, as was said at the beginning."""
        if self._keep:
            self.release()
        else:
            self.discard()

    def release(self) -> None:
        """End, and leave the draft as it is, for a run that resumes."""
        self._closed = True
        self._release()

    def discard(self) -> None:
        """End, and remove the draft."""
        if self.draft is not None and self.started:
            if sys.platform == "win32":
                self._release()
            drafts.remove(self.draft)
        self.release()

    def _check(self) -> None:
        if not self.started:
            raise OutputError(f"{shown(self.path)}: already closed; write before closing, or open it again")

    def _release(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            self._release()  # a file that is forgotten is no longer locked

    def __enter__(self) -> Self:
        return self if self.started else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        elif self.started:
            self.abandon()


@contextmanager
def draft(path: str | os.PathLike[str], *, suffix: str = "", keep: bool = False, sync: bool = True) -> Iterator[Path]:
    """Yield a path to write to; what is there at the end takes the name `path`.

    For a pipe or standard output it is a temporary file, which is copied there at the end.

    Raises:
        OutputError: it cannot be written; also in place of an OSError of the block.
    """
    with ExitStack() as stack:
        file = stack.enter_context(AtomicFile(path, suffix=suffix, keep=keep, sync=sync))
        stack.enter_context(writing(path))
        if file.draft is not None:
            yield file.draft
            return
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mien-")), f"draft{suffix}")
        yield place
        with place.open("rb") as stream:
            shutil.copyfileobj(stream, file, _BLOCK)


def write_bytes(path: str | os.PathLike[str], data: bytes, *, sync: bool = True) -> None:
    """Write a file whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    with AtomicFile(path, sync=sync) as file:
        file.write(data)


def write_text(path: str | os.PathLike[str], text: str, *, sync: bool = True) -> None:
    """Write a UTF-8 text file whole or not at all; what UTF-8 lacks, such as parts of foreign file names, is escaped.

    Raises:
        OutputError: it cannot be written.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"), sync=sync)


def _take_over(fd: int, draft: Path, old: os.stat_result) -> None:
    """Give a draft the owner and rights of the file that it replaces, before it holds anything."""
    if sys.platform != "win32":
        with suppress(OSError):  # only root gives files away
            os.fchown(fd, old.st_uid, old.st_gid)
    with suppress(OSError):  # some file systems have no rights
        draft.chmod(old.st_mode & 0o777)


def _probe(fd: int) -> None:
    """Raise the OSError of a disk that takes nothing more, and go to the end of the file."""
    size = os.lseek(fd, 0, os.SEEK_END)
    try:
        os.write(fd, bytes(4096))
    finally:
        os.ftruncate(fd, size)
        os.lseek(fd, size, os.SEEK_SET)


def _is_beginning(short: Path, long: Path) -> bool:
    """Tell whether a file begins with all of another one."""
    with short.open("rb") as first, long.open("rb") as second:
        while block := first.read(_BLOCK):
            if second.read(len(block)) != block:
                return False
    return True


def _holds(draft: Path, finished: Path, may_drop: Callable[[bytes], bool] | None) -> bool:
    """Tell whether a draft has every line of a finished file, those left out that it may lack."""

    def digest(line: bytes) -> bytes:
        return hashlib.blake2b(line, digest_size=16).digest()  # of millions of lines

    with draft.open("rb") as rows, finished.open("rb") as lines:
        known = set(map(digest, rows))
        return all(digest(line) in known or (may_drop is not None and may_drop(line)) for line in lines)


def _sync(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder."""
    is_folder = path.is_dir()
    if is_folder and sys.platform == "win32":
        return
    flags = os.O_RDWR if sys.platform == "win32" else os.O_RDONLY
    try:
        fd = os.open(path, flags | FLAGS)
    except OSError:
        if is_folder:  # one that may be written but not read
            return
        raise
    try:
        os.fsync(fd)
    except OSError as error:
        if not is_folder and error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that has no such call
            raise
    finally:
        os.close(fd)
