"""Where pictures come from: files, folders, globs, arrays and videos become a stream of frames."""

from __future__ import annotations

import glob
import os
import re
from collections import deque
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import starmap
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from mien import video
from mien.image import decode, to_bgr
from mien.types import Failure, Frame, SourceError

PICTURES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm"}
)
VIDEOS = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".ts", ".3gp", ".flv"})

_BOXES = frozenset(b"ftyp moov mdat free skip wide moof mfra sidx styp uuid meta udta pnot".split())  # of MP4 and MOV
T = TypeVar("T")

_AHEAD = 16  # pictures that threads read before they are asked for
_BYTES = 64_000_000  # or fewer, when their pixels come to this: of 12 megapixels one a thread
_BREAK = 1.0  # s, or four frames: a step back that is larger is no mere disorder of the frames
_TRIES = 250  # packets, about ten seconds, that may be damaged before a video counts as ended

Item = str | Path | NDArray[Any]
Source = Item | Sequence[Item]


def expand(sources: Sequence[str | Path]) -> list[Path]:
    """Turn files, folders and globs into a list of files.

    A folder is searched recursively for pictures (by suffix, in any case; hidden files are passed over) and sorted, a
    glob (`*`, `?`, `[...]`, `**`) gives all its files, sorted, and a file stays as it is. The sources keep their order.

    Raises:
        SourceError: a path does not exist, or a folder or glob gives nothing.
    """
    return [path for source in sources for path in _expand_one(source)]


def frames(source: Source, threads: int = 0, skip: Container[str] = frozenset()) -> Iterator[Frame | Failure]:
    """Read pictures, in the order of the source.

    Args:
        source: a file, folder or glob; an array holding one picture (what `image.to_bgr` takes); or a list of these.
        threads: how many read ahead: up to 16 pictures, or about 64 MB of pixels but one a thread, wait in memory. With
            0 each picture is read when it is asked for.
        skip: names of pictures to pass over without opening them; the others keep the index they would have had.

    Yields:
        A Frame (uint8 BGR, time 0) for each picture, or a Failure for an item that cannot be read: nothing is raised,
        so one broken file never ends a batch. `index` counts frames and failures together, from 0.
    """
    return looked_at(source, _itself, threads, skip)


def looked_at(
    source: Source, look: Callable[[Frame], T], threads: int = 0, skip: Container[str] = frozenset()
) -> Iterator[T | Failure]:
    """The same, with each picture given to a function in the thread that has read it.

    Args:
        source: as of `frames`.
        look: what to make of a picture; of several threads, so it must be safe to call from them. What it raises ends
            all.
        threads: as of `frames`; `look` counts as reading.
        skip: as of `frames`.

    Yields:
        What `look` returned for each picture, or a Failure.
    """
    jobs = (job for job in _jobs(source) if job[2] not in skip)
    if threads > 0:
        return _read_ahead(jobs, look, threads)
    return (item if isinstance(item, Failure) else look(item) for item in starmap(_read, jobs))


def _itself(frame: Frame) -> Frame:
    return frame


