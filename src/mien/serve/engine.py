"""Engine: runs a pipeline for concurrent requests; detection in threads, all crops through one batcher."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from mien import draw
from mien.errors import SourceError
from mien.faces import crop, detectors, models, onnx
from mien.media import image as codec
from mien.media import image_info
from mien.media.reduced_jpeg import decode_for_search
from mien.pipeline import Pipeline
from mien.serve.batcher import Batcher
from mien.serve.limits import Limits
from mien.serve.metrics import Metrics
from mien.types import Face, Frame, Result

T = TypeVar("T")


_BYTES_PER_PIXEL = 24
"""What decoding may take at its peak: JPEG 7 to 10, PNG 7 to 11, AVIF and HEIC 16, WebP 18, JPEG 2000 23 bytes."""


_CROPS_AT_ONCE = 16
"""Files of crops that a thread decodes in one task: handing it over takes longer than decoding a small file."""


class QueueFull(Exception):
    """No room for another image now; the message says why."""


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An uploaded image: a name that is safe to show, the bytes of the file, and the page, from 0, of a TIFF."""

    name: str
    data: bytes
    page: int = 0


def load(
    model: str | None = None,
    detector: str = "yunet",
    min_score: float | None = None,
    min_face: float | None = None,
) -> Pipeline:
    """Load a pipeline for concurrent use.

    The detector runs in one thread per image. The classifier's threads sleep between calls: spinning took a third to a
    half of the processor time.
    """
    return Pipeline(
        detectors.load_detector(detector, min_face, 1, min_score), models.load_classifier(model, spin=False)
    )


