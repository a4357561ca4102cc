"""Sources of millions of pictures: folder, list, Parquet or tar shards, here or at a URL, cut into parts to compute.

The same source always gives the same parts, so that a part that is there need not be computed again. A part is plain
JSON and holds no picture: whoever computes it reads them with `images`. With each file it names the size and when the
file was last changed, or what else tells one version of it from another: a replaced file gives another part.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mien.batch.filesystem import (
    Stamp,
    beside,
    is_hidden,
    list_files,
    local_version,
    read_bytes,
    read_image,
    resolve,
    version,
    why,
)
from mien.errors import ConfigError, SourceError
from mien.media import image_info
from mien.media.paths import IMAGE_SUFFIXES, skipped_line

Part = dict[str, Any]
File = tuple[str, str, int, Stamp]  # name, path, bytes and stamp
_TABLES, _TARS = (".parquet", ".pq"), (".tar", ".tar.gz", ".tgz")
_IMAGES = ("image", "bytes", "image_bytes", "img", "jpg", "jpeg", "png", "content")  # usual names of columns
_PATHS = ("path", "image_path", "file_name", "filename", "file", "name")
_AHEAD = 16  # files that threads read before they are asked for
_BLOCK = 64  # rows of a table in memory
_PIECES = 8  # of a row group: each piece reads the group from its start


@dataclass(frozen=True, slots=True)
class StoredImage:
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


def parts(source: str, size: int = 1000, column: str | None = None, skipped: Counter[str] | None = None) -> list[Part]:
    """Cut a source into parts.

    Args:
        source: path or URL of a folder of pictures, tar shards or Parquet files, or of a text file with a path a line,
            a Parquet file or a tar. Relative paths in a list or table start from its folder.
        size: pictures in a part of a folder, list or table. A tar is one part; so are up to an eighth of a row group,
            for a part reads from the start of a row group.
        column: of a table, with encoded pictures or paths; None takes one of a usual name.
        skipped: counts the files of a folder that are not read, see `mien.media.paths.skipped_line`.

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
            return _folder(source, system, path, size, column, Counter() if skipped is None else skipped)
        if path.lower().endswith(_TABLES):
            return _table(source, system, path, posixpath.basename(path), size, column)
        if path.lower().endswith(_TARS):
            return [_tar(source, path, posixpath.basename(path), *version(system, path))]
        return _list(source, system, path, size)
    except OSError as error:
        raise SourceError(f"{source}: cannot be read ({why(error)}); check address and rights") from error


def images(part: Part, skipped: Counter[str] | None = None) -> Iterator[StoredImage]:
    """The pictures of a part, always in the same order; one in place of all that cannot be read of a shard.

    `skipped` counts the files of a tar that are no images.
    """
    system, _ = resolve(part["source"])
    if part["kind"] == "files":
        items = [(name, path) for name, path, *_ in part["files"]]
        yield from _files(system, items, part["origin"], part["first"])
        return
    index = part.get("first", 0)
    counts: Counter[str] = Counter() if skipped is None else skipped
    try:
        for image in _rows(system, part) if part["kind"] == "table" else _members(system, part, counts):
            yield image
            index = image.index + 1
    except (OSError, ValueError, tarfile.TarError, EOFError, KeyError) as error:  # pyarrow's are OSError or ValueError
        reason = f"{part['origin']}: damaged from picture {index} on ({why(error)}); copy or write it again"
        yield StoredImage(part["origin"], part["origin"], index, SourceError(reason))


def _folder(source: str, system: Any, path: str, size: int, column: str | None, skipped: Counter[str]) -> list[Part]:
    closed: list[str] = []
    found = list_files(system, path, skipped, closed)
    kinds = {
        "pictures": [each for each in found if PurePosixPath(each[0]).suffix.lower() in IMAGE_SUFFIXES],
        "Parquet files": [each for each in found if each[0].lower().endswith(_TABLES)],
        "tar shards": [each for each in found if each[0].lower().endswith(_TARS)],
    }
    there = [kind for kind, files in kinds.items() if files]
    taken = {name for files in kinds.values() for name, *_ in files}
    skipped.update(PurePosixPath(name).suffix.lower() for name, *_ in found if name not in taken)
    if not there and not closed:
        line = skipped_line(skipped) or "check the path"
        raise SourceError(f"{source}: no images, Parquet files or tar shards in this folder; {line}")
    if len(there) > 1:
        raise ConfigError(f"{source}: holds {' and '.join(there)}; give a folder with one kind, or a list of paths")
    # A folder that cannot be listed is read as if it were an image, and so becomes an error.
    listed = kinds["pictures"] + [(name, 0, None) for name in closed]
    files = [(name, f"{path.rstrip('/')}/{name}", length, stamp) for name, length, stamp in sorted(listed)]
    lost = _cut(source, "", files, size)
    if there in ([], ["pictures"]):
        return lost
    shards = kinds[there[0]]
    if there == ["tar shards"]:
        tars = [_tar(source, f"{path.rstrip('/')}/{name}", name, length, stamp) for name, length, stamp in shards]
        return tars + lost
    tables = [
        each for name, *_ in shards for each in _table(source, system, f"{path.rstrip('/')}/{name}", name, size, column)
    ]
    return tables + lost


