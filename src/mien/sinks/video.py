"""Results as an annotated video."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mien.errors import ConfigError
from mien.media import video_writer
from mien.sinks.base import FileSink
from mien.types import Failure, Image, Result


class Video(FileSink):
    """An annotated video that keeps each frame's time; with PyAV H.264 that browsers play, and sound.

    Args:
        path: .mp4, .m4v, .mov, .mkv or, with PyAV, .webm.
        draw: turns a result into a uint8 BGR image; usually `mien.draw.draw`. The first one's size is the video's.
        fps: nominal rate. Without PyAV the rate is constant: frames are repeated or dropped to keep the time.
        sound: the source video, whose sound is copied; needs PyAV.
    """

    def __init__(
        self,
        path: str | Path,
        draw: Callable[[Result], Image],
        fps: float = 30.0,
        sound: str | Path | None = None,
    ) -> None:
        self._encoder = video_writer.encoder(Path(path), fps)
        self._draw = draw
        self._sound = None if sound is None else Path(sound)
        if self._sound and self._sound.exists() and Path(path).exists() and self._sound.samefile(path):
            raise ConfigError(f"{path}: is the video being read; give the new one another name")
        super().__init__(path)

    def write(self, result: Result) -> None:
        self._check_open()
        with self._writing():
            self._encoder.write(self._draw(result), result.frame.time)

    def fail(self, failure: Failure) -> None:
        """Write nothing: the frame before stays longer."""

    def _open(self) -> None:
        self._encoder.part.touch()

    def _stop(self) -> None:
        self._encoder.stop()

    def _finish(self) -> None:
        self._encoder.finish(self._sound)
