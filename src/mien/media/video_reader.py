"""Videos in: the frames of a file or URL, in order, with their true times, as a player shows them."""

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

_BREAK = 1.0  # s, or four frames: a step back that is larger is no mere disorder of the frames
_LARGEST_ASPECT = 10.0  # of a pixel; beyond that the header is wrong
_FLUSHES = 50  # times that the decoder is asked for what it still holds, damaged or not
_LARGEST_IMAGE = 200_000_000  # bytes of an animated image, which is held in memory
_WITH_ALPHA = ("gif", "apng", "png_pipe")


class VideoReader:
    """Reads a video from its first frame to its last.

        with VideoReader("talk.mp4") as video:
            for frame in video:
                print(frame.time, frame.bgr().shape)

    Frames come in the order in which they are shown, turned and stretched as players do, deinterlaced where they are
    interlaced; each has its own size, which may change within a video. Times are the container's, with the first frame
    at 0; a format without times gets them from its rate. A frame that the file only repeats is given again. Where
    frames are damaged, `gap` of the next one says so and reading goes on. A file that is cut short and a connection
    that breaks off raise a VideoError after the last frame.

    It can be iterated again, which opens the source again, by one thread at a time; `close` may come from another.

    Attributes:
        name: the source, without the password of a URL.
        width: pixels of the first frame as shown.
        height: the same.
        rate: frames a second; of a variable rate the mean, as far as the container knows.
        frame_count: about how many frames there are, or None if unknown.
        duration: seconds, or None if unknown.
        codec: name of the codec, such as "h264".
        rotation: clockwise degrees by which frames are turned to be shown: 0, 90, 180 or 270.
        mirrored: whether they are then flipped left to right.
        start: the first frame's time by the container's own clock, in seconds: the sound goes by that.
    """

    def __init__(self, source: str | os.PathLike[str], timeout: float = 10.0) -> None:
        """Open the source and decode its first frame.

        Args:
            source: path of a file, or a URL (http, https, rtsp, ...).
            timeout: seconds to wait for a server to answer, and then for each block.

        Raises:
            VideoError: not there, not allowed, not a video, or none that can be decoded.
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
        self.start = self._pass.start
        self.rotation, self.mirrored = self._pass.turn.degrees, self._pass.turn.mirrored

    def __iter__(self) -> Iterator[VideoFrame]:
        """Read the frames, from the first on.

        Raises:
            VideoError: after the last frame that can be read, when more should follow.
        """
        begun, self._begun = self._begun, None
        if begun is not None:
            return begun
        if self._stop.is_set():
            raise VideoError(f"{self.name}: the reader is closed; open the video again")
        self._pass = _Pass(VideoSource(self._source, self.name, self._timeout, self._stop), self._stop)
        return self._pass.frames()

    def close(self) -> None:
        """Stop reading: an iteration ends at the next frame, and waits for no server. Calling it twice does no harm."""
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
    """Give a frame that was read before, then the others."""
    yield first
    del first
    yield from rest


class _Note(NamedTuple):
    """What is known of a decoded picture."""

    stamp: float | None  # s, by the container's clock
    turn: Turn
    aspect: float
    is_after_gap: bool


class _Pass:
    """One reading of a video, from the first packet to the last.

    Attributes:
        video: the open container.
        turn: how the first frame is shown.
        start: its time by the container's clock, in seconds.
    """

    def __init__(self, video: VideoSource, stop: threading.Event) -> None:
        self.video, self._stop = video, stop
        self.turn, self.start = Turn(), 0.0
        self._repeats: deque[float] = deque()  # times of packets that only repeat the frame before
        if video.stream is not None:
            self._container_aspect: Fraction | None = video.stream.sample_aspect_ratio
            self._codec_aspect: Fraction | None = video.stream.codec_context.sample_aspect_ratio

    def frames(self) -> Iterator[VideoFrame]:
        """Read the frames, and close the container after the last."""
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
        """Give the pictures, and again those that the file only repeats."""
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
        """Give whole pictures, and what is known of each."""
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
        """Return the picture's time by the container's clock, in seconds."""
        ticks = picture.dts if picture.pts is None else picture.pts
        return float(ticks * self.video.stream.time_base) if self.video.has_times and ticks is not None else None

    def _aspect(self) -> float:
        """Return how many times as wide as high a pixel is: by the container, or by the codec where that changed."""
        now: Fraction | None = self.video.stream.codec_context.sample_aspect_ratio
        aspect = now if now and now != self._codec_aspect else self._container_aspect
        return float(aspect) if aspect and 1 / _LARGEST_ASPECT <= aspect <= _LARGEST_ASPECT else 1.0

    def _decoded(self) -> Iterator[Any]:
        """Decode the packets; what cannot be decoded counts as damage."""
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
                # whoever joins a broadcast waits for its first whole picture
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
        """Read an animated WebP."""
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
    """Turns a container's time stamps into times that start at 0 and rise.

    Attributes:
        now: the last time given.
    """

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
        if is_behind and self._is_behind:  # two in a row: another recording begins, as where files were joined
            now = self.now + 1.5 * self._step
            self._start = stamp - now
        elif now <= self.now:  # wrong; half a step on leaves room for the next one, which may be right
            now = self.now + 0.5 * self._step
        self.now, self._is_behind = now, is_behind
        return now


def _turn(picture: Any) -> Turn:
    matrix = picture.side_data.get(SideData.DISPLAYMATRIX)
    return Turn() if matrix is None else Turn.from_matrix(np.frombuffer(matrix, np.int32))
