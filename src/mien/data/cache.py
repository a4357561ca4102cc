"""A cache of the pixels beside the source."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR

import numpy as np

from mien.data.faces import Faces
from mien.errors import OutputError
from mien.media import atomic, drafts

Read = Callable[[Path, dict[str, str] | None], Faces]
"""Reads a source; pictures that cannot be used are an error, or put into the dictionary with what is wrong."""


def cached(path: Path, kind: str, read: Read, unusable: dict[str, str] | None = None) -> Faces:
    """What `read(path, unusable)` gives, from the cache where it is there and whole.

    `kind` tells apart readings of the same source. What lacks pictures is not kept.
    """
    place = path.resolve()
    folder = Path(os.environ.get("MIEN_CACHE") or place.parent)
    cache = folder / f".mien-{place.stem}-{_key(place, kind)}.npz"
    if cache.exists():
        try:
            with cache.open("rb") as stream, np.load(stream, allow_pickle=False) as packed:
                labels = tuple(packed["labels"].tolist())
                return Faces(packed["images"], packed["targets"], packed["splits"], packed["names"], labels)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            pass  # a damaged cache is only a cache: read the source again
    faces = read(path, unusable)
    if not unusable:
        drafts.remove_dead_drafts(folder, ".mien-*.npz")
        with suppress(OutputError):  # a read-only place costs only time
            _write(cache, faces)
    return faces


def _key(path: Path, kind: str) -> str:
    """Names the content: every byte of a file; names, sizes and times of a folder's files, caches left out."""
    digest = hashlib.sha256(f"2 {kind}".encode())
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            found = file.stat() if file.exists() else file.lstat()  # or a link to nothing
            if not S_ISDIR(found.st_mode) and not file.name.startswith((".mien-", "..mien-")):
                digest.update(f"{file.relative_to(path)} {found.st_size} {found.st_mtime_ns}\n".encode())
    else:
        with path.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()[:16]


def _write(cache: Path, faces: Faces) -> None:
    with atomic.draft(cache, sync=False) as place, place.open("wb") as stream:
        np.savez(
            stream, images=faces.images, targets=faces.targets, splits=faces.splits, names=faces.names,
            labels=np.array(faces.labels),
        )  # fmt: skip
