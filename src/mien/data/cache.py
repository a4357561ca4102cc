"""A cache of the pixels beside the source."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR

import numpy as np

from mien.data.faces import Faces
from mien.errors import OutputError
from mien.faces.onnx import ASSETS
from mien.media import atomic, drafts

Reader = Callable[[Path, dict[str, str] | None], Faces]
"""Reads a source; an unusable image is an error, or goes into the dictionary with the reason."""


def cached(path: Path, kind: str, read: Reader, unusable: dict[str, str] | None = None) -> Faces:
    """Return `read(path, unusable)`, from the cache if possible; readings with unusable images are not kept."""
    source = path.resolve()
    cache = Path(os.environ.get("MIEN_CACHE") or source.parent) / f".mien-{source.stem}-{_key(source, kind)}.npz"
    # zipfile and NumPy raise some ten classes on a damaged cache
    with suppress(Exception), cache.open("rb") as stream, np.load(stream, allow_pickle=False) as packed:
        labels = tuple(packed["labels"].tolist())
        people, sources = (packed[name] if len(packed[name]) else None for name in ("people", "sources"))
        columns = packed["images"], packed["targets"], packed["splits"], packed["names"]
        return Faces(*columns, labels, people=people, sources=sources)
    faces = read(path, unusable)
    if not unusable:
        drafts.remove_dead_drafts(cache.parent, ".mien-*.npz")
        # the folder may be read-only
        with suppress(OutputError), atomic.draft(cache, sync=False) as draft, draft.open("wb") as file:
            np.savez(
                file, images=faces.images, targets=faces.targets, splits=faces.splits, names=faces.names,
                labels=np.array(faces.labels), people=np.array([]) if faces.people is None else faces.people,
                sources=np.array([]) if faces.sources is None else faces.sources,
            )  # fmt: skip
    return faces


def _key(path: Path, kind: str) -> str:
    """Hash the detector, which cuts crops, and a file's bytes, or the names, sizes and times of a folder's files."""
    digest = hashlib.sha256(f"5 {kind} ".encode() + (ASSETS / "yunet.onnx").read_bytes())
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            stat = file.stat() if file.exists() else file.lstat()  # a broken link
            if not S_ISDIR(stat.st_mode) and not file.name.startswith((".mien-", "..mien-")):
                digest.update(f"{file.relative_to(path)} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    else:
        with path.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()[:16]
