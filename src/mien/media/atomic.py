"""Write files whole or not at all.

A file is written under the name of its draft (see mien.media.drafts) and renamed when it is complete. Links are
followed, and an existing file keeps its permissions. Pipes, character devices and standard output (see
mien.media.targets) have no draft: bytes go there at once.
"""

from __future__ import annotations

import errno
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
from mien.media import disk, drafts
from mien.media.drafts import draft_path
from mien.media.targets import open_stream, resolve, shown, writing


class AtomicFile:
    """A file that gets its final name when it is complete.

    As a context manager it calls `start`, and at the end `commit` or, after an error, `abandon`.

    Attributes:
        path: the path as given.
        target: the place that it leads to.
        draft: path of the draft, for libraries that open files themselves; None for a stream.
        complete: the file that is renamed at the end: the draft, or a file inside a draft folder.
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
        """Prepare without touching the disk.

        Args:
            path: the file to write.
            suffix: suffix of the draft, see `drafts.draft_path`.
            folder: make the draft a folder, for formats that are assembled at the end.
            keep: keep the draft when the run fails, because its content is useful or can be resumed.
            sync: test the disk at the start and flush to it at the end. Turn it off for many small files that are
                easy to make again.
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
        """Open and lock the draft, empty or as an earlier run left it. Makes missing folders.

        Args:
            resume: continue the draft of a dead run or, if there is none, a copy of the finished file. If both exist,
                the draft must contain all lines of the file.
            may_drop: returns True for a line of the finished file that the draft may lack.

        Raises:
            OutputError: the file cannot be written, the disk is full, or another run is writing the file.
            ConfigError: the draft does not continue the finished file, or the output is a stream.
        """
        if resume and (self.draft is None or self._folder):
            raise ConfigError(f"{shown(self.path)}: cannot be resumed; give the file of the earlier run")
        with writing(self.path):
            if self.target.kind == "descriptor":
                for stream in (sys.stdout, sys.stderr):
                    with suppress(AttributeError, ValueError):  # missing or closed
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
                disk.take_over(self._fd, draft, old)
            if resume and old is not None:
                self._continue(draft, may_drop)
            if self._keep:
                drafts.remove_dead_draft(draft_path(draft))  # see `replace`
            if self._sync:
                disk.probe_space(self._fd)
        except BaseException:
            self._release()
            if is_new or not resume:
                drafts.remove(draft)
            raise

    def _continue(self, draft: Path, may_drop: Callable[[bytes], bool] | None) -> None:
        """Make the draft a continuation of the finished file."""
        real = self.target.real
        if disk.is_beginning(draft, real):  # a new draft, or one whose run was killed just here
            self.truncate(0)
            with real.open("rb") as source:
                shutil.copyfileobj(source, self, disk.BLOCK)
        elif not disk.is_beginning(real, draft) and not disk.contains_lines(draft, real, may_drop):
            raise ConfigError(
                f"{self.path}: {draft} holds rows of another run; move one of the two away, or do not resume"
            )

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append bytes. They survive a kill once this returns.

        Raises:
            OutputError: the disk is full, or the reader of the pipe has ended.
        """
        self._check()
        left = memoryview(data).cast("B")
        size = left.nbytes
        with writing(self.path):
            while left:
                left = left[os.write(self._fd, left) :]
        return size

    def read(self) -> io.BufferedReader:
        """Open the draft for reading, to resume a run."""
        if self.draft is None:
            raise ConfigError(f"{shown(self.path)}: cannot be resumed; give the file of the earlier run")
        with writing(self.path):
            return self.draft.open("rb")

    def truncate(self, size: int) -> None:
        """Cut the draft to `size` bytes and continue there."""
        self._check()
        with writing(self.path):
            os.ftruncate(self._fd, size)
            os.lseek(self._fd, size, os.SEEK_SET)

    def probe(self) -> None:
        """Raise an OutputError if the disk is full: some encoders hide it."""
        self._check()
        with writing(self.path):
            disk.probe_space(self._fd)

    def replace(self, lines: Iterable[bytes]) -> None:
        """Replace the content of the draft in one step, and keep the lock."""
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
                if sys.platform == "win32":  # open files cannot be renamed there
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
        """Rename the complete file to its final name, replacing an older one. A second call does nothing.

        Raises:
            OutputError: the file cannot be finished. The draft stays if `keep` was set.
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
            disk.flush_to_disk(complete)
        if sys.platform == "win32":
            self._release()
        if (old := drafts.state_of(self.target.real)) is not None:
            with suppress(OSError):  # some file systems have no permissions
                complete.chmod(old.st_mode & 0o777)
        os.replace(complete, self.target.real)
        if self._sync:
            disk.flush_to_disk(self.target.real.parent)
        if complete != draft:
            drafts.remove(draft)

    def abandon(self) -> None:
        """End after an error: keep or remove the draft, as `keep` says."""
        if self._keep:
            self.release()
        else:
            self.discard()

    def release(self) -> None:
        """End and leave the draft for a later run to resume."""
        self._closed = True
        self._release()

    def discard(self) -> None:
        """End and remove the draft."""
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
            self._release()  # unlock a file that was never closed

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
    """Yield a draft's path to write to; at the end the draft is renamed to `path`.

    For a pipe or standard output, yield a temporary file and copy it there at the end.

    Raises:
        OutputError: the file cannot be written. Replaces any OSError raised in the block.
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
            shutil.copyfileobj(stream, file, disk.BLOCK)


def write_bytes(path: str | os.PathLike[str], data: bytes, *, sync: bool = True) -> None:
    """Write a file whole or not at all, or raise an OutputError."""
    with AtomicFile(path, sync=sync) as file:
        file.write(data)


def write_text(path: str | os.PathLike[str], text: str, *, sync: bool = True) -> None:
    """Write a UTF-8 text file whole or not at all. Characters that UTF-8 cannot encode are escaped."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"), sync=sync)
