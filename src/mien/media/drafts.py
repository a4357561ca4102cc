"""Drafts: the names under which files are written, and the locks that tell living runs from dead ones.

`out.csv` is written as `out.csv.mien.part` beside it. A run locks its drafts, and the system releases a lock when the
process ends, even after a kill. So a draft without a lock belongs to a dead run. A small file `.mien-run-...` lists the
drafts of one run, so that the next run can remove those that nobody will resume.
"""

from __future__ import annotations

import errno
import fnmatch
import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from mien.errors import OutputError
from mien.media.targets import FLAGS

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

MARK = ".mien.part"
"""Part of every draft's name, after the full name of its file."""

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_RECORD = ".mien-run-"
_INSIDE = re.compile(r"\.?\d{6}(\.parquet)?|\.whole|\.lock")  # the files that mien itself puts into a draft folder


def draft_path(path: str | os.PathLike[str], suffix: str = "") -> Path:
    """Return the path of a file's draft. `suffix` comes last, for libraries that choose a format by suffix."""
    path = Path(path)
    return path.with_name(f"{path.name}{MARK}{suffix}")


def open_draft(path: Path, draft: Path, *, folder: bool = False, mode: int = 0o666, fresh: bool) -> tuple[int, bool]:
    """Open and lock a draft, new or left by a dead run; return the descriptor and whether the draft is new.

    Args:
        path: the file, for messages.
        draft: the draft.
        folder: the draft is a folder.
        mode: permissions of a new draft, before the umask.
        fresh: replace an old draft by an empty one.

    Raises:
        OutputError: another run is writing the draft, or something else has its name.
        OSError: the draft cannot be opened.
    """
    by_lock_file = folder and sys.platform == "win32"  # folders cannot be opened there
    while True:
        fd, is_new = _open(path, draft, folder, mode)
        if fd < 0:
            continue  # another run has just finished it
        try:
            if not lock(fd):
                raise busy(path)
            now, own = state_of(draft, follow=False), os.fstat(fd)
            if now is not None and (by_lock_file or os.path.samestat(now, own)):
                if not fresh or is_new or folder:
                    return fd, is_new
                if sys.platform == "win32":
                    os.ftruncate(fd, 0)
                    return fd, is_new
                draft.unlink()  # truncating would empty a hard link too
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _open(path: Path, draft: Path, folder: bool, mode: int) -> tuple[int, bool]:
    """Open a draft without locking it; return the descriptor (-1 if it has just gone) and whether it is new."""
    is_new = True
    try:
        if not folder:
            return os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | FLAGS, mode), True
        draft.mkdir()
    except FileExistsError:
        is_new = False
    state = state_of(draft, follow=False)
    if state is None:
        return -1, False
    if not (stat.S_ISDIR if folder else stat.S_ISREG)(state.st_mode):
        raise OutputError(f"{path}: something else has the name of its draft, {draft.name}; move that away")
    try:
        if folder and sys.platform == "win32":
            return os.open(draft / ".lock", os.O_RDWR | os.O_CREAT | FLAGS), is_new
        return os.open(draft, (os.O_RDONLY if folder else os.O_RDWR) | _NO_LINK | FLAGS), is_new
    except FileNotFoundError:
        return -1, False


def lock(fd: int) -> bool:
    """Lock an open file; False if another process holds the lock. True on file systems without locks."""
    try:
        if sys.platform == "win32":
            place = os.lseek(fd, 0, os.SEEK_CUR)
            os.lseek(fd, 1 << 40, os.SEEK_SET)  # far past the content, so that others can still read it
            try:
                msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
            finally:
                os.lseek(fd, place, os.SEEK_SET)
        else:
            # flock, not lockf: a lockf lock ends when anything in the process, such as an encoder, closes the file
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)
    return True


def busy(path: Path, what: str = "it") -> OutputError:
    """Return the error for an output that another run has locked."""
    return OutputError(f"{path}: another run is writing {what}; wait until it has ended, or choose another name")


def is_locked(path: Path) -> bool:
    """Tell whether a run is writing a draft."""
    try:
        fd = os.open(
            path / ".lock" if path.is_dir() and sys.platform == "win32" else path, os.O_RDONLY | _NO_LINK | FLAGS
        )
    except OSError:
        return False
    try:
        return not lock(fd)
    finally:
        os.close(fd)


def remove(path: Path) -> bool:
    """Remove a draft; from a draft folder only the files of mien. Return whether it is gone."""
    try:
        state = state_of(path, follow=False)
        if state is not None and stat.S_ISDIR(state.st_mode):
            for file in path.iterdir():
                if _INSIDE.fullmatch(file.name):
                    file.unlink()
            path.rmdir()
        elif state is not None:
            path.unlink()
    except OSError:
        return False
    return True