class Engine:
    """Runs a pipeline for concurrent requests. All methods belong to one event loop."""

    def __init__(
        self, pipeline: Pipeline, limits: Limits, metrics: Metrics | None = None, quick_search: bool = False
    ) -> None:
        """Start without requests; images that are no frames of a stream get `quick_search`, see `Pipeline.detect`."""
        self.pipeline, self.limits = pipeline, limits
        self._quick_search = quick_search
        self.streams = 0  # open WebSockets
        self.state = "warming up"
        self._admitted = 0  # images accepted and not yet answered
        self._abandoned = 0  # images that nobody waits for any more, in threads that cannot be stopped
        size = max(limits.body_bytes, limits.frame_bytes)
        self._decoding = image_info.Limits(size, limits.pixels, _BYTES_PER_PIXEL * limits.pixels + 2 * size)
        self._metrics = metrics or Metrics()
        self._threads = limits.threads or onnx.cores()
        self._pool = ThreadPoolExecutor(self._threads, "mien-detect")
        self._classify = Batcher(pipeline.classify, limits.max_batch, limits.max_wait, self._metrics.batch.observe)

    @property
    def pending(self) -> int:
        """Number of images that take a place in the queue or a thread."""
        return self._admitted + self._abandoned

    @contextmanager
    def admit(self, count: int = 1) -> Iterator[None]:
        """Reserve room in the queue for `count` images, or raise QueueFull."""
        if self.state == "shutting down":
            raise QueueFull("the server is shutting down")
        if self._abandoned >= self._threads:
            raise QueueFull("all threads are busy with images that took too long; try again later")
        if self.pending + count > self.limits.queue:
            raise QueueFull(f"{self.pending} images are waiting; try again in a moment")
        self._admitted += count
        try:
            yield
        finally:
            self._admitted -= count

    async def process(self, image: EncodedImage, index: int = 0, time: float | None = None) -> tuple[Result, int]:
        """Find and classify the faces of an image, or raise SourceError. Call it within `admit`.

        An image with a time is a frame of a stream, in which turned faces are not looked for. Return the result, whose
        frame has the image's size but no pixels, and the number of faces beyond the limit.
        """
        frame, faces, crops = await self._in_thread(lambda: self._extract(image, index, time))
        self._metrics.faces.observe(len(faces))
        if not len(crops):
            return Result(frame), 0
        rows = await self._classify(crops)
        kept = self.pipeline.label(faces[: len(crops)], rows, crops, frame.shape)
        return Result(frame, kept, crops), len(faces) - len(crops)

    async def process_crops(self, images: Sequence[EncodedImage]) -> list[Result | SourceError]:
        """Classify images that are one face each, stretched to the square of the network. Call it within `admit`.

        Return a result as `process` does, or the reason, for each image.
        """
        parts = [images[k : k + _CROPS_AT_ONCE] for k in range(0, len(images), _CROPS_AT_ONCE)]
        tasks = (self._in_thread(partial(self._decode_crops, part)) for part in parts)
        decoded = [item for part in await asyncio.gather(*tasks) for item in part]
        crops = [item[1] for item in decoded if not isinstance(item, SourceError)]
        rows = iter(await self._classify(np.stack(crops)) if crops else ())
        results: list[Result | SourceError] = []
        for index, item in enumerate(decoded):
            if isinstance(item, SourceError):
                results.append(item)
                continue
            frame, pixels = item
            self._metrics.faces.observe(1)
            height, width = frame.shape[:2]
            face = Face((0.0, 0.0, float(width), float(height)))
            faces = self.pipeline.label([face], next(rows)[None], pixels[None], frame.shape)
            results.append(Result(replace(frame, index=index), faces, pixels[None]))
        return results

    async def annotate(self, image: EncodedImage, suffix: str) -> bytes:
        """Draw the faces of an image and encode it as ".png" or ".jpeg", or raise SourceError."""
        result, _ = await self.process(image)
        return await self._in_thread(lambda: _draw(image, result.faces, suffix, self._decoding))

    async def warm(self) -> None:
        """Load the detector in each thread and run the network once, so that the first request is as fast as others."""
        barrier = threading.Barrier(self._threads)  # no thread may take two of the tasks
        blank = np.full((480, 640, 3), 127, np.uint8)

        def detect() -> None:
            barrier.wait()
            self.pipeline.detect(blank)

        await asyncio.gather(*(self._in_thread(detect) for _ in range(self._threads)))
        await self._in_thread(lambda: self.pipeline.classify(np.zeros((1, crop.SIZE, crop.SIZE), np.uint8)))
        self.state = "ready"

    async def close(self) -> None:
        """Accept nothing more and finish what was accepted, within `work_seconds`. Threads that are stuck are left."""
        self.state = "shutting down"
        with suppress(TimeoutError):
            async with asyncio.timeout(self.limits.work_seconds):
                while self._admitted:
                    await asyncio.sleep(0.01)
                await self._classify.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run work in the pool. When nobody waits for it any more, its thread still counts until it is free."""
        future = self._pool.submit(work)
        waiting = asyncio.wrap_future(future)
        try:
            await asyncio.wait([waiting])
        except asyncio.CancelledError:
            if not future.cancel() and not waiting.done():  # it runs, and a thread cannot be stopped
                self._abandoned += 1
                waiting.add_done_callback(self._release)
            raise
        return waiting.result()

    def _release(self, abandoned: asyncio.Future[Any]) -> None:
        self._abandoned -= 1
        abandoned.cancelled() or abandoned.exception()  # nobody asks for it

    def _extract(
        self, image: EncodedImage, index: int, time: float | None
    ) -> tuple[Frame, list[Face], NDArray[np.uint8]]:
        """Return the frame without its pixels, all faces, and the crops of as many as may be classified."""
        searched_side = self.pipeline.searched_side if time is None else None
        pixels = decode_for_search(image.data, image.name, searched_side, self._decoding, image.page)
        seen = Frame(pixels, index, time or 0.0, image.name)
        frame = seen.without_pixels()  # images that wait for the classifier would take hundreds of times its crops
        try:
            if time is None:
                faces = self.pipeline.detect_in(seen, self._quick_search)
            else:
                faces = self.pipeline.detector(seen.image)
            return frame, faces, self.pipeline.crop(pixels, faces[: self.limits.faces])
        except cv2.error as error:
            raise SourceError(f"{image.name}: an image of this shape cannot be searched; crop it") from error

    def _decode_crops(self, images: Sequence[EncodedImage]) -> list[tuple[Frame, NDArray[np.uint8]] | SourceError]:
        """Return each image as a frame without pixels and the network's input, uint8 gray (48, 48), or the reason."""
        found: list[tuple[Frame, NDArray[np.uint8]] | SourceError] = []
        for image in images:
            try:
                pixels = codec.decode(image.data, image.name, self._decoding, image.page)
                found.append((Frame(pixels, name=image.name).without_pixels(), crop.to_network_input(pixels)))
            except SourceError as error:
                found.append(error)
        return found


def _draw(image: EncodedImage, faces: tuple[Face, ...], suffix: str, limits: image_info.Limits) -> bytes:
    # Decoded again: pixels held while waiting for a thread would take 100 times the memory of the file.
    pixels = codec.decode(image.data, image.name, limits)
    drawn = draw.draw(Result(Frame(pixels, name=image.name), faces))
    try:
        written, data = cv2.imencode(suffix, drawn)
    except cv2.error:
        written = False
    if not written:
        raise SourceError(f"{image.name}: an image of this shape cannot be written as {suffix[1:]}; try another format")
    return data.tobytes()
