"""VideoWriter: H.264 with the time of each frame and the sound of another file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import cv2
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from mien.errors import ConfigError, OutputError
from mien.media.audio import Sound
from mien.media.targets import output_error
from mien.types import Image

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""Suffix -> libav's name of the format."""

_TICKS = 60_000  # a second; MPEG-4 part 2 allows no more than 65,535
_BT709 = 1
_LIMITED_RANGE = 1
# no look-ahead and no reordering: each frame is in the file at once
_H264: dict[str, dict[str, str]] = {
    # Beside "veryfast", 240 frames of 640x480: half of the time with conversion, 3 % more bytes, 0.1 dB less. Alone,
    # "ultrafast" leaves out what saves most bytes: subpixel motion and the deblocking filter.
    "libx264": {
        "preset": "ultrafast",
        "crf": "21",
        "tune": "zerolatency",
        "forced-idr": "1",
        "x264-params": "subme=1:no-deblock=0:deblock=0,0",
    },
    "libopenh264": {"rc_mode": "off", "allow_skip_frames": "0"},
    "h264_videotoolbox": {"realtime": "1"},
    "h264_mf": {},
}
_MPEG4 = {"mpeg4": {"qmin": "2", "qmax": "5"}}
_VPX = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "crf": "32", "b": "0"}
_WEBM = {"libvpx-vp9": {**_VPX, "row-mt": "1"}, "libvpx": {**_VPX, "crf": "12", "b": "4M"}}


