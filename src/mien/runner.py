"""Run images and videos through the pipeline to sinks: in order, in batches, in bounded memory."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import cv2

from mien import sinks
from mien.errors import SourceError
from mien.faces import onnx
from mien.media import readers
from mien.media.inputs import is_many
from mien.media.output_paths import Output, OutputPaths
from mien.media.paths import VIDEO_SUFFIXES, expand_source, list_images, numbered_images
from mien.media.prefetch import Prefetch, map_batches
from mien.pipeline import REDETECT_EVERY, Pipeline, load
from mien.sinks import Csv, MultiSink, Parquet
from mien.types import Face, Failure, Frame, Result, Sink

if TYPE_CHECKING:
    from mien.draw import Style
    from mien.sinks import Timeline

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
    style: Style = "panels",
    thumbnails: bool = False,
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
        style: style of the annotated copy.
        thumbnails: keep a small image of each person in the summary's `people`.
    """
    from mien.draw import Overlay  # here: images start a third sooner without what only videos need
    from mien.faces.tracker import Tracker
    from mien.media.video import Video
    from mien.video_pipeline import VideoPipeline

    tracked = VideoPipeline(pipeline, Tracker(smoothing), detect_every, redetect_every)
    people = sinks.Timeline(pipeline.classifier.labels, thumbnails)
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
                copy = sinks.Video(save, Overlay(style=style), source.rate, sound, source.start, on_message)
                goals.append(stack.enter_context(copy))
        sink = MultiSink(goals, OutputPaths(input_files(path)))
        for item in tracked.track(items, keep_pixels=any(getattr(goal, "reads_pixels", True) for goal in goals)):
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
    source: readers.Source, pipeline: Pipeline, threads: int = THREADS, skip: Container[str] = frozenset(),
    skipped: Counter[str] | None = None, quick_search: bool = False, keep_pixels: bool = False,
) -> Iterator[Result | Failure]:  # fmt: skip
    """Process many images, in the order of the source (see `readers.read_images`).

    Background threads read images and detect faces ahead; faces of up to 16 images are classified in one call. With
    `threads` 0, each image is read when its turn comes. The pipeline's networks should have one thread each
    (`load(threads=1)`), since the background threads already use all cores. Images named in `skip` are not decoded:
    `sinks.Jsonl.done` resumes a run. `skipped` counts the other files of folders, see `paths.list_images`.

    With `quick_search`, YuNet looks at an image that one large face fills at half size only, in half of the time, and
    may miss small faces beside it. Unless `keep_pixels`, large JPEG files are decoded at a half, a quarter or an eighth
    of their size, as far as their faces allow, which is faster; `result.frame.image` then decodes again.
    """

    def detect(frame: Frame) -> tuple[Frame, Sequence[Face]] | Failure:
        try:
            return frame, pipeline.detect_in(frame, quick_search)
        except SourceError as error:
            return Failure(frame.name, str(error), frame.index)
        except (MemoryError, cv2.error) as error:  # one image must not end the run
            height, width = frame.shape[:2]
            reason = "not enough memory to search" if isinstance(error, MemoryError) else "cannot search"
            return Failure(frame.name, f"{frame.name}: {reason} {width} x {height} pixels; crop the image", frame.index)

    def classify(batch: Sequence[tuple[Frame, Sequence[Face]]]) -> list[Result]:
        return pipeline.process_batch([frame for frame, _ in batch], [faces for _, faces in batch])

    searched_side = None if keep_pixels else pipeline.searched_side
    detected = readers.map_images(source, detect, threads, skip, skipped, searched_side)
    return map_batches(classify, detected, lambda item: item[0].nbytes)


@dataclass(frozen=True, slots=True)
class Summary:
    """What `predict` did.

    Attributes:
        images: images and frames of videos that were read.
        faces: faces in all of them.
        without_face: images and frames without a face.
        failed: items that could not be read.
        seconds: time taken.
        emotions: emotion -> number of faces, the most frequent first; "uncertain" counts those that are.
        failures: the first hundred items that could not be read.
        skipped: suffix -> number of the other files of folders.
    """

    images: int
    faces: int
    without_face: int
    failed: int
    seconds: float
    emotions: Mapping[str, int]
    failures: tuple[Failure, ...]
    skipped: Mapping[str, int]

    def __str__(self) -> str:
        emotions = ", ".join(f"{count} {name}" for name, count in self.emotions.items())
        parts = [_count(self.images, "image"), _count(self.faces, "face") + (f" ({emotions})" if emotions else "")]
        parts += [f"{self.without_face} without a face"] * bool(self.without_face)
        parts += [f"{self.failed} failed"] * bool(self.failed)
        return f"{', '.join(parts)}, {self.seconds:.1f} s"

    def __repr__(self) -> str:
        return f"Summary({self})"


