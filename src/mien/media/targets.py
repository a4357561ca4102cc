"""Resolve output paths to a file, pipe, device or standard output, and word the errors of writing.

"-" and /dev/stdout are standard output, /dev/fd/N is an open file of this process. A link stands for its target.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mien.errors import ConfigError, OutputError
from mien.media.identity import is_file, nearest_existing

FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Flags of every `os.open`."""

_DESCRIPTOR = re.compile(rf"/dev/fd/(\d+)|/proc/(?:self|thread-self|{os.getpid()})/fd/(\d+)")
_STANDARD = {"-": 1, "/dev/stdout": 1, "/dev/stderr": 2}
_ADVICE = {
    errno.ENOSPC: "free some space or choose another place",
    errno.EDQUOT: "free some space or choose another place",
    errno.EFBIG: "choose a place that allows files of this size",
    errno.EPIPE: "keep its reader running",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def output_error(path: str | os.PathLike[str], error: Exception) -> OutputError:
    """Return the OutputError that replaces an error raised while writing `path`."""
    number = getattr(error, "errno", None)
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if number == errno.EPIPE:
        reason = "its reader has ended"
    advice = _ADVICE.get(number or 0, "choose another place, or check its permissions and free space")
    return OutputError(f"{shown(path)}: cannot be written ({' '.join(str(reason).split())}); {advice}")


def shown(path: str | os.PathLike[str]) -> str:
    """Return a path as messages show it."""
    return "standard output" if os.fspath(path) == "-" else str(path)


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise an OSError of the block as an OutputError that names `path`."""
    try:
        yield
    except OSError as error:
        raise output_error(path, error) from error


@dataclass(frozen=True, slots=True)
class Target:
    """The place that a path leads to.

    Attributes:
        path: the path as given.
        real: the path with links resolved.
        kind: "file", existing or not; "stream", a pipe or a character device; "descriptor", an open file of this
            process; "folder"; "other", such as a disk or a socket.
        descriptor: number of the open file, or -1.
    """

    path: Path
    real: Path
    kind: Literal["file", "stream", "descriptor", "folder", "other"]
    descriptor: int = -1


def resolve(path: str | os.PathLike[str]) -> Target:
    """Resolve a path without opening anything. Raise an OutputError if it cannot be followed, as a link to itself."""
    path = Path(path)
    number = _STANDARD.get(str(path), -1)
    if match := _DESCRIPTOR.fullmatch(str(path)):
        number = int(match[1] or match[2])
    if number >= 0:
        return Target(path, path, "descriptor", number)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return Target(path, Path(os.path.realpath(path)), "file")
    except (OSError, ValueError) as error:
        raise output_error(path, error) from error
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        return Target(path, path, "stream")
    kind: Literal["file", "folder", "other"]
    kind = "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"
    return Target(path, Path(os.path.realpath(path)), kind)


def open_stream(path: Path, wait: float) -> int:
    """Open a pipe or a character device for writing.

    Waits `wait` seconds for the reader of a pipe, then raises an OutputError; a plain `open` would wait for ever.
    """
    nonblock = getattr(os, "O_NONBLOCK", 0)
    end = time.monotonic() + wait
    while True:
        try:
            fd = os.open(path, os.O_WRONLY | nonblock | getattr(os, "O_NOCTTY", 0) | FLAGS)
            break
        except OSError as error:
            if error.errno != errno.ENXIO or not path.is_fifo():
                raise
            if time.monotonic() >= end:
                raise OutputError(f"{path}: no program reads this pipe; start its reader first") from error
            time.sleep(0.02)
    if nonblock:
        os.set_blocking(fd, True)
    return fd


def check_suffix(target: Target, what: str, suffixes: Sequence[str]) -> None:
    """Raise a ConfigError that lists the suffixes if the name ends in none of them; "" allows no suffix."""
    if suffixes and target.path.suffix.lower() not in suffixes:
        known = ", ".join(suffix for suffix in suffixes if suffix)
        raise ConfigError(f"{target.path}: the name of {what} must end in {known}")


def check_place(target: Target, draft: str = "") -> None:
    """Check that a file (with a draft of this name) or a folder can be made, as far as that can be known beforehand.

    Raises:
        ConfigError: a parent is a file, the file is write-protected, or its name is too long.
        OutputError: no permission, or a read-only or full disk.
    """
    if target.kind == "file" and is_file(target.real):
        if not target.real.stat().st_mode & 0o222:
            raise ConfigError(f"{target.path}: is write-protected; choose another name, or make it writable")
        try:
            os.close(os.open(target.real, os.O_WRONLY | FLAGS))  # permissions do not show an immutable file
        except OSError as error:
            raise output_error(target.path, error) from error
    here = target.real if target.kind == "folder" else nearest_existing(target.real.parent)
    if not here.is_dir():
        raise ConfigError(f"{target.path}: {here} is a file, not a folder; choose another place")
    effective = {"effective_ids": True} if os.access in os.supports_effective_ids else {}
    if hasattr(os, "statvfs"):
        disk = os.statvfs(here)
        free = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail
        if disk.f_flag & os.ST_RDONLY:
            raise output_error(target.path, OSError(errno.EROFS, os.strerror(errno.EROFS)))
        if disk.f_blocks and not free:
            raise output_error(target.path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    if not os.access(here, os.W_OK | os.X_OK, **effective):
        raise OutputError(
            f"{target.path}: cannot be written (no permission in {here}); change that or choose another place"
        )
    longest = os.pathconf(here, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
    if len(os.fsencode(draft)) > longest:
        raise ConfigError(f"{target.path}: the name is too long; make it shorter than {longest - 30} bytes")
