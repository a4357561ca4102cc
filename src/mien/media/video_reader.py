"""Video files as OpenCV reads them: frames in order, each at its own time."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2

from mien.errors import SourceError
from mien.media.image import to_bgr
from mien.media.paths import numbered_images
from mien.media.readers import read_images
from mien.types import Failure, Frame

_BOXES = frozenset(b"ftyp moov mdat free skip wide moof mfra sidx styp uuid meta udta pnot".split())  # of MP4 and MOV
_BREAK = 1.0  # s, or four frames: a step back that is larger is no mere disorder of the frames
_TRIES = 250  # packets, about ten seconds, that may be damaged before a video counts as ended


def open_capture(source: int | str, timeout: float | None = None) -> cv2.VideoCapture:
    """Open a camera, file or URL with OpenCV, and silence its log: what goes wrong is told by an Error or a Failure.

    Who sets OPENCV_LOG_LEVEL or OPENCV_FFMPEG_LOGLEVEL hears it.

    Args:
        source: number of a camera, path of a file or URL; an absolute path, lest a colon in it look like a protocol.
        timeout: seconds for a URL to open, and then for each frame.

    Returns:
        What may not be open: ask `isOpened`.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read by OpenCV at its first video
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    if isinstance(source, int):
        return cv2.VideoCapture(source)
    limits: list[int] = []
    if timeout is not None:
        for setting in (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC):
            limits += [setting, round(1000 * timeout)]
    return cv2.VideoCapture(source, cv2.CAP_FFMPEG, limits)


def without_credentials(source: object) -> str:
    """A path or URL as a person and a log may see it: without user and password."""
    return re.sub(r"//[^/]*@", "//***@", str(source)) if "://" in str(source) else str(source)


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
        self.name = without_credentials(source)
        self.total: int | None
        self._is_url = "://" in str(source)
        self._where = str(source) if self._is_url else str(Path(source).absolute())
        self._images = [] if self._is_url else numbered_images(source)
        if self._images:
            self.fps, self.total = fps, len(self._images)
            return
        capture = self._open()
        rate, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        capture.release()
        self.fps = rate if 0.0 < rate <= 1000.0 else 30.0
        self.total = int(count) if 0 < count < 1e9 else None

    def __iter__(self) -> Iterator[Frame | Failure]:
        if not self._images:
            yield from self._read()
        for item in read_images(self._images):
            yield replace(item, time=item.index / self.fps) if isinstance(item, Frame) else item

    def _open(self) -> cv2.VideoCapture:
        capture = open_capture(self._where)
        if capture.isOpened():
            return capture
        if self._is_url:
            raise SourceError(f"{self.name}: no video can be opened there; check the address and the network")
        if _is_truncated(Path(self._where)):
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
        if not self._is_url and count < total and _is_truncated(Path(self._where)):
            return f"the file is cut short; it ends after {count} frames, at {time:.2f} s"
        # these containers count their frames, those included that an editor cut off at the ends; others only estimate
        if count < 0.8 * total and Path(self.name).suffix.lower() in (".mp4", ".mov", ".m4v", ".3gp", ".avi"):
            return f"damaged; only {count} of {total} frames can be read, up to {time:.2f} s"
        return "" if count else "no frame can be read"


def read_video(source: Video) -> Iterator[Frame | Failure]:
    """The frames of a video, and a failure in place of an error where it can no longer be opened."""
    try:
        yield from source
    except SourceError as error:
        yield Failure(source.name, str(error))


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


def _is_truncated(path: Path) -> bool:
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
