"""Videos in and out: what OpenCV reads, and files written as H.264 or VP9 with PyAV (extra `video`), MPEG-4 without.

While a video is written it has another name, one that players take after a crash, too. After kill -9 can be read:
    with PyAV `<stem>.part.mp4`, up to about the last second, without sound: it is made of fragments of a second;
    with OpenCV `<stem>.part.mkv`, up to about the last 32 KiB, but nothing of an MP4 or MOV: their index comes last.
"""

from __future__ import annotations

import heapq
import importlib.util
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from mien.types import ConfigError, Image

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm")

_TICKS = 90_000  # a second, in the time base of MPEG
_ENCODERS: dict[str, dict[str, str]] = {
    # no look-ahead and no reordering: frames are in the file as soon as they are given
    "libx264": {"preset": "veryfast", "crf": "21", "tune": "zerolatency", "forced-idr": "1"},
    "libopenh264": {"rc_mode": "off", "allow_skip_frames": "0"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "crf": "32", "b": "0", "row-mt": "1"},
}
_PLAYABLE = frozenset({"aac", "mp3", "opus", "flac", "vorbis"})  # sound that browsers play as it is
_LONGEST_GAP = 60.0  # s


def capture(source: int | str, timeout: float | None = None) -> cv2.VideoCapture:
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


def shown(source: object) -> str:
    """A path or URL as a person and a log may see it: without user and password."""
    return re.sub(r"//[^/]*@", "//***@", str(source)) if "://" in str(source) else str(source)


class Encoder:
    """What both encoders share: the names, and pictures of one even size in the order of their times.

    Attributes:
        path: the finished file.
        part: the draft.
        count: frames written.
    """

    def __init__(self, path: Path, fps: float = 30.0) -> None:
        """Nothing is opened before the first picture, which gives the size.

        Args:
            path: of the file to write; its folder exists.
            fps: the nominal rate; a rate outside of 1..120 is taken for 30.
        """
        self.path = path
        self.part = path.with_name(f"{path.stem}.part{path.suffix}")
        self.fps = fps if 1.0 <= fps <= 120.0 else 30.0
        self.count = 0
        self._size = (0, 0)
        self._start = 0.0

    def write(self, image: Image, time: float) -> None:
        """Add a picture.

        Args:
            image: uint8 BGR (H, W, 3). The first one's size, made even, is the video's; others are fitted into it.
            time: seconds; the first one's counts as 0.

        Raises:
            OSError: it cannot be written.
        """
        if self.count == 0:
            height, width = image.shape[:2]
            self._size = (width + width % 2, height + height % 2)  # 4:2:0 colour needs even sides
            self._start = time
            self._open()
        self._put(_fit(image, self._size), time - self._start)
        self.count += 1

    def stop(self) -> None:
        """Close the draft so that it can be read, and keep its name; calling it twice does no harm."""
        raise NotImplementedError

    def finish(self, sound: Path | None = None) -> None:
        """Close the draft and give it its final name; without pictures there is no file.

        Args:
            sound: file whose sound belongs to the pictures, if the encoder can add it.

        Raises:
            OSError: it cannot be written.
        """
        self.stop()
        if self.count:
            self._complete(sound)
        else:
            self.part.unlink(missing_ok=True)

    def _open(self) -> None:
        raise NotImplementedError

    def _put(self, image: Image, time: float) -> None:
        raise NotImplementedError

    def _complete(self, sound: Path | None) -> None:
        os.replace(self.part, self.path)


