"""Paths, folders and globs -> files: no file is lost without a word, and only regular files are opened."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from mien.errors import SourceError
from mien.types import Failure

IMAGE_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("jpg", "jpeg", "jpe", "jfif", "jfi", "jif", "mpo", "png", "apng", "gif", "webp", "bmp", "dib", "tif", "tiff"),
        *("ppm", "pgm", "pbm", "pnm", "pam", "avif", "avifs", "heic", "heif", "heics", "heifs", "hif"),
        *("jp2", "j2k", "j2c", "jpc", "jpf", "jpx", "tga"),
    )
)
"""Suffixes of the files that a folder search takes for images."""

VIDEO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("mp4", "mov", "avi", "mkv", "webm", "m4v", "mpg", "mpeg", "wmv", "ts", "mts", "m2ts", "3gp", "flv", "ogv"),
        *("mxf", "vob", "y4m", "h264", "hevc"),
    )
)
_RAW_SUFFIXES = frozenset([".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"])
_LITTER = frozenset((".ds_store", "thumbs.db", "desktop.ini", ".directory"))
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}
_MOST_NAMED = 8


def expand_images(sources: Sequence[str | Path], skipped: Counter[str] | None = None) -> list[Path | Failure]:
    """Turn files, folders and globs into files, in the order of the sources.

    A folder stands for the images below it as `list_images` yields them, failures included; a glob (`*`, `?`, `[...]`,
    `**`) for all its files, sorted; a file for itself. What a folder or glob holds besides is counted in `skipped`,
    for `skipped_line`.

    Raises:
        SourceError: A path does not exist, or a folder or glob gives nothing.
    """
    return [found for source in sources for found in expand_source(source, skipped)]


def expand_source(source: str | Path, skipped: Counter[str] | None = None) -> list[Path | Failure]:
    """Do what `expand_images` does for one source."""
    path, name = Path(source), display(source)
    try:
        if path.is_dir():
            return _folder(path, skipped)
        if path.exists():  # before the glob: a file may well be called "me [1].jpg"
            return [path]
        if glob.has_magic(str(source)):
            return _glob(str(source), skipped)
    except (OSError, ValueError) as error:  # a name that is too long or holds a null byte
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"{name}: cannot be looked up ({reason}); check the path") from error
    raise SourceError(f"{name}: does not exist; check the spelling and the current folder")


def expand_videos(wanted: Sequence[str]) -> list[str]:
    """Return the videos that a user names: a folder or glob stands for those in it, sorted.

    All else stays as it is: a folder of images is one video.
    """
    return [video for each in wanted for video in _inside(each) or [each]]


def unique_names(videos: Sequence[str]) -> list[str]:
    """Return a short name for each video, fit for a file: its stem, numbered where several are the same."""
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
    """Return the images that a folder, glob or pattern stands for, in the order of their numbers; [] for a video."""
    path = Path(source)
    if re.search(r"%0?\d*d", path.name) and not path.exists():
        wanted = re.compile(r"\d+".join(map(re.escape, re.split(r"%0?\d*d", path.name))))
        below = [each for each in expand_source(path.parent) if isinstance(each, Path)]
        found = [each for each in below if wanted.fullmatch(each.name) and each.parent == path.parent]
    else:
        found = [each for each in expand_source(source) if isinstance(each, Path)]
        if found == [path] and path.suffix.lower() not in IMAGE_SUFFIXES:
            return []
        found = [each for each in found if each.suffix.lower() in IMAGE_SUFFIXES]
    if not found:
        raise SourceError(f"{display(source)}: no images there; give one video, or a folder, glob or pattern of images")
    return sorted(found, key=lambda each: [int(k) if k.isdigit() else k for k in re.split(r"(\d+)", str(each))])


def list_images(folder: Path, recursive: bool = True, skipped: Counter[str] | None = None) -> Iterator[Path | Failure]:
    """Walk a folder: yield the path of each image, and a Failure for what should be one and cannot be opened.

    Every entry below the folder ends in one of three ways, so that nothing is lost without a word:

    - a Path: a regular file, or a link to one, with the suffix of an image (in any case);
    - a Failure: a folder that cannot be listed; a broken link, named pipe, socket or device with such a suffix;
    - a count in `skipped`: by suffix in lower case, or as "hidden", "link to a folder" or, without `recursive`,
      "folder". Only what systems leave behind is not counted: `.DS_Store`, `Thumbs.db`, `desktop.ini`, `._*`.

    The order is that of sorted paths. Links to folders are not followed, so that the walk always ends. No file is
    opened. Nothing is raised; the index of a failure is 0, for the caller to set.
    """
    counts: Counter[str] = Counter() if skipped is None else skipped
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        yield Failure(str(folder), f"{display(folder)}: cannot be listed ({error.strerror}); check its permissions")
        return
    for entry in found:
        name, path = entry.name.lower(), folder / entry.name
        suffix = Path(name).suffix
        if name in _LITTER or name.startswith("._"):
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                if recursive:
                    yield from list_images(path, True, counts)
                else:
                    counts["folder"] += 1
                continue
            if name.startswith("."):
                counts["hidden"] += 1
            elif entry.is_symlink() and entry.is_dir():
                counts["link to a folder"] += 1
            elif suffix not in IMAGE_SUFFIXES:
                counts[suffix] += 1
            elif reason := _no_file(entry.stat().st_mode):
                yield Failure(str(path), f"{display(path)}: {reason}")
            else:
                yield path
        except OSError as error:
            broken = entry.is_symlink()
            reason = "a broken link; remove it or restore its target" if broken else _cannot(error)
            yield Failure(str(path), f"{display(path)}: {reason}")


def skipped_line(skipped: Counter[str]) -> str:
    """Return one line on the files that a folder search passed over, the most frequent first; "" when there are none.

    For example "skipped: 12 .mov (use mien video), 3 .pdf, 1 link to a folder".
    """
    kinds = sorted(((-count, kind) for kind, count in skipped.items() if count), key=lambda item: item)
    named = [f"{-count} {_kind(kind, -count)}" for count, kind in kinds[:_MOST_NAMED]]
    if rest := -sum(count for count, _ in kinds[_MOST_NAMED:]):
        named.append(f"{rest} of other kinds")
    return f"skipped: {', '.join(named)}" if named else ""


def read_file(path: Path, limit: int = 256_000_000) -> bytes:
    """Read a regular file of at most `limit` bytes.

    Named pipes, sockets and devices are refused before they are opened, for reading them could wait for ever.

    Raises:
        SourceError: No such file, not a regular one, larger than the limit, or it cannot be read.
    """
    name = display(path)
    try:
        if reason := _no_file(path.stat().st_mode):
            raise SourceError(f"{name}: {reason}")
        # Non-blocking, should it have become a named pipe since.
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as file:
            status = os.fstat(file.fileno())
            if reason := _no_file(status.st_mode):
                raise SourceError(f"{name}: {reason}")
            if status.st_size > limit:
                raise SourceError(
                    f"{name}: {status.st_size / 1e6:.0f} MB is more than the limit of {limit / 1e6:.0f} MB; "
                    "make the image smaller"
                )
            data = file.read(status.st_size + 1)  # no more, for that much memory is taken first
            if len(data) > status.st_size:
                data += file.read(limit + 1 - len(data))
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise SourceError(f"{name}: {_cannot(error)}") from error
    except MemoryError as error:
        raise SourceError(f"{name}: not enough memory to read it; close other programs") from error
    if len(data) > limit:
        raise SourceError(f"{name}: more than the limit of {limit / 1e6:.0f} MB; make the image smaller")
    return data


def display(path: str | os.PathLike[str]) -> str:
    """Return a path as text that every terminal and log can take: bytes that are not UTF-8 and control characters
    become escapes such as \\xff."""
    text = os.fspath(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def without_password(source: object) -> str:
    """Return a path or URL for display and logs."""
    return re.sub(r"//[^/]*@", "//***@", str(source)) if "://" in str(source) else str(source)


def _folder(folder: Path, skipped: Counter[str] | None) -> list[Path | Failure]:
    counts: Counter[str] = Counter()
    found = list(list_images(folder, skipped=counts))
    if not found:
        line = skipped_line(counts)
        raise SourceError(f"{display(folder)}: no images in this folder; {line or 'check the path'}")
    if skipped is not None:
        skipped.update(counts)
    return found


def _glob(pattern: str, skipped: Counter[str] | None) -> list[Path | Failure]:
    found = [Path(each) for each in glob.glob(pattern, recursive=True)]
    files = sorted(each for each in found if not each.is_dir())
    if not files:
        raise SourceError(f"{display(pattern)}: no file matches this pattern; check it, and the current folder")
    if skipped is not None and "**" not in pattern:
        skipped["folder"] += len(found) - len(files)
    return list(files)


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


def _no_file(mode: int) -> str:
    """Why a file of such a mode is not opened; "" for a regular one."""
    if stat.S_ISREG(mode):
        return ""
    return f"{_KINDS.get(stat.S_IFMT(mode), 'no file')}, not a file; give an image file"


def _cannot(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "does not exist; check the spelling and the current folder"
    return f"cannot be read ({getattr(error, 'strerror', None) or error}); check its permissions"


def _kind(kind: str, count: int) -> str:
    if not kind.startswith("."):
        plain = kind or "without a suffix"
        plural = {"folder": "folders", "link to a folder": "links to folders"}
        return plural.get(plain, plain) if count > 1 else plain
    shown = display(kind)
    if kind in VIDEO_SUFFIXES:
        return f"{shown} (use mien video)"
    return f"{shown} (camera raw; export as JPEG)" if kind in _RAW_SUFFIXES else shown
