"""The sound of a video: packets copied, or encoded anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer


_PLAYABLE = frozenset({"aac", "mp3", "opus", "flac", "vorbis"})  # sound that browsers play as it is


def audio_packets(
    stack: ExitStack, path: Path, out: OutputContainer, start: float, length: float
) -> list[Iterator[Any]]:
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
    take = copy_packets if name in _PLAYABLE & out.supported_codecs else _convert
    return [take(source, audio, out, start, length)]


def copy_packets(
    source: InputContainer, stream: Any, out: OutputContainer, start: float, length: float
) -> Iterator[Any]:
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


def _until_broken(items: Iterator[Any]) -> Iterator[Any]:
    """All items before the first that is damaged."""
    import av

    try:
        yield from items
    except av.FFmpegError:
        return