def encoder(path: Path, fps: float = 30.0) -> Encoder:
    """The best encoder at hand.

    Args:
        path: file to write; its suffix, one of `SUFFIXES`, chooses the kind.
        fps: the nominal rate.

    Raises:
        ConfigError: another suffix, or one that needs PyAV.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path}: no kind of video that mien writes; let the name end in {', '.join(SUFFIXES)}")
    if importlib.util.find_spec("av"):
        return PyavEncoder(path, fps)
    if path.suffix.lower() == ".webm":
        raise ConfigError(f"{path}: webm needs PyAV; pip install 'mien[video]', or let the name end in .mp4")
    return OpencvEncoder(path, fps)


class OpencvEncoder(Encoder):
    """MPEG-4 part 2 at a constant rate: frames are repeated or left out so that times stay true; no sound.

    Browsers do not play it; video players do.
    """

    def _open(self) -> None:
        code = "XVID" if self.path.suffix.lower() == ".mkv" else "mp4v"
        self.fps = round(self.fps, 2)  # finer rates do not fit into MPEG-4's time base
        fourcc = cv2.VideoWriter.fourcc(*code)
        self._shown: Image = np.zeros((self._size[1], self._size[0], 3), np.uint8)
        self._writer = cv2.VideoWriter(str(self.part.absolute()), cv2.CAP_FFMPEG, fourcc, self.fps, self._size)
        self._slots = 0  # frames in the file
        if not self._writer.isOpened():
            raise OSError(0, "OpenCV cannot open a video file there")

    def _put(self, image: Image, time: float) -> None:
        slot = round(time * self.fps)
        if slot < self._slots:
            return
        for _ in range(min(slot - self._slots, round(_LONGEST_GAP * self.fps))):
            self._writer.write(self._shown)
        self._writer.write(image)
        self._shown = image
        self._slots = slot + 1

    def stop(self) -> None:
        if self.count:
            self._writer.release()


class PyavEncoder(Encoder):
    """H.264 (VP9 for webm, or where the installed PyAV has no H.264) with the true time of each frame."""

    def __init__(self, path: Path, fps: float = 30.0) -> None:
        super().__init__(path, fps)
        self.part = path.with_name(f"{path.stem}.part.mp4")  # whatever it becomes, the draft is an MP4

    def _open(self) -> None:
        import av

        webm = self.path.suffix.lower() == ".webm"
        name = next(k for k in _ENCODERS if k in av.codecs_available and not (webm and "264" in k))
        options = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}
        with _os_errors():
            self._container: OutputContainer = av.open(str(self.part.absolute()), "w", format="mp4", options=options)
        stream: Any = self._container.add_stream(name, rate=Fraction(self.fps).limit_denominator(1001))
        stream.width, stream.height = self._size
        stream.pix_fmt, stream.options = "yuv420p", _ENCODERS[name]
        stream.codec_context.time_base = Fraction(1, _TICKS)
        stream.codec_context.colorspace = stream.codec_context.color_primaries = stream.codec_context.color_trc = 1
        stream.codec_context.color_range = 1  # BT.709, 16..235, said in the file so that players need not guess
        self._stream, self._last, self._key = stream, -1, 0

    def _put(self, image: Image, time: float) -> None:
        import av

        frame: Any = av.VideoFrame.from_ndarray(image, "bgr24").reformat(format="yuv420p", dst_colorspace="ITU709")
        frame.pts = self._last = max(round(time * _TICKS), self._last + 1)
        frame.time_base = Fraction(1, _TICKS)
        if frame.pts >= self._key:  # a fragment ends where a key frame begins
            frame.pict_type = av.video.frame.PictureType.I
            self._key = frame.pts + _TICKS
        self._mux(frame)

    def _mux(self, frame: Any) -> None:
        with _os_errors():
            for packet in self._stream.encode(frame):
                packet.duration = round(_TICKS / self.fps)
                self._container.mux(packet)

    def stop(self) -> None:
        if self.count and self._stream is not None:
            self._mux(None)
            self._stream = None
            with _os_errors():
                self._container.close()

    def _complete(self, sound: Path | None) -> None:
        """Copy the draft's packets, and the sound's, into a plain file: its length is known and seeking is quick."""
        import av

        draft = self.path.with_name(f"{self.path.stem}.whole.part{self.path.suffix}")
        kind = {".mkv": "matroska", ".webm": "webm", ".mov": "mov"}.get(self.path.suffix.lower(), "mp4")
        options = {"movflags": "faststart"} if kind in ("mp4", "mov") else {}
        try:
            with _os_errors(), ExitStack() as stack:
                pictures = stack.enter_context(av.open(str(self.part.absolute())))
                out = stack.enter_context(av.open(str(draft.absolute()), "w", format=kind, options=options))
                flows = [_copy(pictures, pictures.streams.video[0], out, 0.0, float("inf"))]
                if sound is not None:
                    flows += _sound(stack, sound, out, self._start, self._last / _TICKS + 1 / self.fps)
                for _, packet in heapq.merge(*flows, key=lambda pair: pair[0]):
                    out.mux(packet)
            os.replace(draft, self.path)
        finally:
            draft.unlink(missing_ok=True)
        self.part.unlink()


def _sound(stack: ExitStack, path: Path, out: OutputContainer, start: float, length: float) -> list[Iterator[Any]]:
    """The packets of a file's sound, with the time of its first picture plus `start` as 0; [] when it has none."""
    import av

    try:
        source = stack.enter_context(av.open(str(path.absolute())))
    except av.FFmpegError:
        return []
    if not source.streams.audio:
        return []
    audio = source.streams.audio[0]
    video = source.streams.video[0] if source.streams.video else audio
    start += float((video.start_time or 0) * (video.time_base or 0))
    name = audio.codec_context.codec.canonical_name
    take = _copy if name in _PLAYABLE & out.supported_codecs else _convert
    return [take(source, audio, out, start, length)]


