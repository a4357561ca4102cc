"""Results as an annotated video."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mien.errors import ConfigError
from mien.media import video_writer
from mien.sinks.base import FileSink
from mien.types import Failure, Image, Result


class Video(FileSink):
    """An annotated video, each frame at its own time; H.264 that browsers play, and sound, with PyAV (`mien.video`).

    Args:
        path: its suffix chooses the kind: .mp4, .m4v, .mov, .mkv or, with PyAV, .webm.
        draw: turns a result into a uint8 BGR picture; usually `mien.draw.draw`. The first one's size is the video's.
        fps: nominal rate. Without PyAV the rate is constant: frames are repeated or left out to keep the time.
        sound: the video that is being watched, to take its sound from; without PyAV there is none.

    Raises:
        ConfigError: another suffix.
        SourceError: the path cannot be written.
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
            raise ConfigError(f"{path}: that is the video being read; give the new one another name")
        super().__init__(path)

    def write(self, result: Result) -> None:
        """Add a frame."""
        self._check_open()
        with self._writing():
            self._encoder.write(self._draw(result), result.frame.time)

    def fail(self, failure: Failure) -> None:
        """A frame that could not be read is not shown; the one before it stays longer."""

    def _open(self) -> None:
        self._encoder.part.touch()

    def _stop(self) -> None:
        self._encoder.stop()

    def _finish(self) -> None:
        self._encoder.finish(self._sound)