def predict(
    source: readers.Source,
    sinks: Sequence[Sink] = (),
    pipeline: Pipeline | None = None,
    *,
    smoothing: float = 0.25,
    detect_every: int = 1,
    quick_search: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> Summary:
    """Process images and videos to sinks, which are then closed.

    Args:
        source: an image, a video, a folder or glob of both, an http(s) URL, another image that a pipeline takes, or an
            iterable of these. Images come first, then videos. In an iterable, what cannot be read is a failure in the
            sinks and the summary; a single source is an error.
        sinks: such as `mien.sinks.Csv("faces.csv")`; results come in order.
        pipeline: by default `mien.load(threads=1)`.
        smoothing: of videos, see `video`.
        detect_every: of videos, see `video`.
        quick_search: of images, see `images`.
        on_progress: called with the number of images and frames so far.

    Raises:
        SourceError: a single source cannot be read.
        ConfigError: a sink would write over an input.
        OutputError: a sink cannot write.
    """
    start = monotonic()
    skipped: Counter[str] = Counter()
    images_, videos = _split(source, skipped)
    tally = _Tally(on_progress)
    pipeline = pipeline or load(threads=1)
    with ExitStack() as stack:
        for sink in sinks:
            if isinstance(sink, (Csv, Parquet)) and sink.labels is None:
                sink.labels = pipeline.classifier.labels
            stack.push(_closing(sink))
        files = [item for item in images_ if isinstance(item, (str, Path))]
        target = MultiSink([tally, *sinks], OutputPaths([*files, *input_files(*videos)]))
        keep = any(getattr(sink, "reads_pixels", True) for sink in sinks)
        for item in images(images_, pipeline, quick_search=quick_search, keep_pixels=keep) if images_ else ():
            target.put(item)
        for path in videos:
            video(path, pipeline, [tally, *sinks], None, smoothing, detect_every)
        if tally.failed == len(images_) + len(videos) == 1 and not is_many(source) and not tally.images:
            raise SourceError(tally.failures[0].reason)  # in the block, so that the sinks are not completed
    return Summary(
        tally.images, tally.faces, tally.without_face, tally.failed, monotonic() - start,
        dict(tally.emotions.most_common()), tuple(tally.failures), dict(skipped),
    )  # fmt: skip


class _Tally:
    """A sink that counts."""

    reads_pixels = False

    def __init__(self, on_progress: Callable[[int], None] | None) -> None:
        self.images = self.faces = self.without_face = self.failed = 0
        self.emotions: Counter[str] = Counter()
        self.failures: list[Failure] = []
        self._on_progress = on_progress

    def write(self, result: Result) -> None:
        self.images += 1
        self.faces += len(result)
        self.without_face += not result.faces
        self.emotions.update("uncertain" if face.uncertain else face.emotion for face in result)
        if self._on_progress:
            self._on_progress(self.images)

    def fail(self, failure: Failure) -> None:
        self.failed += 1
        if len(self.failures) < 100:
            self.failures.append(failure)

    def close(self) -> None:
        """Do nothing."""


def _closing(sink: Sink) -> Callable[..., None]:
    """Return an `__exit__` that closes a sink, or abandons it after an error if it knows how."""

    def leave(kind: type[BaseException] | None, *_: object) -> None:
        getattr(sink, "abandon", sink.close)() if kind else sink.close()

    return leave


def _split(source: readers.Source, skipped: Counter[str]) -> tuple[list[Any], list[str]]:
    """Return images, as files where they are files, and videos; raise a SourceError for a source that is missing."""
    images_: list[Any] = []
    videos: list[str] = []
    for item in source if is_many(source) else [source]:
        if isinstance(item, int):
            raise SourceError(f"{item}: a camera has no end; use pipeline.track({item}), or mien live")
        if not isinstance(item, (str, os.PathLike)):
            images_.append(item)
            continue
        name = os.fsdecode(item)
        if "://" in name:
            (videos if _is_video(urlsplit(name).path) else images_).append(name)
            continue
        try:
            found = _find(name, skipped)
        except SourceError as error:
            if not is_many(source):
                raise
            found = [Failure(name, str(error))]
        images_ += [each for each in found if isinstance(each, Failure) or not _is_video(each)]
        videos += [str(each) for each in found if isinstance(each, Path) and _is_video(each)]
    return images_, videos


def _find(name: str, skipped: Counter[str]) -> list[Path | Failure]:
    """Return the images and videos that a file, folder or glob stands for."""
    path = Path(name)
    if not path.is_dir():
        return expand_source(name, skipped)
    counts: Counter[str] = Counter()
    found = list(list_images(path, skipped=counts))
    if counts.keys() & VIDEO_SUFFIXES:
        below = (each for each in path.rglob("*") if _is_video(each) and not each.name.startswith("."))
        found += sorted(each for each in below if each.is_file())
    skipped.update({kind: count for kind, count in counts.items() if kind not in VIDEO_SUFFIXES})
    return found or expand_source(name)  # raises an error that says what is there


def _is_video(path: str | Path) -> bool:
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'s' * (number != 1)}"


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
    stack: ExitStack, labels: Sequence[str], jsonl: Path | Output | None, csv: Path | Output | None,
    parquet: Path | Output | None,
) -> list[Sink]:  # fmt: skip
    """Open the sinks for the given files; the stack closes them."""
    made: list[Sink] = []
    if jsonl:
        made.append(stack.enter_context(sinks.Jsonl(jsonl)))
    if csv:
        made.append(stack.enter_context(sinks.Csv(csv, labels)))
    if parquet:
        made.append(stack.enter_context(sinks.Parquet(parquet, labels)))
    return made
