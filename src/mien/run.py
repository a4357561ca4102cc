"""From pictures and videos to sinks: in order, in blocks, in memory that does not grow with their number."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mien import runtime, sinks, sources
from mien.draw import Overlay
from mien.pipeline import WHOLE, Pipeline, Sought, Stream
from mien.timeline import Timeline
from mien.track import Tracker
from mien.types import ConfigError, Failure, Frame, Result, Sink, SourceError
from mien.video import SUFFIXES

T = TypeVar("T", Frame, Sought)

BLOCK = 16
"""Frames whose faces go to the classifier in one call."""

THREADS = min(8, runtime.cores())
"""Threads that read pictures and search them; OpenCV and ONNX Runtime work in parallel."""

_BYTES = 64_000_000  # or fewer frames, when their pixels come to this: of 4K three


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
    half_life: float = 0.25,
    every: int = 1,
    whole: float = WHOLE,
    tell: Callable[[int, int | None], None] | None = None,
) -> Seen:
    """Look at one video from its first frame to its last, with ids of its own.

    Args:
        path: what `sources.Video` takes: a file, its URL, or numbered pictures.
        pipeline: what looks at the frames.
        outputs: sinks for every result and failure; they stay open, for the next video.
        save: file for an annotated copy with the video's sound, or None.
        half_life: seconds after which a frame counts half as much for the probabilities; 0 does not smooth.
        every: search only each so-many-th frame for faces, and follow them in between; see `pipeline.Stream`.
        whole: seconds between searches for faces of every size.
        tell: called after each frame with the number of frames so far and in all, if that is known.

    Returns:
        What was seen; a video that cannot be read is one of its failures.

    Raises:
        ConfigError: a half-life, `every` or `whole` that is not possible, or a kind of video that cannot be written.
        SourceError: an output cannot be written.
    """
    stream = pipeline.stream(Tracker(half_life), every, whole)
    people = Timeline(pipeline.classifier.labels)
    failures: list[Failure] = []
    count = 0
    with ExitStack() as stack:
        goals: list[Sink] = [people, *outputs]
        try:
            source = sources.Video(path)
        except SourceError as error:
            items: Iterable[Frame | Failure] = [Failure(str(path), str(error))]
            total = None
        else:
            items, total = stack.enter_context(closing(sources.ahead(read(source), _bytes))), source.total
            if save:
                sound = path if Path(path).is_file() else None
                goals.append(stack.enter_context(sinks.Video(save, Overlay(), source.fps, sound)))
        for item in results(items, stream):
            if isinstance(item, Failure):
                failures.append(item)
            else:
                count += 1
            give(item, goals)
            if tell:
                tell(count, total)
    return Seen(str(path), count, people, tuple(failures))


def read(source: sources.Video) -> Iterator[Frame | Failure]:
    """The frames of a video, and a failure in place of an error where it can no longer be opened."""
    try:
        yield from source
    except SourceError as error:
        yield Failure(source.name, str(error))


def pictures(
    source: sources.Source, pipeline: Pipeline, threads: int = THREADS, skip: Container[str] = frozenset()
) -> Iterator[Result | Failure]:
    """Look at many pictures: threads read ahead and search for faces, which go to the classifier in blocks.

    Args:
        source: what `sources.frames` takes; what comes out has its order.
        pipeline: what looks at the pictures. Its networks had better have one thread each (`load(threads=1)`): the
            threads that search at the same time would only wait for theirs.
        threads: how many read and search ahead; 0 does so when a picture's turn comes.
        skip: names of pictures to pass over, those of `sinks.Jsonl.done` to go on with a run that was stopped.
    """

    def search(frame: Frame) -> Sought:
        return Sought(frame, pipeline.detector(frame.image), True)

    def look(block: Sequence[Sought]) -> list[Result]:
        return pipeline.process_many([each.frame for each in block], [each.faces for each in block])

    return _blocks(sources.looked_at(source, search, threads, skip), look, BLOCK)


def results(
    items: Iterable[Frame | Failure], stream: Stream | Pipeline, most: int = BLOCK
) -> Iterator[Result | Failure]:
    """Look at frames in blocks, which is faster than one by one; what comes out has the order of what went in.

    Args:
        items: the frames of one video or pictures, and failures, which are passed on.
        stream: what looks at them: of a video its stream, of pictures a pipeline.
        most: frames in a block. Fewer make one when they are large, so that a block stays small in memory.
    """
    with ExitStack() as stack:
        if isinstance(stream, Stream) and stream.every == 1:
            # Faces are searched in a thread of their own while those found before are classified.
            found = stack.enter_context(closing(sources.ahead(_sought(items, stream), _bytes)))
            yield from _blocks(found, stream.look, most)
        else:
            yield from _blocks(items, stream.process_many, most)


def _sought(items: Iterable[Frame | Failure], stream: Stream) -> Iterator[Sought | Failure]:
    for item in items:
        yield stream.seek(item) if isinstance(item, Frame) else item


def _bytes(item: Frame | Sought | Failure) -> int:
    """Of the pixels."""
    frame = item.frame if isinstance(item, Sought) else item
    return frame.image.nbytes if isinstance(frame, Frame) else 0


def _blocks(
    items: Iterable[T | Failure], look: Callable[[Sequence[T]], list[Result]], most: int
) -> Iterator[Result | Failure]:
    block: list[T] = []
    size = 0
    for item in items:
        if not isinstance(item, Failure):
            block.append(item)
            size += _bytes(item)
            if len(block) < most and size < _BYTES:
                continue
        yield from look(block)
        block, size = [], 0
        if isinstance(item, Failure):
            yield item
    yield from look(block)


def give(item: Result | Failure, outputs: Iterable[Sink]) -> None:
    """Hand a result or a failure to every sink."""
    for sink in outputs:
        if isinstance(item, Failure):
            sink.fail(item)
        else:
            sink.write(item)


def keep_apart(inputs: Sequence[str | Path], outputs: Iterable[Path | None]) -> None:
    """See to it that no output takes the place of an input or of another output; None is an output not wanted.

    Raises:
        ConfigError: one would.
    """
    written: set[Path] = set()
    for each in filter(None, outputs):
        if (there := _identity(each)) and any(_identity(read) == there for read in inputs):
            raise ConfigError(f"{each}: is one of the files to look at and would be written over; choose another name")
        if each.resolve() in written:
            raise ConfigError(f"{each}: named for two outputs; give each a file of its own")
        written.add(each.resolve())


def _identity(path: str | Path) -> tuple[int, int] | None:
    """What two names of one file have in common, or None where there is no file: a source may be a URL."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


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


