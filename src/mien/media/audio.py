"""Sound: the sound of a video for an annotated copy of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import av
from av.bitstream import BitStreamFilterContext

# codecs that are copied: in formats for browsers those that browsers play, in the others those that players play
_PLAYABLE = frozenset({"aac", "mp3", "opus", "flac", "vorbis"})
_OF_MOV = frozenset({"aac", "mp3", "alac", "ac3", "eac3", "mp2"})
_ENCODERS = {"webm": ("libopus", "opus")}
_RATE = 48_000  # Hz of re-encoded sound
_BREAK = 1.0  # seconds; a larger step back starts another recording


class Sound:
    """Copies the sound of a file into another, packet by packet where the container takes them, else re-encoded.

    `note` is a sentence about sound that is not simply copied, or "".
    """

    def __init__(self, path: Path, out: Any, start: float | None = None) -> None:
        """Open the file and add a stream to PyAV's output container, if the file has readable sound.

        `start` is the time by the file's clock, in seconds, that becomes 0; None for that of its first frame.
        """
        self.note = ""
        self._waiting: deque[tuple[float, Any]] = deque()
        self._source: Any = None
        self._packets: Iterator[tuple[float, Any]] = iter(())
        try:
            self._source = av.open(str(path.absolute()), metadata_errors="replace")
        except (OSError, av.FFmpegError) as error:
            self.note = f"{path}: its sound cannot be read ({getattr(error, 'strerror', None) or error})"
            return
        audio = self._source.streams.best("audio")
        if audio is None:
            return
        if audio.codec_context is None:
            self.note = f"{path}: its sound is left out; no decoder for it is installed"
            return
        if start is None:
            pictures = self._source.streams.best("video") or audio
            start = float((pictures.start_time or 0) * (pictures.time_base or 0))
        name = audio.codec_context.codec.canonical_name
        kind = out.format.name
        try:
            if name in out.supported_codecs and _is_copied(name, kind):
                self._packets = self._copied(audio, out, start)
                return
            self._packets = self._encoded(audio, out, start)
            self.note = f"{path}: its sound is re-encoded; {kind} refuses {name}, or browsers do not play it"
        except (ValueError, av.FFmpegError) as error:
            self.note = f"{path}: its sound is left out ({error})"

    def until(self, time: float) -> Iterator[Any]:
        """Yield the remaining packets that begin before a time in seconds."""
        while True:
            if not self._waiting:
                following = next(self._packets, None)
                if following is None:
                    return
                self._waiting.append(following)
            if self._waiting[0][0] >= time:
                return
            yield self._waiting.popleft()[1]

    def close(self) -> None:
        """Close the file."""
        self._packets = iter(())
        if self._source is not None:
            self._source.close()

    def _copied(self, audio: Any, out: Any, start: float) -> Iterator[tuple[float, Any]]:
        # the stream is added now, not at the first packet: a container takes no more streams once packets come
        target: Any = out.add_stream_from_template(audio)
        target.time_base = audio.time_base  # else a container may choose one too coarse for true times
        return self._shifted(audio, target, start)

    def _shifted(self, audio: Any, target: Any, start: float) -> Iterator[tuple[float, Any]]:
        base = audio.time_base
        shift, last = -round(start / base), None
        packets = _until_broken(self._source.demux(audio))
        if audio.codec_context.name == "aac" and not audio.codec_context.extradata:
            packets = _without_adts(packets, audio)
        for packet in packets:
            if packet.dts is None or packet.pts is None or packet.size == 0:
                continue
            if last is not None and packet.dts + shift <= last[0]:
                if packet.dts + shift > last[0] - _BREAK / base:
                    continue  # out of order
                shift = last[0] + last[1] - packet.dts  # another recording begins, as where files were joined
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            last = packet.dts, max(packet.duration or 0, 1)
            if packet.dts >= 0:
                packet.stream = target
                yield float(packet.dts * base), packet

    def _encoded(self, audio: Any, out: Any, start: float) -> Iterator[tuple[float, Any]]:
        names = _ENCODERS.get(out.format.name, ("aac",))
        target: Any = out.add_stream(next(k for k in names if k in av.codecs_available), rate=_RATE)
        target.layout = "mono" if audio.codec_context.layout.nb_channels == 1 else "stereo"
        return self._recoded(audio, target, start)

    def _recoded(self, audio: Any, target: Any, start: float) -> Iterator[tuple[float, Any]]:
        shift = round(start / audio.time_base)
        for frame in chain(_until_broken(self._source.decode(audio)), [None]):
            if frame is not None:
                if frame.pts is None or frame.pts < shift:
                    continue
                frame.pts -= shift
            for packet in target.encode(frame):
                yield float(packet.dts * packet.time_base), packet


def _is_copied(codec: str, kind: str) -> bool:
    if kind == "mov":
        return codec in _OF_MOV or codec.startswith("pcm_")
    return kind == "matroska" or codec in _PLAYABLE


def _without_adts(packets: Iterator[Any], audio: Any) -> Iterator[Any]:
    """Remove from the AAC packets of a broadcast the headers that other formats store once."""
    headers = BitStreamFilterContext("aac_adtstoasc", audio)
    for packet in packets:
        yield from headers.filter(packet) if packet.size else [packet]


def _until_broken(items: Iterator[Any]) -> Iterator[Any]:
    """Yield the items before the first damaged one."""
    try:
        yield from items
    except (OSError, av.FFmpegError):
        return