class VideoWriter:
    """Writes a video that can be played after a crash, up to about the last second.

    An MP4 or MOV consists of fragments of a second until `close` makes it a plain one.

    Attributes:
        path: the file.
        width: pixels, even.
        height: pixels, even.
        count: frames written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        width: int,
        height: int,
        rate: float = 30.0,
        audio_from: str | os.PathLike[str] | None = None,
        audio_start: float | None = None,
        file_format: str | None = None,
        on_message: Callable[[str], None] | None = None,
        name: str | os.PathLike[str] | None = None,
    ) -> None:
        """Open the file and write its header.

        Args:
            path: the file; its folder exists.
            width: pixels of the video, rounded up to an even number.
            height: pixels of the video, rounded up to an even number.
            rate: nominal frames a second; 30 if it is outside of 1..120.
            audio_from: file whose sound to add, as long as the frames last; it may have none.
            audio_start: time of the first frame by that file's clock (`VideoReader.start`); None to look it up.
            file_format: one of the values of `FORMATS`, for a path with another suffix.
            on_message: called with a sentence about sound that cannot simply be copied.
            name: path for errors, if another one.
        """
        self.path = Path(path)
        self._name = Path(name or path)
        self.width, self.height = max(width + width % 2, 2), max(height + height % 2, 2)  # 4:2:0 needs even sides
        self.count = 0
        kind = file_format or FORMATS.get(self.path.suffix.lower())
        if kind not in FORMATS.values():
            raise ConfigError(f"{path}: not a video format mien writes; let the name end in {', '.join(FORMATS)}")
        self._rate = rate if 1.0 <= rate <= 120.0 else 30.0
        self._start, self._last, self._key = 0.0, -1, 0
        self._scaler = VideoReformatter()
        self._sound: Sound | None = None
        self._is_broken = False
        self._container: Any = None
        self._encoder = _encoder(_WEBM if kind == "webm" else _H264 | _MPEG4, self.path)
        self._stream: Any = None
        with self._errors():
            self.path.open("ab").close()
        if audio_from is None or not self._open(str(kind), Path(audio_from), audio_start, on_message):
            with self._errors():
                self._open(str(kind))

    def write(self, image: Image, time: float) -> None:
        """Add a frame, uint8 BGR (H, W, 3), at a time in seconds; the time of the first frame becomes 0.

        An image of another size is fitted into the video, on black.
        """
        if self._stream is None:
            raise OutputError(f"{self._name}: the video is finished; nothing can be added")
        if self.count == 0:
            self._start = time
        pixels = _fit(image, (self.width, self.height))
        picture: Any = av.VideoFrame.from_numpy_buffer(pixels, "bgr24")
        frame: Any = self._scaler.reformat(picture, format="yuv420p", dst_colorspace=_BT709, threads=1)
        frame.pts = self._last = max(round((time - self._start) * _TICKS), self._last + 1)
        frame.time_base = Fraction(1, _TICKS)
        frame.pict_type = PictureType.NONE
        if frame.pts >= self._key:  # a fragment ends where a key frame begins
            frame.pict_type = PictureType.I
            self._key = frame.pts + _TICKS
        with self._errors():
            self._mux(self._stream.encode(frame))
        self.count += 1

    def close(self) -> None:
        """Finish the file; calling it twice does no harm."""
        if self._stream is None:
            return
        stream, self._stream = self._stream, None
        try:
            if self.count and not self._is_broken:
                with self._errors():
                    self._mux(stream.encode(None))
                    self._mux_sound((self._last + _TICKS / self._rate) / _TICKS)
        finally:
            if self._sound is not None:
                self._sound.close()
            if self._is_broken:
                with suppress(OSError, av.FFmpegError):  # the first error was raised
                    self._container.close()
            else:
                with self._errors():
                    self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(
        self,
        kind: str,
        audio_from: Path | None = None,
        audio_start: float | None = None,
        on_message: Callable[[str], None] | None = None,
    ) -> bool:
        """Open the file and write its header; return False if the format refuses the sound."""
        self._container = av.open(
            str(self.path.absolute()), "w", format=kind, container_options=_container_options(kind)
        )
        self._stream = self._add_video()
        if audio_from is not None:
            self._sound = Sound(audio_from, self._container, audio_start)
        note = self._sound.note if self._sound else ""
        try:
            self._container.start_encoding()
        except (OSError, av.FFmpegError) as error:
            if audio_from is None or self._sound is None:
                raise
            note = f"{audio_from}: its sound is left out; {kind} refuses it ({error})"
            self._sound.close()
            self._sound = None
        if note and on_message:
            on_message(note)
        return audio_from is None or self._sound is not None

    def _add_video(self) -> Any:
        name, options = self._encoder
        stream = self._container.add_stream(name, rate=Fraction(self._rate).limit_denominator(1001), options=options)
        stream.width, stream.height, stream.pix_fmt = self.width, self.height, "yuv420p"
        context = stream.codec_context
        context.time_base = Fraction(1, _TICKS)
        if name == "mpeg4":
            context.bit_rate = round(0.2 * self.width * self.height * self._rate)
        # declared in the file, so that players need not guess
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE
        return stream

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            packet.duration = round(_TICKS / self._rate)
            self._mux_sound(float(packet.dts * packet.time_base))
            self._container.mux(packet)

    def _mux_sound(self, until: float) -> None:
        if self._sound is not None:
            for packet in self._sound.until(until):
                self._container.mux(packet)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn errors of libav and the system into an OutputError."""
        try:
            yield
        except (OSError, av.FFmpegError) as error:
            self._is_broken = True
            raise output_error(self._name, error) from error


def _encoder(wanted: dict[str, dict[str, str]], path: Path) -> tuple[str, dict[str, str]]:
    """Return the first available encoder and its options."""
    for name, options in wanted.items():
        with suppress(ValueError):
            av.codec.Codec(name, "w")
            return name, dict(options)
    raise ConfigError(f"{path}: this PyAV has no encoder for it; install PyAV's wheel, or let the name end in .mp4")


def _container_options(kind: str) -> dict[str, str]:
    if kind in ("mp4", "mov"):
        flags = "hybrid_fragmented+frag_keyframe+delay_moov+default_base_moof"
        return {"movflags": flags, "flush_packets": "1"}
    return {"flush_packets": "1", "cluster_time_limit": "1000"}


def _fit(image: Image, size: tuple[int, int]) -> Image:
    """Return the image scaled to fit (width, height), centred on black."""
    height, width = image.shape[:2]
    if abs(size[0] - width) > 1 or abs(size[1] - height) > 1:
        scale = min(size[0] / width, size[1] / height)
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    if (width, height) == size:
        return np.ascontiguousarray(image)
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    canvas[top : top + height, left : left + width] = image
    return canvas