class Video:
    """A video file, read whole and in order, or pictures shown one after the other.

    Iterating gives a Frame (uint8 BGR, upright: a phone's rotation is applied) for each frame and a Failure where
    frames are missing: after a damaged stretch, for a picture that cannot be read, and at the end of a file that is cut
    short. `time` is the frame's own in the container, variable rate or not, with the first frame's as 0. (OpenCV's
    times were compared with PyAV's on MP4, MOV, MKV, WebM and TS files with B-frames, edit lists, late starts and
    variable rates: equal to the last digit. Only AVI, which stores no times, and files joined from several recordings,
    whose times begin anew, need the corrections made here.)

    It may be iterated again, and gives all frames once more.

    Attributes:
        name: the source, to show to a person.
        fps: nominal frames a second; of a variable rate the mean.
        total: about how many frames there are (an estimate for MKV, WebM and TS), or None if unknown.
    """

    def __init__(self, source: str | Path, fps: float = 25.0) -> None:
        """Look at the source.

        Args:
            source: a video file, its http(s) URL, or pictures: a folder, a glob or a pattern such as
                `frames/%04d.png`, in the order of the numbers in their names.
            fps: frames a second for pictures; a file has its own.

        Raises:
            SourceError: not there, or not a video that can be read.
        """
        self.name = video.shown(source)
        self.total: int | None
        self._is_url = "://" in str(source)
        self._where = str(source) if self._is_url else str(Path(source).absolute())
        self._pictures = [] if self._is_url else _sequence(source)
        if self._pictures:
            self.fps, self.total = fps, len(self._pictures)
            return
        capture = self._open()
        rate, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        capture.release()
        self.fps = rate if 0.0 < rate <= 1000.0 else 30.0
        self.total = int(count) if 0 < count < 1e9 else None

    def __iter__(self) -> Iterator[Frame | Failure]:
        if not self._pictures:
            yield from self._read()
        for item in frames(self._pictures):
            yield replace(item, time=item.index / self.fps) if isinstance(item, Frame) else item

    def _open(self) -> cv2.VideoCapture:
        capture = video.capture(self._where)
        if capture.isOpened():
            return capture
        if self._is_url:
            raise SourceError(f"{self.name}: no video can be opened there; check the address and the network")
        if _cut_short(Path(self._where)):
            raise SourceError(f"{self.name}: the file is cut short before its index; copy or download it again")
        raise SourceError(f"{self.name}: not a video that can be read; use an intact mp4, mov, mkv, webm or avi file")

    def _read(self) -> Iterator[Frame | Failure]:
        capture, clock, index, time, bad = self._open(), _Clock(self.fps), 0, 0.0, 0
        tries = 1 if self._is_url else _TRIES
        try:
            while bad < tries:
                there, image = capture.read()
                if not there:
                    bad += 1  # the end, or a packet that cannot be decoded: then the next may be whole again
                    continue
                now = clock.time(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
                if bad:
                    reason = f"{self.name}: damaged after {time:.2f} s; frames are missing there"
                    yield Failure(self.name, reason, index)
                yield Frame(to_bgr(image, self.name), index, now, self.name)
                index, time, bad = index + 1, now, 0
        finally:
            capture.release()
        if reason := self._short(index, time):
            yield Failure(self.name, f"{self.name}: {reason}; copy or download it again", index)

    def _short(self, count: int, time: float) -> str:
        """What is missing at the end, or ""."""
        total = self.total or 0
        if not self._is_url and count < total and _cut_short(Path(self._where)):
            return f"the file is cut short; it ends after {count} frames, at {time:.2f} s"
        # these containers count their frames, those included that an editor cut off at the ends; others only estimate
        if count < 0.8 * total and Path(self.name).suffix.lower() in (".mp4", ".mov", ".m4v", ".3gp", ".avi"):
            return f"damaged; only {count} of {total} frames can be read, up to {time:.2f} s"
        return "" if count else "no frame can be read"


class _Clock:
    """Turns a container's time stamps into times that start at 0 and rise."""

    def __init__(self, fps: float) -> None:
        self._step = 1 / fps
        self._start: float | None = None
        self._time = 0.0
        self._behind = False

    def time(self, stamp: float) -> float:
        """Of the next frame, in seconds."""
        if self._start is None:
            self._start = stamp
            return 0.0
        now = stamp - self._start
        behind = now < self._time - max(_BREAK, 4 * self._step)
        if behind and self._behind:  # two in a row: another recording begins, as where files were joined
            now = self._time + 1.5 * self._step
            self._start = stamp - now
        elif now <= self._time:  # wrong; half a step on leaves room for the next one, which may be right
            now = self._time + 0.5 * self._step
        self._time, self._behind = now, behind
        return now


def _sequence(source: str | Path) -> list[Path]:
    """The pictures that a folder, glob or pattern stands for, in the order of their numbers; [] for a video file."""
    path = Path(source)
    if re.search(r"%0?\d*d", path.name) and not path.exists():
        wanted = re.compile(r"\d+".join(map(re.escape, re.split(r"%0?\d*d", path.name))))
        found = [
            each for each in _expand_one(path.parent) if wanted.fullmatch(each.name) and each.parent == path.parent
        ]
    else:
        found = _expand_one(source)
        if found == [path] and path.suffix.lower() not in PICTURES:
            return []
        found = [each for each in found if each.suffix.lower() in PICTURES]
    if not found:
        raise SourceError(f"{source}: no pictures there; give one video, or a folder, glob or pattern of pictures")
    return sorted(found, key=lambda each: [int(k) if k.isdigit() else k for k in re.split(r"(\d+)", str(each))])


def _cut_short(path: Path) -> bool:
    """Whether the lengths that a file gives of itself reach past its end: boxes of MP4, chunks of AVI, Matroska."""
    if not path.is_file():  # deleted since it was opened
        return False
    size, at = path.stat().st_size, 0
    with path.open("rb") as file:
        while at + 8 <= size:
            file.seek(at)
            length = _length(file.read(64))
            if length == 0:  # to the end of the file, or nothing that is known
                return False
            at += length
    return at > size


def _length(head: bytes) -> int:
    """Bytes of the box, chunk or Matroska segment that begins so; 0 when unknown."""
    if head[:4] == b"RIFF":
        length = int.from_bytes(head[4:8], "little")
        return length + 8 if length else 0  # 0: written by a program that was stopped
    if (
        head[:4] == b"\x1aE\xdf\xa3"
    ):  # Matroska: a header, its length in one byte, then the segment, its length in seven
        start = 5 + (head[4] & 0x7F)
        length = int.from_bytes(head[start + 5 : start + 12], "big")
        known = head[start : start + 5] == b"\x18\x53\x80\x67\x01" and length < 2**56 - 1  # all ones: being written
        return start + 12 + length if known else 0
    length = int.from_bytes(head[:4], "big")
    if head[4:8] not in _BOXES or length == 0:
        return 0
    return int.from_bytes(head[8:16], "big") if length == 1 else max(length, 8)


def _expand_one(source: str | Path) -> list[Path]:
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
        if Path(name).suffix.lower() in PICTURES and not name.startswith(".")
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
    return ", ".join(sorted(suffix[1:] for suffix in PICTURES))


def _jobs(source: Source) -> Iterator[tuple[Any, int, str]]:
    """(a file, an array, an error or what is no source; index; name) of each picture."""
    items: Sequence[Any] = [source] if isinstance(source, (str, Path, np.ndarray)) else source
    index = 0
    for position, item in enumerate(items):
        for found in _found(item):
            name = found[0] if isinstance(found, tuple) else str(found) if isinstance(found, Path) else None
            yield found, index, name or f"array {position}"
            index += 1


def ahead(items: Iterable[T], size: Callable[[T], int], count: int = 16) -> Generator[T, None, None]:
    """The same items, none of them None, of which a thread makes some while the ones before are looked at.

    Close it to end the thread before the items have ended.

    Args:
        items: what is made one after the other.
        size: bytes that an item holds.
        count: items that wait at most; fewer when they come to more than 64 MB.
    """
    source = iter(items)
    pool = ThreadPoolExecutor(1, "mien-read")
    waiting = deque([pool.submit(next, source, None)])
    room = 1  # until it is known how large they are
    try:
        while (item := waiting.popleft().result()) is not None:
            room = max(1, min(count, _BYTES // max(size(item), 1)))
            while len(waiting) < room:
                waiting.append(pool.submit(next, source, None))
            yield item
            del item  # else one more stays in memory
    finally:
        pool.shutdown(cancel_futures=True)
        if isinstance(source, Generator):
            source.close()


def _read_ahead(
    jobs: Iterator[tuple[Any, int, str]], look: Callable[[Frame], T], threads: int
) -> Iterator[T | Failure]:
    def read(job: tuple[Any, int, str]) -> tuple[T | Failure, int]:
        item = _read(*job)
        return (item, 0) if isinstance(item, Failure) else (look(item), item.image.nbytes)

    waiting: deque[Future[tuple[T | Failure, int]]] = deque()
    room = threads  # until it is known how large the pictures are
    pool = ThreadPoolExecutor(threads, "mien-read")
    try:
        for job in jobs:
            while len(waiting) >= room:
                item, size = waiting.popleft().result()
                if size:
                    room = max(threads, min(_AHEAD, _BYTES // size))
                yield item
                del item  # else one more picture stays in memory
            waiting.append(pool.submit(read, job))
        while waiting:
            yield waiting.popleft().result()[0]
    finally:
        pool.shutdown(cancel_futures=True)


def _found(item: Any) -> list[Any]:
    """Expand an item into files and arrays, or into the SourceError that says why it cannot be."""
    if not isinstance(item, (str, Path)):
        return [item]
    try:
        return list(_expand_one(item))
    except SourceError as error:
        return [(str(item), error)]


def _read(item: Any, index: int, name: str) -> Frame | Failure:
    if isinstance(item, tuple):
        return Failure(name, str(item[1]), index)
    try:
        if isinstance(item, np.ndarray):
            return Frame(to_bgr(item, name), index, 0.0, name)
        if not isinstance(item, Path):
            return Failure(name, f"a {type(item).__name__} is no source; give a path or a numpy array", index)
        if item.suffix.lower() in VIDEOS:
            return Failure(
                name, f"{name}: a video, where pictures are read; give it to sources.Video or mien video", index
            )
        return Frame(decode(item.read_bytes(), name), index, 0.0, name)
    except SourceError as error:
        return Failure(name, str(error), index)
    except OSError as error:
        return Failure(
            name, f"{name}: cannot be read ({error.strerror or error}); check that it is a file of yours", index
        )
