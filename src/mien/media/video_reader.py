"""VideoReader: the frames of a file or URL in order, as a player shows them, with their true times."""

from __future__ import annotations

import io
import os
import threading
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType
from typing import Any, NamedTuple, Self

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData

from mien.errors import VideoError
from mien.media.animation import over_white, read_animation
from mien.media.deinterlace import Deinterlacer
from mien.media.video_frame import Turn, VideoFrame
from mien.media.video_source import MAX_PIXELS, VideoSource, without_password

_BREAK = 1.0  # seconds, or four frames; a larger step back starts another recording
_LARGEST_ASPECT = 10.0  # of a pixel; a larger one is an error in the header
_FLUSHES = 50  # attempts to drain a decoder that reports damage
_LARGEST_IMAGE = 200_000_000  # bytes of an animated image, which is read into memory
_WITH_ALPHA = ("gif", "apng", "png_pipe")


class VideoReader:
    """Reads a video from its first frame to its last.

        with VideoReader("talk.mp4") as video:
            for frame in video:
                print(frame.time, frame.bgr().shape)

    Frames are in display order, rotated, mirrored and stretched as in a player, and deinterlaced if interlaced.
    The size may change within a video. Times come from the container, the first frame at 0; formats without times use
    the rate. Frames that the file only repeats are read again. After damage, `gap` of the next frame describes it and
    reading continues. A truncated file or a broken connection raises a VideoError after the last frame.

    It can be iterated again, which reopens the source, in one thread at a time; `close` may be called from another.

    Attributes:
        name: the source without the password of a URL.
        width: pixels of the first frame as shown.
        height: pixels of the first frame as shown.
        rate: frames a second; the mean of a variable rate, as far as the container knows.
        frame_count: approximate number of frames, or None if unknown.
        duration: seconds, or None if unknown.
        codec: name of the codec, such as "h264".
        rotation: clockwise rotation of the frames for display: 0, 90, 180 or 270 degrees.
        mirrored: whether frames are then flipped left to right.
        start: time of the first frame by the container's clock, in seconds, to which the sound refers.
        has_sound: whether there is an audio stream.
    """

    def __init__(self, source: str | os.PathLike[str], timeout: float = 10.0) -> None:
        """Open a path or URL (http, https, rtsp, ...) and decode its first frame; raise a VideoError if there is none.

        `timeout` is in seconds, for a server to answer and for each block.
        """
        self.name = without_password(source)
        self._source, self._timeout = os.fspath(source), timeout
        self._stop = threading.Event()
        self._pass = _Pass(VideoSource(self._source, self.name, timeout, self._stop), self._stop)
        frames = self._pass.frames()
        first = next(frames)
        self._begun: Iterator[VideoFrame] | None = _resume(first, frames)
        video = self._pass.video
        self.width, self.height = first.width, first.height
        self.rate, self.duration, self.frame_count, self.codec = (
            video.rate, video.duration, video.frame_count, video.codec
        )  # fmt: skip
        self.start, self.has_sound = self._pass.start, video.has_sound
        self.rotation, self.mirrored = self._pass.turn.degrees, self._pass.turn.mirrored

    def __iter__(self) -> Iterator[VideoFrame]:
        """Yield the frames; raise a VideoError after the last readable one when more should follow."""
        begun, self._begun = self._begun, None
        if begun is not None:
            return begun
        if self._stop.is_set():
            raise VideoError(f"{self.name}: the reader is closed; open the video again")
        self._pass = _Pass(VideoSource(self._source, self.name, self._timeout, self._stop), self._stop)
        return self._pass.frames()

    def close(self) -> None:
        """End an iteration at the next frame, without waiting for a server; calling it twice does no harm."""
        self._stop.set()
        self._begun = None
        self._pass.video.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _resume(first: VideoFrame, rest: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """Yield a frame that was read before, then the others."""
    yield first
    del first
    yield from rest


class _Note(NamedTuple):
    """What is known about a decoded picture."""

    stamp: float | None  # seconds, by the container's clock
    turn: Turn
    aspect: float
    is_after_gap: bool


class _Pass:
    """One pass over a video; `turn` and `start` describe its first frame."""

    def __init__(self, video: VideoSource, stop: threading.Event) -> None:
        self.video, self._stop = video, stop
        self.turn, self.start = Turn(), 0.0
        self._repeats: deque[float] = deque()  # times of packets that repeat the frame before
        if video.stream is not None:
            self._container_aspect: Fraction | None = video.stream.sample_aspect_ratio
            self._codec_aspect: Fraction | None = video.stream.codec_context.sample_aspect_ratio

    def frames(self) -> Iterator[VideoFrame]:
        """Yield the frames, then close the container."""
        try:
            yield from self._animation() if self.video.stream is None else self._timed()
        finally:
            self.video.close()

    def _timed(self) -> Iterator[VideoFrame]:
        """Number and time the pictures."""
        video, clock, index = self.video, _Clock(self.video.rate), 0
        for picture, note in self._shown():
            stamp = index / video.rate if note.stamp is None else note.stamp
            gap = ""
            if note.is_after_gap:
                gap = f"{video.name}: damaged after {clock.now:.2f} s; frames are missing or distorted there"
            if index == 0:
                self.turn, self.start = note.turn, stamp
            yield VideoFrame(picture, index, clock.time(stamp), video.name, note.turn, note.aspect, gap)
            index += 1
        if not self._stop.is_set() and (reason := video.missing(index, clock.now)):
            raise VideoError(f"{video.name}: {reason}")

    def _shown(self) -> Iterator[tuple[Any, _Note]]:
        """Yield the pictures, and again those that the file repeats."""
        last: tuple[Any, _Note] | None = None
        for picture, note in self._pictures():
            while self._repeats and note.stamp is not None and self._repeats[0] < note.stamp:
                stamp = self._repeats.popleft()
                if last:
                    yield last[0], last[1]._replace(stamp=stamp, is_after_gap=False)
            last = picture, note
            yield last
        while last and self._repeats:
            yield last[0], last[1]._replace(stamp=self._repeats.popleft(), is_after_gap=False)

    def _pictures(self) -> Iterator[tuple[Any, _Note]]:
        """Yield deinterlaced pictures, and what is known about each."""
        lines: Deinterlacer[_Note] = Deinterlacer()
        was_corrupt = False
        for picture in self._decoded():
            is_after_gap = self.video.is_damaged or (picture.is_corrupt and not was_corrupt)
            was_corrupt, self.video.is_damaged = picture.is_corrupt, False
            note = _Note(self._stamp(picture), _turn(picture), self._aspect(), is_after_gap)
            if self.video.format in _WITH_ALPHA:
                picture = over_white(picture.to_ndarray(format="bgra"))
            yield from lines.push(picture, note)
        yield from lines.flush()

    def _stamp(self, picture: Any) -> float | None:
        """Return the time of a picture by the container's clock, in seconds."""
        ticks = picture.dts if picture.pts is None else picture.pts
        return float(ticks * self.video.stream.time_base) if self.video.has_times and ticks is not None else None

    def _aspect(self) -> float:
        """Return the width of a pixel by its height: the container's, or the codec's after a change."""
        now: Fraction | None = self.video.stream.codec_context.sample_aspect_ratio
        aspect = now if now and now != self._codec_aspect else self._container_aspect
        return float(aspect) if aspect and 1 / _LARGEST_ASPECT <= aspect <= _LARGEST_ASPECT else 1.0

    def _decoded(self) -> Iterator[Any]:
        """Decode the packets; an error counts as damage."""
        video, has_begun = self.video, False
        for packet in video.packets():
            if packet.size == 0:
                ticks = packet.dts if packet.pts is None else packet.pts
                if video.has_times and ticks is not None:
                    self._repeats.append(float(ticks * packet.time_base))
                continue
            try:
                pictures = packet.decode()
            except (av.FFmpegError, EOFError):
                # after joining a broadcast, the first whole picture comes late
                video.is_damaged = has_begun or not video.is_joined
                continue
            has_begun = has_begun or bool(pictures)
            yield from pictures
        for _ in range(_FLUSHES):
            try:
                pictures = video.stream.codec_context.decode(None)
            except EOFError:
                return
            except av.FFmpegError:
                video.is_damaged = True
                continue
            yield from pictures

    def _animation(self) -> Iterator[VideoFrame]:
        """Yield the frames of an animated WebP."""
        video, index, now = self.video, 0, 0.0
        try:
            file = io.BytesIO(video.read_bytes(_LARGEST_IMAGE))
            for picture, now, count in read_animation(file, MAX_PIXELS):
                video.frame_count = count
                yield VideoFrame(picture, index, now, video.name)
                index += 1
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            what = f"damaged after {now:.2f} s" if index else "not an image that can be read"
            raise VideoError(f"{video.name}: {what} ({error}); copy or download it again") from error


class _Clock:
    """Turns the time stamps of a container into rising times from 0; `now` is the last one."""

    def __init__(self, rate: float) -> None:
        self._step = 1 / rate
        self._start: float | None = None
        self._is_behind = False
        self.now = 0.0

    def time(self, stamp: float) -> float:
        """Return the time of the next frame, in seconds."""
        if self._start is None:
            self._start = stamp
            return 0.0
        now = stamp - self._start
        is_behind = now < self.now - max(_BREAK, 4 * self._step)
        if is_behind and self._is_behind:  # two in a row: another recording begins, as in joined files
            now = self.now + 1.5 * self._step
            self._start = stamp - now
        elif now <= self.now:  # a wrong stamp; half a step leaves room for the next one
            now = self.now + 0.5 * self._step
        self.now, self._is_behind = now, is_behind
        return now


def _turn(picture: Any) -> Turn:
    matrix = picture.side_data.get(SideData.DISPLAYMATRIX)
    return Turn() if matrix is None else Turn.from_matrix(np.frombuffer(matrix, np.int32))
