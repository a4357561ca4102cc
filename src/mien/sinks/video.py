"""Results as an annotated video."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from mien.draw import Overlay
from mien.media.output_paths import Output, OutputPaths
from mien.media.video_writer import FORMATS, VideoWriter
from mien.sinks.base import FileSink
from mien.types import Failure, Image, Result

_WAITING = 4  # frames that wait to be encoded at most


class Video(FileSink):
    """Writes an annotated video: H.264 (VP9 in .webm), each frame at its own time.

    A background thread draws and encodes up to four frames behind; its error is raised by the next call. The draft can
    be played after a crash, up to about the last second.

    Args:
        path: .mp4, .m4v, .mov, .mkv or .webm.
        draw: turns a result into a uint8 BGR image, an `Overlay` by default. The first image sets the video's size.
        rate: nominal frames a second.
        sound: file whose sound to add.
        sound_start: time of the first frame by that file's clock, in seconds; None to look it up.
        on_message: called with a sentence about sound that cannot simply be copied.
    """

    def __init__(
        self,
        path: str | Path | Output,
        draw: Callable[[Result], Image] | None = None,
        rate: float = 30.0,
        sound: str | Path | None = None,
        sound_start: float | None = None,
        on_message: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(path)
        if sound and not self._asked:
            self.ask(OutputPaths([sound]), self.path)
        self._draw, self._rate, self._sound, self._sound_start = draw or Overlay(), rate, sound, sound_start
        self._on_message = on_message
        self._writer: VideoWriter | None = None
        self._pool = ThreadPoolExecutor(1, "mien-encode")
        self._waiting: deque[Future[None]] = deque()

    @classmethod
    def ask(cls, outputs: OutputPaths, path: str | Path) -> Output:
        draft = Path(path).suffix
        return outputs.file(
            path, what="a video", suffixes=tuple(FORMATS), draft_suffixes=(draft,), keep=True, stream=False
        )

    def write(self, result: Result) -> None:
        self.start()
        self._wait(_WAITING - 1)
        self._waiting.append(self._pool.submit(self._encode, result))

    def _wait(self, most: int) -> None:
        """Wait until at most so many frames are left."""
        while len(self._waiting) > most:
            self._waiting.popleft().result()

    def _encode(self, result: Result) -> None:
        image = self._draw(result)
        if self._writer is None:
            assert self.file.draft is not None
            height, width = image.shape[:2]
            self._writer = VideoWriter(
                self.file.draft,
                width,
                height,
                self._rate,
                self._sound,
                self._sound_start,
                FORMATS[self.path.suffix.lower()],
                self._on_message,
                self.path,
            )
        self._is_empty = False
        self._writer.write(image, result.frame.time)

    def abandon(self) -> None:
        self._pool.shutdown()  # what was written before the error belongs into the draft
        self._waiting.clear()
        super().abandon()

    def fail(self, failure: Failure) -> None:
        """Show nothing; the frame before stays longer."""

    def _stop(self) -> None:
        try:
            self._wait(0)
        finally:
            self._pool.shutdown(cancel_futures=True)
            if self._writer:
                self._writer.close()

    def _finish(self) -> None:
        self._stop()
        if self._writer is None:
            self.file.discard()
