"""Files here or at a URL: listing, versions, bytes."""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from pathlib import Path
from typing import Any

from mien.errors import SourceError
from mien.media import image_info
from mien.media.paths import read_file

Stamp = int | str | None  # tells versions of a file apart: nanoseconds of its last change, an etag; None if unknown
_STAMPS = ("ETag", "etag", "generation", "blob_id", "mtime", "LastModified", "last_modified", "updated", "created")


def resolve(place: str) -> tuple[Any, str]:
    """The pyarrow file system of a local path or a URL, and the path in it; what pyarrow does not know, fsspec may.

    Raises:
        SourceError: nobody knows such a URL.
    """
    from pyarrow import ArrowException, fs

    if "://" not in place:
        return fs.LocalFileSystem(), Path(place).resolve().as_posix()
    try:
        try:
            found: tuple[Any, str] = fs.FileSystem.from_uri(place)
            return found
        except ArrowException:
            import fsspec

            system, path = fsspec.core.url_to_fs(place)
            return fs.PyFileSystem(fs.FSSpecHandler(system)), path
    except (OSError, ImportError, ValueError, ArrowException) as error:
        raise SourceError(
            f"{place}: no way to read such a URL ({error}); check it, or install what is named"
        ) from error


def list_files(system: Any, path: str, skipped: Counter[str], closed: list[str]) -> list[tuple[str, int, Stamp]]:
    """(path below the folder, bytes, stamp) of all files but hidden ones, sorted; links to folders are not followed.

    Hidden files are counted in `skipped`; folders that cannot be listed are added to `closed`, as paths below the
    folder.
    """
    from pyarrow import fs

    def refuse(error: OSError) -> None:
        closed.append(Path(error.filename).relative_to(path).as_posix())

    if isinstance(system, fs.LocalFileSystem):  # os.walk takes names that are no valid UTF-8
        found = [
            (file.relative_to(path).as_posix(), *local_version(file))
            for root, _, names in os.walk(path, onerror=refuse)
            for file in (Path(root, name) for name in names)
        ]
    elif (far := _fsspec(system)) is not None:
        infos = far.find(path, detail=True).values()
        found = [(posixpath.relpath(each["name"], path), each.get("size") or 0, _stamp(each)) for each in infos]
    else:
        infos = system.get_file_info(fs.FileSelector(path, recursive=True))
        found = [
            (posixpath.relpath(each.path, path), each.size or 0, each.mtime_ns)
            for each in infos
            if each.type.name == "File"
        ]
    shown = [each for each in found if not is_hidden(each[0])]
    skipped["hidden"] += len(found) - len(shown)
    return sorted(shown, key=lambda each: each[0])


def version(system: Any, path: str) -> tuple[int, Stamp]:
    """Bytes and stamp of one file."""
    if (far := _fsspec(system)) is not None:
        facts = far.info(path)
        return facts.get("size") or 0, _stamp(facts)
    info = system.get_file_info(path)
    return info.size or 0, info.mtime_ns


def local_version(file: Path) -> tuple[int, Stamp]:
    """The same of a local file, or of what a link leads to; a broken link has those of its own."""
    try:
        facts = file.stat()
    except OSError:
        facts = file.lstat()
    return facts.st_size, facts.st_mtime_ns


def _fsspec(system: Any) -> Any:
    """The file system of fsspec behind one of pyarrow, whose own facts about a file are few; or None."""
    from pyarrow import fs

    handler = system.handler if isinstance(system, fs.PyFileSystem) else None
    return handler.fs if isinstance(handler, fs.FSSpecHandler) else None


def _stamp(facts: dict[str, Any]) -> Stamp:
    """Of what a file system of fsspec says of a file."""
    return next((str(facts[key]) for key in _STAMPS if facts.get(key)), None)


def is_hidden(name: str) -> bool:
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))


def read_image(system: Any, path: str, name: str) -> bytes:
    """Read a file of images: here a regular one alone, and in any place no more bytes than an image may have.

    Raises:
        OSError: It cannot be read.
        SourceError: It is too large, or not a regular file.
    """
    from pyarrow import fs

    most = image_info.DEFAULT.file_bytes
    if isinstance(system, fs.LocalFileSystem):
        if Path(path).is_dir():
            next(Path(path).iterdir(), None)  # raises what keeps its images from being read
        return read_file(Path(path), most)
    with system.open_input_stream(path, compression=None) as file:
        data = bytes(file.read(most + 1))
    if len(data) > most:
        raise SourceError(f"{name}: more than the limit of {most / 1e6:.0f} MB; make the image smaller")
    return data


def read_bytes(system: Any, path: str) -> bytes:
    from pyarrow import fs

    if isinstance(system, fs.LocalFileSystem):  # takes names that are no valid UTF-8
        return Path(path).read_bytes()
    with system.open_input_stream(path, compression=None) as file:
        return bytes(file.read())


def beside(path: str, name: str) -> str:
    """The place of a name that a list or table gives."""
    return name if "://" in name else posixpath.join(posixpath.dirname(path), name)


def why(error: BaseException) -> str:
    return (
        str(getattr(error, "strerror", None) or error).strip().splitlines()[0] if str(error) else type(error).__name__
    )
