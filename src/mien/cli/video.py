"""The command `video`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

import mien
from mien.cli.console import err, out, warn
from mien.cli.options import Outputs
from mien.cli.tables import people_table

if TYPE_CHECKING:
    from mien.pipeline import Pipeline
    from mien.runner import VideoSummary
    from mien.sinks import Timeline


def video(
    files: Annotated[list[str], Parameter(negative=())],
    *,
    outputs: Outputs = Outputs(),  # noqa: B008 (frozen)
    detector: str = "yunet",
    model: str | None = None,
    smoothing: float = 0.25,
    min_face: float | None = None,
    detect_every: int = 1,
    redetect_every: float = 0.5,
    profile: Path | None = None,
) -> int:
    """Follow the faces of videos, frame by frame, and their emotions over time.

    Parameters
    ----------
    files
        Videos, globs, folders of videos, or a folder of numbered pictures.
    detector
        yunet, haar or mtcnn.
    model
        Name of a shipped model, names joined by + (their mean, over the mirror image too), or an ONNX file.
    smoothing
        Seconds after which a frame counts half as much; 0 does not smooth.
    min_face
        Side in pixels of the smallest face that is wanted: a large one is faster, a small one slower in large pictures.
    detect_every
        Search only each so-many-th frame for faces, which is faster, and follow them in between.
    redetect_every
        Seconds between searches for faces of every size; in between only faces about as large as the known ones are
        looked for, which is faster. 0 searches for all of them in each frame.
    profile
        File of `mien personalize`, for a video of the person who made it; without it nothing is shifted.
    """
    import cv2

    from mien import runner
    from mien.media import output_paths, paths
    from mien.media.output_paths import OutputPaths

    videos = paths.expand_videos(files)
    copies = output_paths.annotated_paths(videos, outputs.save) if outputs.save else [None] * len(videos)
    OutputPaths(videos).check(*copies, *outputs.files)
    # The steps of a video run side by side: more threads for each would only stand in each other's way.
    if detector != "haar":  # the one of them that OpenCV's threads make faster
        cv2.setNumThreads(1)
    pipeline = with_profile(mien.load(model=model, detector=detector, min_face=min_face, threads=1), profile)
    seen: list[VideoSummary] = []
    try:
        with ExitStack() as stack:
            tables = outputs.tables(stack, pipeline.classifier.labels)
            bar = stack.enter_context(_progress())
            for name, copy in zip(videos, copies, strict=True):
                seen.append(
                    runner.video(
                        name,
                        pipeline,
                        tables,
                        copy,
                        smoothing,
                        detect_every,
                        redetect_every,
                        _progress_callback(bar, name),
                    )
                )
    except KeyboardInterrupt:
        warn("stopped; what was done so far is in the files with .part in their names")
        return 130
    for each in seen:
        _sum_up(each)
    if outputs.timeline:
        for each, name in zip(seen, paths.unique_names(videos), strict=True):
            more = f"-{name}" if len(seen) > 1 else ""
            plot_timeline(each.people, outputs.timeline.with_stem(outputs.timeline.stem + more), each.name)
    return 1 if any(each.failures for each in seen) else 0


class _Pace(ProgressColumn):
    """Frames a second and the time left, from all frames so far: they come in blocks."""

    def render(self, task: Task) -> Text:
        """Nothing before the first block."""
        elapsed = task.finished_time or task.elapsed
        if not task.completed or not elapsed:
            return Text("")
        speed = task.completed / elapsed
        left = "" if task.total is None else f", {timedelta(seconds=round((task.total - task.completed) / speed))} left"
        return Text(f"{speed:.1f} fps{left}")


def _progress() -> Progress:
    name = TextColumn("{task.description}", markup=False)
    return Progress(name, BarColumn(), MofNCompleteColumn(), _Pace(), console=err, disable=not err.is_terminal)


def _progress_callback(bar: Progress, name: str) -> Callable[[int, int | None], None]:
    task = bar.add_task(Path(name).name, total=None)

    def on_progress(done: int, total: int | None) -> None:
        # a container may promise too few frames
        bar.update(task, completed=done, total=None if total is None else max(done, total))

    return on_progress


def _sum_up(seen: VideoSummary) -> None:
    """A table of the people of one video, and what could not be read of it."""
    title = f"{seen.name}: {seen.frames} frames, {seen.people.span[1]:.2f} s"
    if seen.people.ids:
        out.print(people_table(seen.people, title))
    elif seen.frames:
        out.print(f"{title}, no face found", highlight=False, markup=False, soft_wrap=True)
    for failure in seen.failures:
        err.print(f"[red]not read:[/red] {escape(failure.reason)}", highlight=False, soft_wrap=True)


def plot_timeline(people: Timeline, path: Path, name: str) -> None:
    from mien.evaluation import plots

    if people.ids:
        plots.timeline(people, path)
    else:
        err.print(f"{name}: no face was seen, so there is no plot", highlight=False, markup=False, soft_wrap=True)


def with_profile(pipeline: Pipeline, path: Path | None) -> Pipeline:
    """The pipeline with a person's profile, if there is one, and what speaks against it on stderr."""
    if path is None:
        return pipeline
    from mien.personal.prior import PersonalClassifier, personalize

    made = personalize(pipeline, path)
    if isinstance(made.classifier, PersonalClassifier) and made.classifier.warning:
        warn(f"{path}: {made.classifier.warning}")
    return made
