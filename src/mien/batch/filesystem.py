"""Local files and files at a URL: listing, versions, bytes."""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from pathlib import Path
from typing import Any

from mien.errors import SourceError
from mien.media.image_info import DEFAULT
from mien.media.paths import read_file

Stamp = int | str | None  # distinguishes versions of a file: time of the last change in ns or etag; None if unknown
_STAMPS = ("ETag", "etag", "generation", "blob_id", "mtime", "LastModified", "last_modified", "updated", "created")


def resolve(place: str) -> tuple[Any, str]:
    """Return the pyarrow file system of a local path or URL and the path in it; fsspec serves what pyarrow does not."""
    from pyarrow import ArrowException, fs

    if "://" not in place:
        return fs.LocalFileSystem(), Path(place).resolve().as_posix()
    try:
        try:
            system, path = fs.FileSystem.from_uri(place)
        except ArrowException:
            import fsspec

            system, path = fsspec.core.url_to_fs(place)
            system = fs.PyFileSystem(fs.FSSpecHandler(system))
        return system, path
    except (OSError, ImportError, ValueError, ArrowException) as error:
        raise SourceError(
            f"{place}: no file system for this URL ({error}); check it, or install the package named"
        ) from error


def list_files(system: Any, path: str, skipped: Counter[str], closed: list[str]) -> list[tuple[str, int, Stamp]]:
    """Return (path below the folder, bytes, stamp) of all visible files, sorted; links to folders are not followed.

    Hidden files are counted in `skipped`; folders that cannot be listed go to `closed`, as paths below the folder.
    """
    from pyarrow import fs

    def refuse(error: OSError) -> None:
        closed.append(Path(error.filename).relative_to(path).as_posix())

    if isinstance(system, fs.LocalFileSystem):  # os.walk supports names that are not valid UTF-8
        paths = [Path(root, name) for root, _, names in os.walk(path, onerror=refuse) for name in names]
        files = [(file.relative_to(path).as_posix(), *local_version(file)) for file in paths]
    elif remote := _fsspec(system):
        infos = remote.find(path, detail=True).values()
        files = [(posixpath.relpath(info["name"], path), info.get("size") or 0, _stamp(info)) for info in infos]
    else:
        infos = [info for info in system.get_file_info(fs.FileSelector(path, recursive=True)) if info.is_file]
        files = [(posixpath.relpath(info.path, path), info.size or 0, info.mtime_ns) for info in infos]
    visible = [file for file in files if not is_hidden(file[0])]
    skipped["hidden"] += len(files) - len(visible)
    return sorted(visible, key=lambda file: file[0])


def version(system: Any, path: str) -> tuple[int, Stamp]:
    """Return size in bytes and stamp of one file."""
    if remote := _fsspec(system):
        info = remote.info(path)
        return info.get("size") or 0, _stamp(info)
    info = system.get_file_info(path)
    return info.size or 0, info.mtime_ns


def local_version(file: Path) -> tuple[int, Stamp]:
    """Return size and stamp of a local file or link target; those of the link if it is broken, (0, None) if missing."""
    for stat in (file.stat, file.lstat):
        try:
            info = stat()
            return info.st_size, info.st_mtime_ns
        except OSError:
            continue
    return 0, None


def _fsspec(system: Any) -> Any:
    """Return the fsspec file system behind a pyarrow one, which reports more about a file, or None."""
    from pyarrow import fs

    handler = system.handler if isinstance(system, fs.PyFileSystem) else None
    return handler.fs if isinstance(handler, fs.FSSpecHandler) else None


def _stamp(info: dict[str, Any]) -> Stamp:
    return next((str(info[key]) for key in _STAMPS if info.get(key)), None)


def is_hidden(name: str) -> bool:
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))


def read_image(system: Any, path: str, name: str) -> bytes:
    """Read an image file: a local one must be a regular file, and none may be larger than the limit.

    Raises:
        OSError: it cannot be read.
        SourceError: it is too large, or not a regular file.
    """
    from pyarrow import fs

    limit = DEFAULT.file_bytes
    if isinstance(system, fs.LocalFileSystem):
        if Path(path).is_dir():
            next(Path(path).iterdir(), None)  # raises what keeps its images from being read
        return read_file(Path(path), limit)
    with system.open_input_stream(path, compression=None) as file:
        data = bytes(file.read(limit + 1))
    if len(data) > limit:
        raise SourceError(f"{name}: more than the limit of {limit / 1e6:.0f} MB; make the image smaller")
    return data


def read_bytes(system: Any, path: str) -> bytes:
    from pyarrow import fs

    if isinstance(system, fs.LocalFileSystem):  # supports names that are not valid UTF-8
        return Path(path).read_bytes()
    with system.open_input_stream(path, compression=None) as file:
        return bytes(file.read())


def sibling(path: str, name: str) -> str:
    """Return the path of `name`, given relative to the folder of the file `path`, or as a URL."""
    return name if "://" in name else posixpath.join(posixpath.dirname(path), name)


def cause(error: BaseException) -> str:
    """Return the cause in one line of plain words."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
