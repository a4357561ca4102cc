"""Run images and videos through the pipeline to sinks: in order, in batches, in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import cv2

from mien import sinks
from mien.draw import Overlay
from mien.errors import SourceError
from mien.faces import onnx
from mien.faces.tracker import Tracker
from mien.media import readers
from mien.media.output_paths import Output, OutputPaths
from mien.media.paths import numbered_images
from mien.media.prefetch import Prefetch, map_batches
from mien.media.video import Video
from mien.pipeline import Pipeline
from mien.sinks import MultiSink, Timeline
from mien.types import Face, Failure, Frame, Result, Sink
from mien.video_pipeline import REDETECT_EVERY, VideoPipeline

THREADS = min(8, onnx.cores())
"""Threads that read images and detect faces; OpenCV and ONNX Runtime work in parallel."""


@dataclass(frozen=True, slots=True)
class VideoSummary:
    """What one video showed: `people` over time, and what could not be read of it."""

    name: str
    frames: int
    people: Timeline
    failures: tuple[Failure, ...]


def video(
    path: str | Path,
    pipeline: Pipeline,
    outputs: Sequence[Sink] = (),
    save: str | Path | Output | None = None,
    smoothing: float = 0.25,
    detect_every: int = 1,
    redetect_every: float = REDETECT_EVERY,
    on_progress: Callable[[int, int | None], None] | None = None,
    on_message: Callable[[str], None] | None = None,
) -> VideoSummary:
    """Process one video from its first frame to its last, with ids of its own.

    A video that cannot be read is a failure in the summary, and nothing is raised.

    Args:
        path: a file, its URL, or numbered images, see `media.video.Video`.
        pipeline: use `load(threads=1)`, since the steps of a video run in threads of their own.
        outputs: sinks for every result and failure; they stay open for the next video.
        save: file for an annotated copy with the video's sound, or what `sinks.Video.ask` returned for it.
        smoothing: seconds in which a frame's weight in the probabilities halves; 0 does not smooth.
        detect_every: run the detector every N frames, see `VideoPipeline`.
        redetect_every: seconds between full detections, see `VideoPipeline`.
        on_progress: called after each frame with the number of frames so far and, if known, in all.
        on_message: called with a sentence about sound that cannot simply be copied, of a URL at the end.
    """
    tracked = VideoPipeline(pipeline, Tracker(smoothing), detect_every, redetect_every)
    people = Timeline(pipeline.classifier.labels)
    failures: list[Failure] = []
    count, total, silent = 0, None, ""
    with ExitStack() as stack:
        goals: list[Sink] = [people, *outputs]
        items: Iterable[Frame | Failure]
        try:
            source = Video(path)
        except SourceError as error:
            items = [Failure(str(path), str(error))]
        else:
            total = source.frame_count
            items = stack.enter_context(closing(Prefetch(lambda item: item, source, _pixel_bytes)))
            if save:
                sound = path if Path(path).is_file() else None
                silent = source.name if source.has_sound and sound is None else ""
                copy = sinks.Video(save, Overlay(), source.rate, sound, source.start, on_message)
                goals.append(stack.enter_context(copy))
        sink = MultiSink(goals, OutputPaths(input_files(path)))
        for item in tracked.track(items):
            if isinstance(item, Failure):
                failures.append(item)
            else:
                count += 1
            sink.put(item)
            if on_progress:
                on_progress(count, total)
    if silent and on_message:
        on_message(f"{silent}: its sound is not in the copy; download the file first to keep it")
    return VideoSummary(str(path), count, people, tuple(failures))


def images(
    source: readers.Source,
    pipeline: Pipeline,
    threads: int = THREADS,
    skip: Container[str] = frozenset(),
    skipped: Counter[str] | None = None,
) -> Iterator[Result | Failure]:
    """Process many images, in the order of the source (see `readers.read_images`).

    Background threads read images and detect faces ahead; faces of up to 16 images are classified in one call. With
    `threads` 0, each image is read when its turn comes. The pipeline's networks should have one thread each
    (`load(threads=1)`), since the background threads already use all cores. Images named in `skip` are not decoded:
    `sinks.Jsonl.done` resumes a run. `skipped` counts the other files of folders, see `paths.list_images`.
    """

    def detect(frame: Frame) -> tuple[Frame, Sequence[Face]] | Failure:
        try:
            return frame, pipeline.detect(frame.image)
        except (MemoryError, cv2.error) as error:  # one image must not end the run
            height, width = frame.image.shape[:2]
            reason = "not enough memory to search" if isinstance(error, MemoryError) else "cannot search"
            return Failure(frame.name, f"{frame.name}: {reason} {width} x {height} pixels; crop the image", frame.index)

    def classify(batch: Sequence[tuple[Frame, Sequence[Face]]]) -> list[Result]:
        return pipeline.process_batch([frame for frame, _ in batch], [faces for _, faces in batch])

    detected = readers.map_images(source, detect, threads, skip, skipped)
    return map_batches(classify, detected, lambda item: item[0].nbytes)


def _pixel_bytes(item: Frame | Failure) -> int:
    return 0 if isinstance(item, Failure) else item.nbytes


def input_files(*sources: str | Path) -> list[str | Path]:
    """Return the files that videos are read from: of numbered images each one."""
    found: list[str | Path] = []
    for source in sources:
        try:
            found += numbered_images(source) or [source]
        except SourceError:
            found.append(source)
    return found


def tables(
    stack: ExitStack,
    labels: Sequence[str],
    jsonl: Path | Output | None,
    csv: Path | Output | None,
    parquet: Path | Output | None,
) -> list[Sink]:
    """Open the sinks for the given files; the stack closes them."""
    made: list[Sink] = []
    if jsonl:
        made.append(stack.enter_context(sinks.Jsonl(jsonl)))
    if csv:
        made.append(stack.enter_context(sinks.Csv(csv, labels)))
    if parquet:
        made.append(stack.enter_context(sinks.Parquet(parquet, labels)))
    return made