def _list(source: str, system: Any, path: str, size: int) -> list[Part]:
    try:
        lines = (
            read_bytes(system, path).decode("utf-8-sig").split("\n")
        )  # no splitlines: names may hold other separators
    except UnicodeDecodeError:
        raise SourceError(f"{source}: not a text list, Parquet file or tar; for one picture use mien predict") from None
    names = [line.removesuffix("\r") for line in lines if line.strip()]
    if not names:
        raise SourceError(f"{source}: an empty list; give one path a line")
    files = [(name, place, *_seen(system, place)) for name in names for place in [beside(path, name)]]
    return _cut(source, posixpath.basename(path), files, size)


def _seen(system: Any, path: str) -> tuple[int, Stamp]:
    """Bytes and stamp of a listed file here; to ask for those far away, one by one, would take too long."""
    from pyarrow import fs

    if "://" in path or not isinstance(system, fs.LocalFileSystem):
        return 0, None
    try:
        return local_version(Path(path))
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
        return [whole | {"first": 0, "last": 0, "column": "", "names": None, "error": why(error)}]
    wanted, names = _columns(origin, schema, column)
    length, stamp = version(system, path)
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


def _files(system: Any, items: list[tuple[str, str]], origin: str, first: int) -> Iterator[StoredImage]:
    """Files of a folder or list, read ahead by threads: far away each takes a while to come."""
    waiting: deque[tuple[str, Future[bytes | SourceError]]] = deque()
    with ThreadPoolExecutor(8, "mien-read") as pool:
        for index, (name, path) in enumerate(items + [("", "")] * _AHEAD):
            if index < len(items):
                waiting.append((name, pool.submit(_file, system, name, path)))
            if index >= _AHEAD and waiting:
                done, data = waiting.popleft()
                yield StoredImage(done, origin, first + index - _AHEAD, data.result())


def _file(system: Any, name: str, path: str) -> bytes | SourceError:
    try:
        return read_image(*resolve(path), name) if "://" in path else read_image(system, path, name)
    except (OSError, ValueError) as error:
        return SourceError(f"{name}: cannot be read ({why(error)}); check the path")
    except SourceError as error:
        return error


def _rows(system: Any, part: Part) -> Iterator[StoredImage]:
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


def _cell(system: Any, part: Part, value: Any, name: str, index: int) -> StoredImage:
    if isinstance(value, dict):  # Hugging Face's way: {"bytes", "path"}
        name = value.get("path") or name
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str):
        name, value = value, _file(system, value, beside(part["path"], value))
    if value is None:
        value = SourceError(f"{name}: the table has no picture there")
    return StoredImage(name, part["origin"], index, value)


def _members(system: Any, part: Part, skipped: Counter[str]) -> Iterator[StoredImage]:
    """The pictures of a tar, read from its start to its end; hidden and other files of a sample are counted."""
    index, most = 0, image_info.DEFAULT.file_bytes
    with system.open_input_stream(part["path"]) as source, tarfile.open(fileobj=source, mode="r|*") as tar:
        for member in tar:
            link = member.islnk() or member.issym()
            if member.isdir():
                continue
            suffix, name = PurePosixPath(member.name).suffix.lower(), f"{part['origin']}/{member.name}"
            if is_hidden(member.name) or suffix not in IMAGE_SUFFIXES:
                skipped["hidden" if is_hidden(member.name) else suffix] += 1
                continue
            file = None if link or member.size > most else tar.extractfile(member)
            reason = "not a file; pack the image itself"
            if link:
                reason = f"a link to {member.linkname}; pack files, as tar --dereference --hard-dereference does"
            elif member.size > most:
                reason = f"{member.size / 1e6:.0f} MB is more than the limit of {most / 1e6:.0f} MB; make it smaller"
            data = SourceError(f"{name}: {reason}") if file is None else file.read()
            yield StoredImage(name, part["origin"], index, data)
            index += 1
