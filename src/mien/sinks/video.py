"""Results as an annotated video."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from mien.media import video_writer
from mien.media.output_paths import Output, OutputPaths
from mien.media.targets import writing
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
        path: str | Path | Output,
        draw: Callable[[Result], Image],
        fps: float = 30.0,
        sound: str | Path | None = None,
    ) -> None:
        super().__init__(path)
        self._encoder = video_writer.encoder(self.file.target.real, fps)
        self._draw = draw
        self._sound = None if sound is None else Path(sound)
        if self._sound and not self._asked:
            self.ask(OutputPaths([self._sound]), self.path)

    @classmethod
    def ask(cls, outputs: OutputPaths, path: str | Path) -> Output:
        suffix = Path(path).suffix
        drafts = (".mp4", f".whole{suffix}") if find_spec("av") else (suffix,)
        return outputs.file(
            path, what="a video", suffixes=video_writer.SUFFIXES, draft_suffixes=drafts, keep=True, stream=False
        )

    def write(self, result: Result) -> None:
        self.start()
        self._is_empty = False
        with writing(self.path):
            self._encoder.write(self._draw(result), result.frame.time)

    def fail(self, failure: Failure) -> None:
        """Write nothing: the frame before stays longer."""

    def _stop(self) -> None:
        self._encoder.stop()

    def _finish(self) -> None:
        self._stop()
        if self._encoder.count:
            self.file.complete = self._encoder.complete(self._sound)
            self.file.probe()
        else:
            self.file.discard()