def expand(wanted: Sequence[str]) -> list[str]:
    """The videos that a user names: a glob or a folder stands for those in it, in the order of their names.

    All else stays as it is, for `sources.Video` to say what is wrong: a folder of pictures is one video.
    """
    return [video for each in wanted for video in _inside(each) or [each]]


def places(videos: Sequence[str], save: Path) -> list[Path]:
    """Where the annotated copy of each video goes.

    Args:
        videos: the videos.
        save: a video file, or a folder for `<stem>.mp4` each; there `_mien` is added to a name that is taken by one of
            the videos themselves.

    Raises:
        ConfigError: one file for several videos.
    """
    if save.suffix.lower() in sources.VIDEOS.union(SUFFIXES) and not save.is_dir():
        if len(videos) > 1:
            raise ConfigError(f"{save}: one file for {len(videos)} videos; give a folder, as in --save annotated")
        return [save]
    taken = {Path(each).resolve() for each in videos}
    found: list[Path] = []
    for name in names(videos):
        path = save / f"{name}.mp4"
        while path.resolve() in taken:
            path = path.with_stem(f"{path.stem}_mien")
        taken.add(path.resolve())
        found.append(path)
    return found


def names(videos: Sequence[str]) -> list[str]:
    """A short name for each video, good for a file: its stem, with a number where several are the same."""
    found: list[str] = []
    taken: set[str] = set()
    for each in videos:
        stem = name = re.sub(r"[^\w.+ -]", "_", Path(each).stem).strip(". ")[:60] or "video"
        number = 1
        while name.casefold() in taken:  # some file systems take A.mp4 and a.mp4 for the same
            number += 1
            name = f"{stem}_{number}"
        taken.add(name.casefold())
        found.append(name)
    return found


def _inside(wanted: str) -> list[str]:
    """The videos in a folder or of a glob; [] where it is neither, or holds none."""
    path = Path(wanted)
    if path.is_dir():
        found = [str(each) for each in path.iterdir() if not each.name.startswith(".")]
    elif "://" not in wanted and glob.has_magic(wanted) and not path.exists():
        found = glob.glob(wanted, recursive=True)
    else:
        return []
    return sorted(each for each in found if Path(each).suffix.lower() in sources.VIDEOS)
