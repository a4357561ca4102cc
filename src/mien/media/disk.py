"""Low-level work on files that are being written: permissions, free space, comparison, flushing to the disk."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mien.media.targets import FLAGS

BLOCK = 1 << 20
"""Bytes that are read or copied at a time."""


def take_over(fd: int, draft: Path, old: os.stat_result) -> None:
    """Give an empty draft the owner and permissions of the file that it replaces."""
    if sys.platform != "win32":
        with suppress(OSError):  # only root may change the owner
            os.fchown(fd, old.st_uid, old.st_gid)
    with suppress(OSError):  # some file systems have no permissions
        draft.chmod(old.st_mode & 0o777)


def probe_space(fd: int) -> None:
    """Raise the OSError of a full disk, and seek to the end of the file."""
    size = os.lseek(fd, 0, os.SEEK_END)
    try:
        os.write(fd, bytes(4096))
    finally:
        os.ftruncate(fd, size)
        os.lseek(fd, size, os.SEEK_SET)


def is_beginning(short: Path, long: Path) -> bool:
    """Tell whether the file `long` begins with the whole of `short`."""
    with short.open("rb") as first, long.open("rb") as second:
        while block := first.read(BLOCK):
            if second.read(len(block)) != block:
                return False
    return True


def contains_lines(draft: Path, finished: Path, may_drop: Callable[[bytes], bool] | None) -> bool:
    """Tell whether a draft contains every line of a finished file, except lines that it may lack."""

    def digest(line: bytes) -> bytes:
        return hashlib.blake2b(line, digest_size=16).digest()  # there may be millions of lines

    with draft.open("rb") as rows, finished.open("rb") as lines:
        known = set(map(digest, rows))
        return all(digest(line) in known or (may_drop is not None and may_drop(line)) for line in lines)


def flush_to_disk(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    is_folder = path.is_dir()
    if is_folder and sys.platform == "win32":
        return
    flags = os.O_RDWR if sys.platform == "win32" else os.O_RDONLY
    try:
        fd = os.open(path, flags | FLAGS)
    except OSError:
        if is_folder:  # writable but not readable
            return
        raise
    try:
        os.fsync(fd)
    except OSError as error:
        if not is_folder and error.errno not in (errno.EINVAL, errno.ENOTSUP):  # the file system has no fsync
            raise
    finally:
        os.close(fd)
