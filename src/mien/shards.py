"""Sources of millions of pictures: folder, list, Parquet or tar shards, here or at a URL, cut into parts to compute.

The same source always gives the same parts, so that a part that is there need not be computed again. A part is plain
JSON and holds no picture: whoever computes it reads them with `pictures`. With each file it names the size and when the
file was last changed, or what else tells one version of it from another: a replaced file gives another part.
"""

from __future__ import annotations

import os
import posixpath
import tarfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mien.sources import PICTURES
from mien.types import ConfigError, SourceError

Part = dict[str, Any]
Stamp = int | str | None  # tells versions of a file apart: nanoseconds of its last change, an etag; None if unknown
File = tuple[str, str, int, Stamp]  # name, path, bytes and stamp

_TABLES, _TARS = (".parquet", ".pq"), (".tar", ".tar.gz", ".tgz")
_IMAGES = ("image", "bytes", "image_bytes", "img", "jpg", "jpeg", "png", "content")  # usual names of columns
_PATHS = ("path", "image_path", "file_name", "filename", "file", "name")
_STAMPS = ("ETag", "etag", "generation", "blob_id", "mtime", "LastModified", "last_modified", "updated", "created")
_AHEAD = 16  # files that threads read before they are asked for
_BLOCK = 64  # rows of a table in memory
_PIECES = 8  # of a row group: each piece reads the group from its start


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture as it is stored.

    Attributes:
        name: to show to a person: its path below the source, as a list or table gives it, or its place in a table.
        origin: the file that lists or holds it, relative to the source; "" for the files of a folder.
        index: its number in that file, or in the folder, from 0.
        data: the encoded bytes, or why they cannot be read.
    """

    name: str
    origin: str
    index: int
    data: bytes | SourceError


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


def parts(source: str, size: int = 1000, column: str | None = None) -> list[Part]:
    """Cut a source into parts.

    Args:
        source: path or URL of a folder of pictures, tar shards or Parquet files, or of a text file with a path a line,
            a Parquet file or a tar. Relative paths in a list or table start from its folder.
        size: pictures in a part of a folder, list or table. A tar is one part; so are up to an eighth of a row group,
            for a part reads from the start of a row group.
        column: of a table, with encoded pictures or paths; None takes one of a usual name.

    Raises:
        SourceError: nothing there, or nothing that can be read.
        ConfigError: a size below 1, or a folder or table where it is not clear what to take.
    """
    if size < 1:
        raise ConfigError(f"a part of {size} pictures is not possible; give 1 or more")
    system, path = resolve(source)
    try:
        kind = system.get_file_info(path).type.name
        if kind == "NotFound":
            raise SourceError(f"{source}: does not exist; check the spelling and the current folder")
        if kind == "Directory":
            return _folder(source, system, path, size, column)
        if path.lower().endswith(_TABLES):
            return _table(source, system, path, posixpath.basename(path), size, column)
        if path.lower().endswith(_TARS):
            return [_tar(source, path, posixpath.basename(path), *_version(system, path))]
        return _list(source, system, path, size)
    except OSError as error:
        raise SourceError(f"{source}: cannot be read ({_why(error)}); check address and rights") from error


def pictures(part: Part) -> Iterator[Picture]:
    """The pictures of a part, always in the same order; one in place of all that cannot be read of a shard."""
    system, _ = resolve(part["source"])
    if part["kind"] == "files":
        items = [(name, path) for name, path, *_ in part["files"]]
        yield from _files(system, items, part["origin"], part["first"])
        return
    read = _rows if part["kind"] == "table" else _members
    index = part.get("first", 0)
    try:
        for picture in read(system, part):
            yield picture
            index = picture.index + 1
    except (OSError, ValueError, tarfile.TarError, EOFError, KeyError) as error:  # pyarrow's are OSError or ValueError
        reason = f"{part['origin']}: damaged from picture {index} on ({_why(error)}); copy or write it again"
        yield Picture(part["origin"], part["origin"], index, SourceError(reason))


def _folder(source: str, system: Any, path: str, size: int, column: str | None) -> list[Part]:
    found = _listed(system, path)
    kinds = {
        "pictures": [each for each in found if PurePosixPath(each[0]).suffix.lower() in PICTURES],
        "Parquet files": [each for each in found if each[0].lower().endswith(_TABLES)],
        "tar shards": [each for each in found if each[0].lower().endswith(_TARS)],
    }
    there = [kind for kind, files in kinds.items() if files]
    if not there:
        raise SourceError(f"{source}: no pictures, Parquet files or tar shards in this folder; check the path")
    if len(there) > 1:
        raise ConfigError(f"{source}: holds {' and '.join(there)}; give a folder with one kind, or a list of paths")
    if there == ["pictures"]:
        files = [(name, f"{path.rstrip('/')}/{name}", length, stamp) for name, length, stamp in kinds["pictures"]]
        return _cut(source, "", files, size)
    shards = kinds[there[0]]
    if there == ["tar shards"]:
        return [_tar(source, f"{path.rstrip('/')}/{name}", name, length, stamp) for name, length, stamp in shards]
    return [
        each for name, *_ in shards for each in _table(source, system, f"{path.rstrip('/')}/{name}", name, size, column)
    ]


def _listed(system: Any, path: str) -> list[tuple[str, int, Stamp]]:
    """(path below the folder, bytes, stamp) of all files but hidden ones, sorted; links to folders are not followed."""
    from pyarrow import fs

    if isinstance(system, fs.LocalFileSystem):  # os.walk takes names that are no valid UTF-8
        found = [
            (file.relative_to(path).as_posix(), *_local(file))
            for root, _, names in os.walk(path)
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
    return sorted((each for each in found if not _is_hidden(each[0])), key=lambda each: each[0])


def _version(system: Any, path: str) -> tuple[int, Stamp]:
    """Bytes and stamp of one file."""
    if (far := _fsspec(system)) is not None:
        facts = far.info(path)
        return facts.get("size") or 0, _stamp(facts)
    info = system.get_file_info(path)
    return info.size or 0, info.mtime_ns


def _local(file: Path) -> tuple[int, Stamp]:
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


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))


def _list(source: str, system: Any, path: str, size: int) -> list[Part]:
    try:
        lines = _bytes(system, path).decode("utf-8-sig").split("\n")  # no splitlines: names may hold other separators
    except UnicodeDecodeError:
        raise SourceError(f"{source}: not a text list, Parquet file or tar; for one picture use mien predict") from None
    names = [line.removesuffix("\r") for line in lines if line.strip()]
    if not names:
        raise SourceError(f"{source}: an empty list; give one path a line")
    files = [(name, place, *_seen(system, place)) for name in names for place in [_beside(path, name)]]
    return _cut(source, posixpath.basename(path), files, size)


def _seen(system: Any, path: str) -> tuple[int, Stamp]:
    """Bytes and stamp of a listed file here; to ask for those far away, one by one, would take too long."""
    from pyarrow import fs

    if "://" in path or not isinstance(system, fs.LocalFileSystem):
        return 0, None
    try:
        return _local(Path(path))
    except OSError:  # it is missing: an error row
        return 0, None


def _cut(source: str, origin: str, files: list[File], size: int) -> list[Part]:
    return [
        {"kind": "files", "source": source, "origin": origin, "first": k, "files": files[k : k + size]}
        for k in range(0, len(files), size)
    ]


def _tar(source: str, path: str, origin: str, length: int, stamp: Stamp) -> Part:
    return {"kind": "tar", "source": source, "path": path, "origin": origin, "bytes": length, "stamp": stamp}


def _table(source: str, system: Any, path: str, origin: str, size: int, column: str | None) -> list[Part]:
    import pyarrow.parquet as pq

    whole: Part = {"kind": "table", "source": source, "path": path, "origin": origin}
    try:
        with system.open_input_file(path) as file:
            meta = pq.ParquetFile(file)
            schema, rows = meta.schema_arrow, meta.metadata.num_rows
            largest = max((meta.metadata.row_group(k).num_rows for k in range(meta.num_row_groups)), default=0)
    except (OSError, ValueError) as error:
        return [whole | {"first": 0, "last": 0, "column": "", "names": None, "error": _why(error)}]
    wanted, names = _columns(origin, schema, column)
    length, stamp = _version(system, path)
    whole |= {"column": wanted, "names": names, "bytes": length, "stamp": stamp}
    step = max(size, -(-largest // _PIECES))
    return [whole | {"first": k, "last": min(k + step, rows)} for k in range(0, rows, step)]


def _columns(origin: str, schema: Any, column: str | None) -> tuple[str, str | None]:
    """The column of pictures or paths, and beside pictures the one that names them."""
    import pyarrow as pa

    def holds(name: str, *tests: Callable[[Any], bool]) -> bool:
        return any(test(schema.field(name).type) for test in tests)

    binary = [k for k in schema.names if holds(k, pa.types.is_binary, pa.types.is_large_binary, pa.types.is_struct)]
    texts = [k for k in schema.names if holds(k, pa.types.is_string, pa.types.is_large_string)]
    if column is not None and column not in binary + texts:
        raise ConfigError(f"{origin}: no column {column!r} of bytes or text; there are {', '.join(schema.names)}")
    usual = [k for k in _IMAGES if k in binary] or (binary if len(binary) == 1 else [])
    named = [k for k in _PATHS if k in texts]
    found = [column] if column is not None else usual or named or [k for k in _IMAGES if k in texts]
    if not found:
        columns = ", ".join(schema.names)
        raise ConfigError(f"{origin}: which of {columns} holds the pictures, or their paths? Name it with --column")
    return found[0], next((k for k in named if k != found[0]), None) if found[0] in binary else None


def _files(system: Any, items: list[tuple[str, str]], origin: str, first: int) -> Iterator[Picture]:
    """Files of a folder or list, read ahead by threads: far away each takes a while to come."""
    waiting: deque[tuple[str, Future[bytes | SourceError]]] = deque()
    with ThreadPoolExecutor(8, "mien-read") as pool:
        for index, (name, path) in enumerate(items + [("", "")] * _AHEAD):
            if index < len(items):
                waiting.append((name, pool.submit(_file, system, name, path)))
            if index >= _AHEAD and waiting:
                done, data = waiting.popleft()
                yield Picture(done, origin, first + index - _AHEAD, data.result())


def _file(system: Any, name: str, path: str) -> bytes | SourceError:
    try:
        return _bytes(*resolve(path)) if "://" in path else _bytes(system, path)
    except (OSError, ValueError) as error:
        return SourceError(f"{name}: cannot be read ({_why(error)}); check the path")
    except SourceError as error:
        return error


def _rows(system: Any, part: Part) -> Iterator[Picture]:
    """The rows of a table from `first` up to `last`; of the columns no others are read."""
    import pyarrow.parquet as pq

    if "error" in part:
        raise OSError(part["error"])
    wanted, names, index = part["column"], part["names"], 0
    with system.open_input_file(part["path"]) as source:
        file = pq.ParquetFile(source)
        groups = []
        for k in range(file.num_row_groups):
            rows = file.metadata.row_group(k).num_rows
            if index < part["last"] and index + rows > part["first"]:
                groups.append(k)
            index += rows
        index = sum(file.metadata.row_group(k).num_rows for k in range(groups[0]))
        for block in file.iter_batches(_BLOCK, groups, [wanted] + [names] * bool(names)):
            cells = block.column(wanted)
            labels = block.column(names) if names else None
            for k in range(block.num_rows):
                if part["first"] <= index < part["last"]:
                    label = labels[k].as_py() if labels is not None else None
                    yield _cell(system, part, cells[k].as_py(), label or f"{part['origin']}#{index}", index)
                index += 1


def _cell(system: Any, part: Part, value: Any, name: str, index: int) -> Picture:
    if isinstance(value, dict):  # Hugging Face's way: {"bytes", "path"}
        name = value.get("path") or name
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str):
        name, value = value, _file(system, value, _beside(part["path"], value))
    if value is None:
        value = SourceError(f"{name}: the table has no picture there")
    return Picture(name, part["origin"], index, value)


def _members(system: Any, part: Part) -> Iterator[Picture]:
    """The pictures of a tar, read from its start to its end; hidden and other files of a sample are passed over."""
    index = 0
    with system.open_input_stream(part["path"]) as source, tarfile.open(fileobj=source, mode="r|*") as tar:
        for member in tar:
            link = member.islnk() or member.issym()
            is_picture = PurePosixPath(member.name).suffix.lower() in PICTURES and (member.isfile() or link)
            if not is_picture or _is_hidden(member.name):
                continue
            name, file = f"{part['origin']}/{member.name}", None if link else tar.extractfile(member)
            reason = f"{name}: a link to {member.linkname}; pack files, as tar --dereference --hard-dereference does"
            yield Picture(name, part["origin"], index, SourceError(reason) if file is None else file.read())
            index += 1


def _bytes(system: Any, path: str) -> bytes:
    from pyarrow import fs

    if isinstance(system, fs.LocalFileSystem):  # takes names that are no valid UTF-8
        return Path(path).read_bytes()
    with system.open_input_stream(path, compression=None) as file:
        return bytes(file.read())


def _beside(path: str, name: str) -> str:
    """The place of a name that a list or table gives."""
    return name if "://" in name else posixpath.join(posixpath.dirname(path), name)


def _why(error: BaseException) -> str:
    return (
        str(getattr(error, "strerror", None) or error).strip().splitlines()[0] if str(error) else type(error).__name__
    )
