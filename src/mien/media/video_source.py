"""VideoSource: the container of a video, its packets, and what is missing of them."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from av.stream import Discard, Disposition

from mien.errors import VideoError
from mien.media.http_file import HttpFile
from mien.media.paths import without_password as without_password

MAX_PIXELS = 40_000_000
"""Pixels of the largest frame to decode; 8K has 35 million."""

# Three threads a core fill the gaps in which frames wait for each other: with six threads instead of two, two cores
# decoded 1.15 times as many frames a second beside a thread that converts. Each thread holds a frame.
_THREADS_PER_CORE, _MAX_THREADS = 3, 8
_PIXELS_AT_ONCE = 50_000_000  # in all threads together
_RETRIES = 50  # damaged places in a row after which a file counts as ended
_NO_TIMES = 0x80  # AVFMT_NOTIMESTAMPS: the format stores no times
_LATE_END = 0.5  # seconds that may be missing at the end of formats that declare their duration
_JOINED = (
    "mpegts",
    "rtsp",
    "rtp",
    "sdp",
    "hls",
    "dash",
    "mpeg",
    "live_flv",
)  # broadcasts, joined at any moment
_DECLARED = ("matroska,webm", "flv")  # formats that declare their duration


def short_reason(error: BaseException) -> str:
    """Return the reason from libav or the system, without the address, which may hold a password."""
    return str(getattr(error, "strerror", None) or error).rstrip(".")


class VideoSource:
    """An open video container.

    Attributes:
        name: the source without the password of a URL.
        format: libav's name of the container format.
        stream: libav's video stream with its decoder, or None for an animated image that libav cannot decode.
        codec: name of the codec.
        rate: frames a second; the mean of a variable rate, as far as the container knows.
        duration: seconds, or None if unknown.
        frame_count: approximate number of frames, or None if unknown.
        has_times: whether packets have their own times.
        has_sound: whether there is an audio stream.
        is_joined: whether the format is a broadcast, which may be joined at any moment.
        is_damaged: set when packets could not be read whole; the caller resets it.
    """

    def __init__(self, source: str, name: str, timeout: float, stop: threading.Event) -> None:
        """Open a file or URL, called `name` in errors; reading ends when `stop` is set.

        `timeout` is in seconds, for a server to answer and for each block.
        """
        self.name, self._stop = name, stop
        self._is_url = "://" in source
        self._path = ""
        self._http: HttpFile | None = None
        self._container = self._open(source, timeout)
        self.format: str = self._container.format.name
        self.has_sound = bool(self._container.streams.audio)
        self.is_joined = self.format.startswith(_JOINED)
        self.is_damaged = self._ends_in_pieces = False
        self._count, self._end, self._failure = 0, 0.0, ""
        self.stream: Any = None
        self.codec, self.rate, self.has_times = "webp", 10.0, True
        self.duration: float | None = None
        self.frame_count: int | None = None
        if self.format != "webp_pipe":
            try:
                self.stream = self._find_stream()
            except VideoError:
                self.close()
                raise
            self._describe()

    def abort(self) -> None:
        """End a read from the network at once; any thread may call it."""
        if self._http is not None:
            self._http.abort()

    def close(self) -> None:
        """Close the file or the connection."""
        self._container.close()
        if self._http is not None:
            self._http.close()

    def read_bytes(self, most: int) -> bytes:
        """Return the first `most` bytes of the file."""
        if self._http is None:
            with Path(self._path).open("rb") as file:
                return file.read(most)
        self._http.seek(0)
        data = bytearray()
        while len(data) < most and (block := self._http.read(65_536)):
            data += block
        return bytes(data[:most])

    def packets(self) -> Iterator[Any]:
        """Yield the whole packets of the video stream, past damaged places."""
        streams = self._container.streams if self.format in _DECLARED else [self.stream]
        wanted = [stream for stream in streams if stream.type in ("video", "audio", "subtitle")]
        tries = 0
        while tries < _RETRIES and not self._stop.is_set():
            try:
                for packet in self._container.demux(*wanted):
                    if self._stop.is_set():
                        return
                    if packet.pts is None and packet.dts is None and packet.size == 0:
                        continue  # marks the end
                    tries = 0
                    if self._counts(packet):
                        yield packet
                return
            except IndexError:  # PyAV 18, at the end of a file in which streams appeared late
                return
            except (av.error.InvalidDataError, BlockingIOError):
                tries += 1
                self.is_damaged = True
            except (OSError, av.FFmpegError) as error:
                if isinstance(error, av.error.ExitError):
                    self._failure = "the server does not answer in time"
                # libav reports the end of a response of unknown length as an error
                elif not (self._is_url and self._container.size <= 0):
                    self._failure = short_reason(error)
                return

    def missing(self, count: int, time: float) -> str:
        """Return what is missing after `count` frames, the last one at `time` seconds, and what to do, or ""."""
        again = "copy or download it again"
        failure = (self._http.error if self._http is not None else "") or self._failure
        if failure:
            advice = "try again, or download it first" if self._is_url else again
            return f"cannot be read further than {count} frames, {time:.2f} s ({failure}); {advice}"
        if self._is_cut_short():
            return f"the file is cut short; it ends after {count} frames, at {time:.2f} s; {again}"
        total = self.stream.frames
        if self.format == "avi" and self._count + 1 < 0.98 * total:
            return f"damaged; only {count} of {total} frames can be read, up to {time:.2f} s; {again}"
        if count == 0:
            return f"no frame can be read; {again}"
        if self.is_damaged:
            return f"damaged after {time:.2f} s; frames are missing at the end; {again}"
        return ""

    def _counts(self, packet: Any) -> bool:
        """Record a packet; return whether it is a whole packet of the video stream."""
        ticks = packet.dts if packet.pts is None else packet.pts
        if ticks is not None:
            self._end = max(self._end, float((ticks + (packet.duration or 0)) * packet.time_base))
        if packet.stream_index != self.stream.index:
            return False
        self._count += 1
        self.is_damaged = self.is_damaged or self._ends_in_pieces
        self._ends_in_pieces = packet.is_corrupt and not self.is_joined
        return not self._ends_in_pieces

    def _is_cut_short(self) -> bool:
        """Return whether packets listed by the container, or seconds declared by it, are missing."""
        if self._ends_in_pieces:
            return True
        if self.format.startswith("mov"):
            return self._count < len(self.stream.index_entries)
        declared: int | None = self._container.duration
        if self.format in _DECLARED and declared is not None:
            return self._end < declared / av.time_base - max(_LATE_END, 5 / self.rate)
        return False

    def _open(self, source: str, timeout: float) -> Any:
        settings: dict[str, Any] = {
            "metadata_errors": "replace",  # titles are not always UTF-8
            "options": {"max_pixels": str(MAX_PIXELS)},
        }
        try:
            if not self._is_url:
                self._path = self._regular_file(source)
                whitelist = {"protocol_whitelist": "file,crypto,data"}
                return av.open(self._path, "r", container_options=whitelist, **settings)
            if source.lower().startswith(("http://", "https://")):
                self._http = HttpFile(source, timeout)
                if not self._http.is_playlist:
                    return av.open(self._http, "r", buffer_size=65_536, **settings)
                self._http.close()
                self._http = None
            by_tcp = {"rtsp_flags": "prefer_tcp"} if source.lower().startswith("rtsp") else {}
            return av.open(source, "r", container_options=by_tcp, timeout=timeout, **settings)
        except (OSError, av.FFmpegError, ValueError) as error:
            reason = self._opening_reason(error)
            if self._http is not None:
                self._http.close()
            raise VideoError(f"{self.name}: {reason}") from error

    def _regular_file(self, source: str) -> str:
        """Return the absolute path of a regular file; a colon in a relative path would look like a protocol."""
        path = Path(source).absolute()
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise VideoError(f"{self.name}: is a folder; give a video file")
        if not stat.S_ISREG(kind):
            raise VideoError(f"{self.name}: not a regular file; give a video file")
        return str(path)

    def _opening_reason(self, error: Exception) -> str:
        if self._is_url:
            reason = (self._http.error if self._http is not None else "") or short_reason(error)
            return f"no video can be opened there ({reason}); check the address and the network"
        if isinstance(error, FileNotFoundError):
            return "does not exist; check the spelling and the current folder"
        if isinstance(error, PermissionError):
            return "cannot be read (permission denied); check that it is a file of yours"
        if isinstance(error, av.error.InvalidDataError | EOFError):
            return "not a video that can be read, or cut short before its index; copy or download it again"
        return f"cannot be read ({short_reason(error)}); check the path"

    def _find_stream(self) -> Any:
        """Return the video stream that players show; a cover image only where there is no other."""
        stills = Disposition.attached_pic | Disposition.timed_thumbnails
        videos = [stream for stream in self._container.streams.video if not stream.disposition & stills]
        videos = videos or list(self._container.streams.video)
        if not videos:
            raise VideoError(f"{self.name}: holds no video; give a video")
        best = self._container.streams.best("video")
        stream = next((each for each in videos if best is not None and each.index == best.index), videos[0])
        context = stream.codec_context
        if context is None:
            raise VideoError(f"{self.name}: no decoder for its codec is installed; convert it to H.264")
        if context.width * context.height > MAX_PIXELS:
            size = f"{context.width} x {context.height}"
            raise VideoError(f"{self.name}: {size} pixels is more than the limit of {MAX_PIXELS}; make it smaller")
        for other in self._container.streams:
            if other.index != stream.index and self.format not in _DECLARED:
                other.discard = Discard.all
        context.options = {"max_pixels": str(MAX_PIXELS)}
        is_live = self._is_url and self._http is None
        context.thread_type = "SLICE" if is_live else "AUTO"  # decoding frames in parallel delays them
        most = _PIXELS_AT_ONCE // max(context.width * context.height, 1)
        context.thread_count = max(min(_THREADS_PER_CORE * _cores(), _MAX_THREADS, most), 1)
        return stream

    def _describe(self) -> None:
        stream = self.stream
        self.codec = stream.codec_context.codec.canonical_name
        self.has_times = not int(self._container.format.flags) & _NO_TIMES
        rates = [stream.average_rate, stream.guessed_rate, stream.base_rate]
        if not self.has_times:  # the average is a guess of libav; the codec may know the rate
            rates = rates[1:]
        self.rate = next((float(rate) for rate in rates if rate and 0 < rate <= 1000), 25.0)
        if stream.duration is not None:
            self.duration = float(stream.duration * stream.time_base)
        elif self._container.duration is not None:
            self.duration = self._container.duration / av.time_base
        if stream.disposition & Disposition.attached_pic:
            self.duration, self.frame_count = None, 1
            return
        if self.duration is not None and not 0 < self.duration < 1e7:
            self.duration = None
        expected = round(self.duration * self.rate) if self.duration else 0
        counted = stream.frames
        if expected and counted > 1.1 * expected:  # an edit list skips some
            counted = expected
        self.frame_count = counted or expected or None


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