def remove_dead_draft(path: str | os.PathLike[str]) -> bool:
    """Remove a path if it is a draft that no run is writing. Return whether it is gone."""
    path = Path(path)
    state = state_of(path, follow=False)
    if state is None or MARK not in path.name:
        return state is None
    try:
        fd, _ = open_draft(path, path, folder=stat.S_ISDIR(state.st_mode), mode=0o600, fresh=False)
    except (OSError, OutputError):
        return False
    if sys.platform == "win32":  # open files cannot be removed there
        os.close(fd)
        return remove(path)
    try:
        return remove(path)
    finally:
        os.close(fd)


def remove_dead_drafts(folder: str | os.PathLike[str], *patterns: str) -> list[Path]:
    """Remove the drafts of dead runs in a folder, for files whose names match one of the patterns; return their paths.

    Give only patterns of files that can be made again, such as the data cache and annotated images: drafts of tables
    and videos contain results.
    """
    names: list[str] = []
    with suppress(OSError), os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if MARK in entry.name)
    wanted = [n for n in names if any(fnmatch.fnmatchcase(n[: n.index(MARK)], pattern) for pattern in patterns)]
    return [path for path in (Path(folder, name) for name in wanted) if remove_dead_draft(path)]


class FolderLock:
    """A lock on a folder that only one run may write into. Does nothing on Windows."""

    def __init__(self, folder: Path) -> None:
        """Lock an existing folder, or raise an OutputError if another run has locked it."""
        self._fd = -1
        if sys.platform == "win32":
            return
        with suppress(OSError):  # an unreadable folder cannot be locked
            self._fd = os.open(folder, os.O_RDONLY | FLAGS)
        if self._fd >= 0 and not lock(self._fd):
            self.release()
            raise busy(folder, "into it")

    def __del__(self) -> None:
        self.release()

    def release(self) -> None:
        """Unlock the folder. A second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class RunRecord:
    """The unfinished drafts of one run, listed in a small file in each of their folders.

    A killed run leaves the file behind. The next run that writes one of these drafts removes the others, except those
    that can be resumed.
    """

    def __init__(self) -> None:
        """Start without drafts. The file is written once there are two."""
        self._drafts: dict[Path, tuple[bool, Sequence[Path]]] = {}
        self._name = f"{_RECORD}{os.getpid()}-{os.urandom(4).hex()}"
        self._folders: set[Path] = set()

    def add(self, draft: Path, resumable: bool, further: Sequence[Path] = ()) -> None:
        """Add a started draft, and further files beside it that belong to it."""
        self._drafts[draft] = resumable, further
        self._save()

    def drop(self, draft: Path) -> None:
        """Remove a draft from the list."""
        if self._drafts.pop(draft, None) is not None:
            self._save()

    def _save(self) -> None:
        folders = {draft.parent for draft in self._drafts} if len(self._drafts) > 1 else set()
        for folder in self._folders - folders:
            with suppress(OSError):
                (folder / self._name).unlink()
        for folder in folders:
            with suppress(OSError, ValueError):  # only helps to clean up: no reason to end a run
                rows = [
                    [os.path.relpath(draft, folder), resumable, *(path.name for path in further)]
                    for draft, (resumable, further) in self._drafts.items()
                ]
                (folder / self._name).write_text(json.dumps(rows), "utf-8")
        self._folders = folders


def clean_after(draft: Path, mine: Iterable[Path], spared: Callable[[Path], bool]) -> list[Path]:
    """Remove the leftovers of a dead run that wrote `draft`: its other drafts that nobody will resume, and its record.

    Args:
        draft: a draft that this run has locked.
        mine: all drafts of this run.
        spared: returns True for a path that must stay, such as an input.

    Returns:
        The drafts removed.
    """
    kept, removed = {*mine, draft}, []
    for record in draft.parent.glob(f"{_RECORD}*"):
        try:
            rows = {
                Path(os.path.normpath(draft.parent / name)): (bool(resumable), [str(path) for path in further])
                for name, resumable, *further in json.loads(record.read_text("utf-8"))
            }
        except (OSError, ValueError, TypeError):
            continue  # another run is writing it
        if draft not in rows:
            continue
        is_done = True
        for other, (resumable, further) in rows.items():
            if other in kept or state_of(other, follow=False) is None:
                continue
            if resumable or MARK not in other.name or spared(other) or not remove_dead_draft(other):
                is_done = False
                continue
            removed.append(other)
            for path in (other.parent / Path(name).name for name in further):
                if path not in kept and not spared(path):
                    remove_dead_draft(path)
        if is_done:
            for folder in {path.parent for path in rows}:
                with suppress(OSError):
                    (folder / record.name).unlink()
    return removed


def state_of(path: Path, follow: bool = True) -> os.stat_result | None:
    """Return the status of a path, or None if nothing is there."""
    try:
        return path.stat(follow_symlinks=follow)
    except (FileNotFoundError, NotADirectoryError):
        return None
