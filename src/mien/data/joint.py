"""Several data sets in one run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mien.data.faces import Faces
from mien.data.registry import KINDS, load_any
from mien.errors import ConfigError, DataError
from mien.types import EMOTIONS8


def split_kind(source: str) -> tuple[str | None, Path]:
    """Split `kind:path`, as in `rafdb:sets/raf`; a path on its own has no kind."""
    kind, colon, path = source.partition(":")
    return (kind, Path(path)) if colon and kind in KINDS else (None, Path(source))


def load_sets(
    sources: Sequence[str], classes: int | None, votes: Path | None = None, drop_leaks: bool = True
) -> dict[str, Faces]:
    """Read data sets whose labels are mapped by name onto those of the first one.

    Images of the eight emotions that the first set lacks are left out; any other unknown class is an error.

    Args:
        sources: paths as `registry.load_any` takes them, or `kind:path`.
        classes: 5, 7 or 8 emotions of the first set; None for all its classes.
        votes: csv of FER+ votes of the first set.
        drop_leaks: leave out Training images that are pixel-identical to one of another split.

    Returns:
        The sets by name (the file or folder name without suffix), the first one first.
    """
    sets: dict[str, Faces] = {}
    for source in sources:
        kind, path = split_kind(source)
        first = not sets
        faces = load_any(path, classes if first else None, kind, votes if first else None, drop_leaks)
        labels = faces.labels if first else next(iter(sets.values())).labels
        if unknown := [name for name in faces.labels if name not in labels and name not in EMOTIONS8]:
            raise ConfigError(
                f"{path}: the first data set has no class {', '.join(unknown)}; it has {', '.join(labels)}"
            )
        faces = faces.mapped(labels)
        if not len(faces):
            raise DataError(f"{path} has no image of the classes {', '.join(labels)}")
        name = path.stem
        while name in sets:
            name += "+"
        sets[name] = faces
    return sets
