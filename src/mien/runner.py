"""Images and videos to sinks: in order, in blocks, in memory that does not grow with their number."""

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
from mien.media import prefetch, readers, video_reader
from mien.media.video_reader import read_video
from mien.pipeline import Pipeline
from mien.sinks import MultiSink, Timeline
from mien.types import Failure, Frame, Result, Sink
from mien.video_pipeline import BLOCK, REDETECT_EVERY, Detections, VideoPipeline, image_bytes, in_blocks, results

THREADS = min(8, onnx.cores())
"""Threads that read pictures and search them; OpenCV and ONNX Runtime work in parallel."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of one video.

    Attributes:
        name: the video, as it is called in the rows of the tables.
        frames: number of frames that were looked at.
        people: what each person showed over time.
        failures: what could not be read.
    """

    name: str
    frames: int
    people: Timeline
    failures: tuple[Failure, ...]


def video(
    path: str | Path,
    pipeline: Pipeline,
    outputs: Sequence[Sink] = (),
    save: Path | None = None,
    smoothing: float = 0.25,
    detect_every: int = 1,
    redetect_every: float = REDETECT_EVERY,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Seen:
    """Look at one video from its first frame to its last, with ids of its own.

    Args:
        path: what `video_reader.Video` takes: a file, its URL, or numbered pictures.
        pipeline: what looks at the frames.
        outputs: sinks for every result and failure; they stay open, for the next video.
        save: file for an annotated copy with the video's sound, or None.
        smoothing: seconds after which a frame counts half as much for the probabilities; 0 does not smooth.
        detect_every: search only each so-many-th frame for faces, and follow them in between; see
            `video_pipeline.VideoPipeline`.
        redetect_every: seconds between searches for faces of every size.
        on_progress: called after each frame with the number of frames so far and in all, if that is known.

    Returns:
        What was seen; a video that cannot be read is one of its failures.

    Raises:
        ConfigError: a setting that is not possible, or a kind of video that cannot be written.
        SourceError: an output cannot be written.
    """
    stream = VideoPipeline(pipeline, Tracker(smoothing), detect_every, redetect_every)
    people = Timeline(pipeline.classifier.labels)
    failures: list[Failure] = []
    count = 0
    with ExitStack() as stack:
        goals: list[Sink] = [people, *outputs]
        try:
            source = video_reader.Video(path)
        except SourceError as error:
            items: Iterable[Frame | Failure] = [Failure(str(path), str(error))]
            total = None
        else:
            items, total = (
                stack.enter_context(closing(prefetch.prefetch(read_video(source), image_bytes))),
                source.total,
            )
            if save:
                sound = path if Path(path).is_file() else None
                goals.append(stack.enter_context(sinks.Video(save, Overlay(), source.fps, sound)))
        sink = MultiSink(goals)
        for item in results(items, stream):
            if isinstance(item, Failure):
                failures.append(item)
            else:
                count += 1
            sink.put(item)
            if on_progress:
                on_progress(count, total)
    return Seen(str(path), count, people, tuple(failures))


def images(
    source: readers.Source,
    pipeline: Pipeline,
    threads: int = THREADS,
    skip: Container[str] = frozenset(),
    skipped: Counter[str] | None = None,
) -> Iterator[Result | Failure]:
    """Look at many pictures: threads read ahead and search for faces, which go to the classifier in blocks.

    Args:
        source: what `readers.read_images` takes; what comes out has its order.
        pipeline: what looks at the pictures. Its networks had better have one thread each (`load(threads=1)`): the
            threads that search at the same time would only wait for theirs.
        threads: how many read and search ahead; 0 does so when a picture's turn comes.
        skip: names of pictures to pass over, those of `sinks.Jsonl.done` to go on with a run that was stopped.
        skipped: counts the files of folders that are no images, for `paths.skipped_line`.
    """

    def search(frame: Frame) -> Detections | Failure:
        try:
            return Detections(frame, pipeline.detector(frame.image), True)
        except (MemoryError, cv2.error) as error:  # one image must not end the work on the others
            height, width = frame.image.shape[:2]
            reason = "not enough memory to search" if isinstance(error, MemoryError) else "cannot search"
            return Failure(frame.name, f"{frame.name}: {reason} {width} x {height} pixels; crop the image", frame.index)

    def look(block: Sequence[Detections]) -> list[Result]:
        return pipeline.process_many([each.frame for each in block], [each.faces for each in block])

    return in_blocks(readers.map_images(source, search, threads, skip, skipped), look, BLOCK)


def tables(
    stack: ExitStack, labels: Sequence[str], jsonl: Path | None, csv: Path | None, parquet: Path | None
) -> list[Sink]:
    """The sinks for the files that are wanted, to be closed with the stack.

    Raises:
        ConfigError: Parquet without PyArrow.
        SourceError: a file cannot be written.
    """
    made: list[Sink] = []
    if jsonl:
        made.append(stack.enter_context(sinks.Jsonl(jsonl)))
    if csv:
        made.append(stack.enter_context(sinks.Csv(csv, labels)))
    if parquet:
        made.append(stack.enter_context(sinks.Parquet(parquet, labels)))
    return made
