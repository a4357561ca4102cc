"""Image files in a zip file."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from mien.errors import DataError
from mien.media.foreign import cause, parsing

MEMBER_BYTES = 64_000_000
"""Largest unpacked size of an image in a zip file."""


def read_members(
    path: Path, suffixes: tuple[str, ...], reject: Callable[[str, str], None]
) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the files with these suffixes, sorted by name; macOS's own are left out.

    `reject` receives the name of a member that cannot be read, and the reason.
    """
    with parsing(path, DataError, "not a complete zip file", "download it again"), zipfile.ZipFile(path) as archive:
        for member in sorted(archive.infolist(), key=lambda member: member.filename):
            name = member.filename
            if not name.lower().endswith(suffixes) or name.startswith("__MACOSX"):
                continue
            if member.file_size > MEMBER_BYTES:
                reject(name, f"{member.file_size:,} bytes when unpacked, more than {MEMBER_BYTES:,}")
                continue
            if member.flag_bits & 1:
                reject(name, "encrypted; unpack the file with its password first")
                continue
            try:
                content = archive.read(member)  # never more than the declared size
            except MemoryError:
                raise
            except Exception as error:  # of an unknown method, cut short or damaged
                reject(name, f"cannot be unpacked: {cause(error)}")
                continue
            yield name, content
