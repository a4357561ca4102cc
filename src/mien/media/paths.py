"""Paths, folders and globs -> files; the suffixes of images and videos."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path

from mien.errors import SourceError

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm"}
)

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".ts", ".3gp", ".flv"}
)


def expand_images(sources: Sequence[str | Path]) -> list[Path]:
    """Turn files, folders and globs into a list of files.

    A folder is searched recursively for pictures (by suffix, in any case; hidden files are passed over) and sorted, a
    glob (`*`, `?`, `[...]`, `**`) gives all its files, sorted, and a file stays as it is. The sources keep their order.

    Raises:
        SourceError: a path does not exist, or a folder or glob gives nothing.
    """
    return [path for source in sources for path in expand_source(source)]


def expand_videos(wanted: Sequence[str]) -> list[str]:
    """The videos that a user names: a glob or a folder stands for those in it, in the order of their names.

    All else stays as it is, for `media.video.Video` to say what is wrong: a folder of pictures is one video.
    """
    return [video for each in wanted for video in _inside(each) or [each]]


def unique_names(videos: Sequence[str]) -> list[str]:
    """A short name for each video, good for a file: its stem, with a number where several are the same."""
    found: list[str] = []
    taken: set[str] = set()
    for each in videos:
        stem = name = re.sub(r"[^\w.+ -]", "_", Path(each).stem).strip(". ")[:60] or "video"
        number = 1
        while name.casefold() in taken:  # some file systems take A.mp4 and a.mp4 for the same
            number += 1
            name = f"{stem}_{number}"
        taken.add(name.casefold())
        found.append(name)
    return found


def numbered_images(source: str | Path) -> list[Path]:
    """The pictures that a folder, glob or pattern stands for, in the order of their numbers; [] for a video file."""
    path = Path(source)
    if re.search(r"%0?\d*d", path.name) and not path.exists():
        wanted = re.compile(r"\d+".join(map(re.escape, re.split(r"%0?\d*d", path.name))))
        found = [
            each for each in expand_source(path.parent) if wanted.fullmatch(each.name) and each.parent == path.parent
        ]
    else:
        found = expand_source(source)
        if found == [path] and path.suffix.lower() not in IMAGE_SUFFIXES:
            return []
        found = [each for each in found if each.suffix.lower() in IMAGE_SUFFIXES]
    if not found:
        raise SourceError(f"{source}: no pictures there; give one video, or a folder, glob or pattern of pictures")
    return sorted(found, key=lambda each: [int(k) if k.isdigit() else k for k in re.split(r"(\d+)", str(each))])


def expand_source(source: str | Path) -> list[Path]:
    path = Path(source)
    try:
        if path.is_dir():
            return _folder(path)
        if path.exists():  # before the glob: a file may well be called "me [1].jpg"
            return [path]
        if glob.has_magic(str(source)):
            return _glob(str(source))
    except (OSError, ValueError) as error:  # a name that is too long or holds a null byte
        raise SourceError(f"{source}: cannot be looked up ({error}); check the path") from error
    raise SourceError(f"{source}: does not exist; check the spelling and the current folder")


def _folder(folder: Path) -> list[Path]:
    found = [
        Path(root, name)
        for root, _, names in os.walk(folder)  # follows no links to folders, so that it always ends
        for name in names
        if Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")
    ]
    if not found:
        raise SourceError(f"{folder}: no pictures in this folder; give one that holds {_kinds()} files")
    return sorted(found)


def _glob(pattern: str) -> list[Path]:
    found = [path for path in map(Path, glob.glob(pattern, recursive=True)) if path.is_file()]
    if not found:
        raise SourceError(f"{pattern}: no file matches this pattern; check it, and the current folder")
    return sorted(found)


def _kinds() -> str:
    return ", ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))


def _inside(wanted: str) -> list[str]:
    """The videos in a folder or of a glob; [] where it is neither, or holds none."""
    path = Path(wanted)
    if path.is_dir():
        found = [str(each) for each in path.iterdir() if not each.name.startswith(".")]
    elif "://" not in wanted and glob.has_magic(wanted) and not path.exists():
        found = glob.glob(wanted, recursive=True)
    else:
        return []
    return sorted(each for each in found if Path(each).suffix.lower() in VIDEO_SUFFIXES)
