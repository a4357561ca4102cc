"""Engine: a pipeline for many at once; faces are found in threads, all crops share one batcher."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from mien import classify, detect, draw, image, runtime
from mien.pipeline import Pipeline
from mien.serve.batcher import Batcher
from mien.serve.limits import Limits
from mien.types import Face, Frame, Result, SourceError

T = TypeVar("T")
_Found = tuple[Frame, list[Face], NDArray[np.uint8]]
"""A picture's frame without its pixels, all its faces, and the crops of as many as may be classified."""
_SMALL_FILE, _SMALL = 16 * 1024, 128 * 128
"""Bytes and pixels of a crop that is decoded at once: handing it to a thread would take longer."""


class Busy(Exception):
    """No room for another picture now; the message says why."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as it came: its name, fit to be shown, and the bytes of its file."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found in a picture.

    Attributes:
        result: with its faces, the largest first; its frame has the size of the picture, and no pixels (all are 0).
        left_out: how many more faces there were than the limit.
    """

    result: Result
    left_out: int = 0


def load(model: str | None = None, detector: str = "yunet") -> Pipeline:
    """A pipeline for many at once.

    Pictures are searched side by side, so that more threads for each would only stand in each other's way. Those of the
    network sleep between two calls: spinning, they took a third to a half of the processors' time.

    Args:
        model: a shipped model's name, names joined by +, the path of an .onnx file, or None for the default.
        detector: "yunet", "haar" or "mtcnn".

    Raises:
        ConfigError: no such detector.
        ModelError: no such model, or a damaged one.
    """
    return Pipeline(detect.detector(detector, threads=1), classify.model(model, spin=False))


class Engine:
    """Runs a pipeline for many requests. All methods belong to one event loop."""

    def __init__(
        self,
        pipeline: Pipeline,
        limits: Limits,
        seen_faces: Callable[[int], None] = lambda count: None,
        seen_batch: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Prepare the threads.

        Args:
            pipeline: what looks at each picture.
            limits: `pixels`, `faces`, `queue`, `max_batch`, `max_wait` and `threads` count here.
            seen_faces: told the number of faces of each picture.
            seen_batch: told the number of crops of each call of the network.
        """
        self.pipeline, self.limits = pipeline, limits
        self.inside = 0  # pictures taken and not yet answered
        self.streams = 0  # open WebSockets
        self.state = "warming up"
        self._seen_faces = seen_faces
        self._threads = limits.threads or runtime.cores()
        self._pool = ThreadPoolExecutor(self._threads, "mien-detect")
        self._classify = Batcher(pipeline.classifier, limits.max_batch, limits.max_wait, seen_batch)

    @contextmanager
    def admit(self, count: int = 1) -> Iterator[None]:
        """Room for some pictures, all of them or none, as long as the context lasts.

        Raises:
            Busy: the queue is full, or the server is about to end.
        """
        if self.state == "shutting down":
            raise Busy("the server is shutting down")
        if self.inside + count > self.limits.queue:
            raise Busy(f"{self.inside} pictures wait already; try again in a moment")
        self.inside += count
        try:
            yield
        finally:
            self.inside -= count

    async def process(self, picture: Picture, index: int = 0, time: float = 0.0, cropped: bool = False) -> Seen:
        """Find and classify the faces of a picture; the caller has been admitted.

        Args:
            picture: as it came.
            index: for the frame.
            time: for the frame, in seconds.
            cropped: the picture is one face, cut out by somebody else: it is stretched to the square of the network.

        Raises:
            SourceError: not a picture, cut short, or with more than `limits.pixels`.
        """
        frame, found, crops = await self._found(picture, index, time, cropped)
        self._seen_faces(len(found))
        faces = found[: self.limits.faces]
        if not faces:
            return Seen(Result(frame))
        rows = await self._classify(crops)
        return Seen(Result(frame, self.pipeline.named(faces, rows.tolist()), crops), len(found) - len(faces))

    async def annotate(self, picture: Picture, suffix: str) -> bytes:
        """The picture with its faces drawn, as a file.

        Args:
            picture: as it came.
            suffix: ".png" or ".jpeg".

        Raises:
            SourceError: as of `process`, or the picture does not fit the format.
        """
        faces = (await self.process(picture)).result.faces
        return await self._in_thread(lambda: _drawn(picture, faces, suffix, self.limits.pixels))

    async def warm(self) -> None:
        """Make each thread load its detector and the network run once, so that the first request is no slower."""
        barrier = threading.Barrier(self._threads)
        blank = np.full((480, 640, 3), 127, np.uint8)

        def look() -> None:
            barrier.wait()  # no thread may do this twice
            self.pipeline.detector(blank)

        await asyncio.gather(*(self._in_thread(look) for _ in range(self._threads)))
        await self._in_thread(lambda: self.pipeline.classifier(np.zeros((1, image.SIZE, image.SIZE), np.uint8)))
        self.state = "ready"

    async def close(self) -> None:
        """Take nothing more, finish what was taken, end the threads."""
        self.state = "shutting down"
        while self.inside:
            await asyncio.sleep(0.01)
        await self._classify.close()
        self._pool.shutdown()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def _found(self, picture: Picture, index: int, time: float, cropped: bool) -> _Found:
        if cropped and len(picture.data) <= _SMALL_FILE:
            with suppress(SourceError):  # the thread knows whether it is one
                return self._find(picture, index, time, True, min(_SMALL, self.limits.pixels))
        return await self._in_thread(lambda: self._find(picture, index, time, cropped, self.limits.pixels))

    def _find(self, picture: Picture, index: int, time: float, cropped: bool, most: int) -> _Found:
        pixels = image.decode(picture.data, picture.name, most)
        # What waits for the classifier holds no pixels: a picture takes hundreds of times the memory of its crops.
        frame = Frame(np.ndarray(pixels.shape, np.uint8, b"\0", strides=(0, 0, 0)), index, time, picture.name)
        try:
            if cropped:
                height, width = pixels.shape[:2]
                return frame, [Face((0.0, 0.0, float(width), float(height)))], image.gray48(pixels)[None]
            found = self.pipeline.detector(pixels)
            faces = found[: self.limits.faces]
            crops = image.crops(pixels, faces, self.pipeline.margin, self.pipeline.align)
        except cv2.error as error:
            raise SourceError(f"{picture.name}: a picture of this shape cannot be searched; crop it") from error
        return frame, found, crops


def _drawn(picture: Picture, faces: tuple[Face, ...], suffix: str, max_pixels: int) -> bytes:
    # Decoded once more: a picture held while it waits for a thread would take 100 times the memory of its file.
    pixels = image.decode(picture.data, picture.name, max_pixels)
    drawn = draw.draw(Result(Frame(pixels, name=picture.name), faces))
    try:
        written, data = cv2.imencode(suffix, drawn)
    except cv2.error:
        written = False
    if not written:
        raise SourceError(f"{picture.name}: a picture of this shape cannot be written as {suffix[1:]}; ask for another")
    return data.tobytes()
