"""Sources of millions of images, split into parts: folder, list, Parquet or tar shards, local or at a URL.

The same source always gives the same parts, so that a finished part need not be computed again. A part is plain JSON
without images: its worker reads them with `read_images`. It holds the size and stamp of each file: a replaced file
makes another part.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Any

from mien.batch import filesystem
from mien.batch.filesystem import Stamp, cause, is_hidden, local_version, read_bytes, read_image, resolve, sibling
from mien.errors import ConfigError, SourceError
from mien.media.image_info import DEFAULT
from mien.media.paths import IMAGE_SUFFIXES, skipped_line
from mien.media.prefetch import prefetch_map

Part = dict[str, Any]
File = tuple[str, str, int, Stamp]  # name, path, bytes and stamp
_TABLES, _TARS = (".parquet", ".pq"), (".tar", ".tar.gz", ".tgz")
_IMAGES = ("image", "bytes", "image_bytes", "img", "jpg", "jpeg", "png", "content")  # usual names of columns
_PATHS = ("path", "image_path", "file_name", "filename", "file", "name")
_THREADS = 8  # that read files ahead
_ROWS = 64  # of a table in memory
_PIECES = 8  # of a row group: each piece reads the group from its start


@dataclass(frozen=True, slots=True)
class StoredImage:
    """One image as it is stored."""

    name: str  # path below the source, path in a list or table, or place in a table
    origin: str  # the file that lists or holds it, relative to the source; "" for the files of a folder
    index: int  # number in that file or folder, from 0
    data: bytes | SourceError  # the encoded bytes, or why they cannot be read
    page: int = 0  # of a TIFF file, from 0


def split(source: str, size: int = 1000, column: str | None = None, skipped: Counter[str] | None = None) -> list[Part]:
    """Split a source into parts.

    Args:
        source: path or URL of a folder of images, tar shards or Parquet files, of a text file with a path a line, of a
            Parquet file or of a tar. Relative paths in a list or table start from its folder.
        size: images in a part. A part of a table holds at least an eighth of a row group, since it reads the group from
            its start; a tar is one part.
        column: column of a table with encoded images or paths; None for one of a usual name.
        skipped: counts the other files of a folder, see `mien.media.paths.skipped_line`.
    """
    if size < 1:
        raise ConfigError(f"a part of {size} images is not possible; give 1 or more")
    system, path = resolve(source)
    try:
        kind = system.get_file_info(path).type.name
        if kind == "NotFound":
            raise SourceError(f"{source}: does not exist; check the spelling and the current folder")
        if kind == "Directory":
            return _split_folder(source, system, path, size, column, Counter() if skipped is None else skipped)
        if path.lower().endswith(_TABLES):
            return _split_table(source, system, path, posixpath.basename(path), size, column)
        if path.lower().endswith(_TARS):
            return [_tar_part(source, path, posixpath.basename(path), *filesystem.version(system, path))]
        return _split_list(source, system, path, size)
    except OSError as error:
        raise SourceError(f"{source}: cannot be read ({cause(error)}); check address and rights") from error


def read_images(part: Part, skipped: Counter[str] | None = None) -> Iterator[StoredImage]:
    """Read the images of a part, always in the same order; one error replaces the unreadable rest of a shard.

    `skipped` counts the other files of a tar.
    """
    system, _ = resolve(part["source"])
    if part["kind"] == "files":
        yield from _read_files(system, part)
        return
    index = part.get("first", 0)
    try:
        counts: Counter[str] = Counter() if skipped is None else skipped
        for image in _read_table(system, part) if part["kind"] == "table" else _read_tar(system, part, counts):
            yield image
            index = image.index + 1
    except Exception as error:  # pyarrow, tarfile and zlib share no base class
        reason = f"{part['origin']}: damaged from image {index} on ({cause(error)}); copy or write it again"
        yield StoredImage(part["origin"], part["origin"], index, SourceError(reason))


def _split_folder(
    source: str, system: Any, path: str, size: int, column: str | None, skipped: Counter[str]
) -> list[Part]:
    closed: list[str] = []
    listed = filesystem.list_files(system, path, skipped, closed)
    files = [(name, f"{path.rstrip('/')}/{name}", length, stamp) for name, length, stamp in listed]
    images = [file for file in files if PurePosixPath(file[0]).suffix.lower() in IMAGE_SUFFIXES]
    tables = [file for file in files if file[0].lower().endswith(_TABLES)]
    tars = [file for file in files if file[0].lower().endswith(_TARS)]
    kinds = [name for name, group in (("images", images), ("Parquet files", tables), ("tar shards", tars)) if group]
    used = {file[0] for file in images + tables + tars}
    skipped.update(PurePosixPath(file[0]).suffix.lower() for file in files if file[0] not in used)
    if not kinds and not closed:
        line = skipped_line(skipped) or "check the path"
        raise SourceError(f"{source}: no images, Parquet files or tar shards in this folder; {line}")
    if len(kinds) > 1:
        raise ConfigError(f"{source}: holds {' and '.join(kinds)}; give a folder with one kind, or a list of paths")
    # A folder that cannot be listed counts as an image, so that it becomes an error row.
    images = sorted(images + [(name, f"{path.rstrip('/')}/{name}", 0, None) for name in closed], key=itemgetter(0))
    parts = _split_files(source, "", images, size)
    if tables:
        parts += [
            part for name, place, *_ in tables for part in _split_table(source, system, place, name, size, column)
        ]
    parts += [_tar_part(source, place, name, length, stamp) for name, place, length, stamp in tars]
    return parts


def _split_list(source: str, system: Any, path: str, size: int) -> list[Part]:
    from pyarrow import fs

    try:
        # not splitlines: names may contain other separators
        lines = read_bytes(system, path).decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise SourceError(f"{source}: not a text list, Parquet file or tar; for one image use mien predict") from None
    names = [line.removesuffix("\r") for line in lines if line.strip()]
    if not names:
        raise SourceError(f"{source}: an empty list; give one path a line")
    files: list[File] = []
    for name in names:
        place = sibling(path, name)
        is_local = isinstance(system, fs.LocalFileSystem) and "://" not in place
        # One request for each remote file would take too long: these have no stamp.
        files.append((name, place, *(local_version(Path(place)) if is_local else (0, None))))
    return _split_files(source, posixpath.basename(path), files, size)


def _split_files(source: str, origin: str, files: list[File], size: int) -> list[Part]:
    return [
        {"kind": "files", "source": source, "origin": origin, "first": k, "files": files[k : k + size]}
        for k in range(0, len(files), size)
    ]


def _tar_part(source: str, path: str, origin: str, length: int, stamp: Stamp) -> Part:
    return {"kind": "tar", "source": source, "path": path, "origin": origin, "bytes": length, "stamp": stamp}


def _split_table(source: str, system: Any, path: str, origin: str, size: int, column: str | None) -> list[Part]:
    import pyarrow.parquet as pq

    part: Part = {"kind": "table", "source": source, "path": path, "origin": origin}
    try:
        with system.open_input_file(path) as file:
            table = pq.ParquetFile(file)
            counts, schema = _row_counts(table), table.schema_arrow
    except (OSError, ValueError) as error:
        return [part | {"first": 0, "last": 0, "column": "", "names": None, "error": cause(error)}]
    image_column, name_column = _columns(origin, schema, column)
    length, stamp = filesystem.version(system, path)
    part |= {"column": image_column, "names": name_column, "bytes": length, "stamp": stamp}
    rows, step = sum(counts), max(size, -(-max(counts, default=0) // _PIECES))
    return [part | {"first": k, "last": min(k + step, rows)} for k in range(0, rows, step)]


def _row_counts(table: Any) -> list[int]:
    return [table.metadata.row_group(k).num_rows for k in range(table.num_row_groups)]


def _columns(origin: str, schema: Any, column: str | None) -> tuple[str, str | None]:
    """Return the column of images or paths and, for images, the column of their names."""
    from pyarrow import types

    def having(*tests: Callable[[Any], bool]) -> list[str]:
        return [name for name in schema.names if any(test(schema.field(name).type) for test in tests)]

    binary = having(types.is_binary, types.is_large_binary, types.is_struct)
    texts = having(types.is_string, types.is_large_string)
    if column is not None and column not in binary + texts:
        raise ConfigError(f"{origin}: no column {column!r} of bytes or text; there are {', '.join(schema.names)}")
    images = [name for name in _IMAGES if name in binary] or (binary if len(binary) == 1 else [])
    paths = [name for name in _PATHS if name in texts]
    candidates = [column] if column is not None else images or paths or [name for name in _IMAGES if name in texts]
    if not candidates:
        columns = ", ".join(schema.names)
        raise ConfigError(f"{origin}: which of {columns} holds the images, or their paths? Name it with --column")
    chosen = candidates[0]
    return chosen, next((name for name in paths if name != chosen), None) if chosen in binary else None


def _read_files(system: Any, part: Part) -> Iterator[StoredImage]:
    """Read the files of a folder or list ahead in threads: at a URL each takes a while."""

    def read(number: int) -> StoredImage:
        name, path, *_ = part["files"][number]
        return StoredImage(name, part["origin"], part["first"] + number, _read_file(system, name, path))

    def length(image: StoredImage) -> int:
        return len(image.data) if isinstance(image.data, bytes) else 0

    return prefetch_map(read, range(len(part["files"])), length, _THREADS)


def _read_file(system: Any, name: str, path: str) -> bytes | SourceError:
    try:
        return read_image(*resolve(path), name) if "://" in path else read_image(system, path, name)
    except (OSError, ValueError) as error:
        return SourceError(f"{name}: cannot be read ({cause(error)}); check the path")
    except SourceError as error:
        return error


def _read_table(system: Any, part: Part) -> Iterator[StoredImage]:
    """Read the rows of a table from `first` up to `last`, only the needed columns."""
    import pyarrow.parquet as pq

    if "error" in part:
        raise OSError(part["error"])
    first, last, origin = part["first"], part["last"], part["origin"]
    columns = [part["column"]] + ([part["names"]] if part["names"] else [])
    with system.open_input_file(part["path"]) as source:
        file = pq.ParquetFile(source)
        ends = list(accumulate(_row_counts(file), initial=0))
        groups = [k for k in range(file.num_row_groups) if ends[k] < last and ends[k + 1] > first]
        index = ends[groups[0]] if groups else last
        for batch in file.iter_batches(_ROWS, groups, columns) if groups else ():
            images, *names = (batch.column(column) for column in columns)
            for k in range(batch.num_rows):
                if first <= index < last:
                    name = (names[0][k].as_py() if names else None) or f"{origin}#{index}"
                    name, data = _read_cell(system, part["path"], images[k].as_py(), name)
                    yield StoredImage(name, origin, index, data)
                index += 1
    if ends[-1] < last:
        raise OSError(f"it has {ends[-1]} rows and had {last} or more")


def _read_cell(system: Any, table: str, value: Any, name: str) -> tuple[str, bytes | SourceError]:
    """Return name and data of a cell: encoded bytes, a path, or a struct of both as Hugging Face writes it."""
    if isinstance(value, dict):
        path = value.get("path")
        name = path if path and isinstance(path, str) else name
        value = value.get("bytes") or path
    if isinstance(value, bytes):
        return name, value
    if isinstance(value, str):
        return value, _read_file(system, value, sibling(table, value))
    kind = "nothing" if value is None else type(value).__name__
    return name, SourceError(f"{name}: the table holds {kind} in place of an image's bytes or path; write it again")


def _read_tar(system: Any, part: Part, skipped: Counter[str]) -> Iterator[StoredImage]:
    """Read the images of a tar from start to end; hidden files and other files are counted in `skipped`."""
    index, limit = 0, DEFAULT.file_bytes
    with system.open_input_stream(part["path"]) as source, tarfile.open(fileobj=source, mode="r|*") as tar:
        for member in tar:
            link = member.islnk() or member.issym()
            if member.isdir():
                continue
            kind = "hidden" if is_hidden(member.name) else PurePosixPath(member.name).suffix.lower()
            if kind not in IMAGE_SUFFIXES:
                skipped[kind] += 1
                continue
            name, reason = f"{part['origin']}/{member.name}", "not a file; pack the image itself"
            if link:
                reason = f"a link to {member.linkname}; pack files, as tar --dereference --hard-dereference does"
            elif member.size > limit:
                reason = f"{member.size / 1e6:.0f} MB is more than the limit of {limit / 1e6:.0f} MB; make it smaller"
            file = None if link or member.size > limit else tar.extractfile(member)
            data = SourceError(f"{name}: {reason}") if file is None else file.read()
            yield StoredImage(name, part["origin"], index, data)
            index += 1