def _copy(source: InputContainer, stream: Any, out: OutputContainer, start: float, length: float) -> Iterator[Any]:
    """(time in s, packet) of a stream as it is, from `start` on; what cannot be read ends it."""
    # the stream is added now, not at the first packet: a container takes no more streams once packets come
    target: Any = out.add_stream_from_template(stream)
    target.time_base = stream.time_base  # else a container may choose one too coarse for true times
    return _copied(source, stream, target, start, length)


def _copied(source: InputContainer, stream: Any, target: Any, start: float, length: float) -> Iterator[Any]:
    shift = round(start / stream.time_base)
    for packet in _until_broken(source.demux(stream)):
        if packet.dts is None or packet.pts is None:
            continue
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        time = float(packet.dts * packet.time_base)
        if time >= length:
            return
        if time >= 0:
            packet.stream = target
            yield time, packet


def _convert(source: InputContainer, stream: Any, out: OutputContainer, start: float, length: float) -> Iterator[Any]:
    """(time in s, packet) of a sound stream, encoded anew as AAC or, for webm, Opus."""
    target: Any = out.add_stream("libopus" if out.format.name == "webm" else "aac", rate=48_000)
    target.layout = "mono" if stream.codec_context.layout.nb_channels == 1 else "stereo"
    return _converted(source, stream, target, start, length)


def _converted(source: InputContainer, stream: Any, target: Any, start: float, length: float) -> Iterator[Any]:
    shift = round(start / stream.time_base)
    for frame in chain(_until_broken(source.decode(stream)), [None]):
        if frame is not None:
            frame.pts -= shift
            if frame.pts < 0 or frame.time >= length:
                continue
        for packet in target.encode(frame):
            yield float(packet.dts * packet.time_base), packet


@contextmanager
def _os_errors() -> Iterator[None]:
    """PyAV's errors as the OSError that callers know."""
    import av

    try:
        yield
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror) from error


def _until_broken(items: Iterator[Any]) -> Iterator[Any]:
    """All items before the first that is damaged."""
    import av

    try:
        yield from items
    except av.FFmpegError:
        return


def _fit(image: Image, size: tuple[int, int]) -> Image:
    """The picture in the middle of a black one of (width, height), made smaller or larger to touch its sides."""
    height, width = image.shape[:2]
    if abs(size[0] - width) > 1 or abs(size[1] - height) > 1:
        scale = min(size[0] / width, size[1] / height)
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    if (width, height) == size:
        return np.ascontiguousarray(image)
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    canvas[top : top + height, left : left + width] = image
    return canvas
