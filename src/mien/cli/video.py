"""The command `video`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.markup import escape
from rich.progress import Progress, ProgressColumn, Task
from rich.text import Text

import mien
from mien.cli.console import echo, err, out, progress, warn
from mien.cli.options import Detector, MinFace, Model, Outputs, Profile, Smoothing
from mien.cli.tables import people_table

if TYPE_CHECKING:
    from mien.pipeline import Pipeline
    from mien.runner import VideoSummary
    from mien.sinks import Timeline


def video(
    files: Annotated[list[str], Parameter(negative=())],
    *,
    outputs: Outputs = Outputs(),  # noqa: B008 (frozen)
    detector: Detector = "yunet",
    model: Model = None,
    smoothing: Smoothing = 0.25,
    min_face: MinFace = None,
    detect_every: int = 1,
    redetect_every: float = 0.5,
    profile: Profile = None,
) -> int:
    """Track the faces in videos and their expressions over time.

    Args:
        files: Videos, globs, folders of videos, or a folder of numbered images.
        detect_every: Run the detector every N frames, which is faster, and track the faces in between.
        redetect_every: Seconds between detections of faces of every size. In between only faces of about the known
            sizes are detected, which is faster. 0 always detects all sizes.
    """
    import cv2

    from mien import runner
    from mien.media import output_paths, paths
    from mien.media.output_paths import OutputPaths

    videos = paths.expand_videos(files)
    copies = output_paths.annotated_paths(videos, outputs.save) if outputs.save else [None] * len(videos)
    OutputPaths(videos).check(*copies, *outputs.files)
    # The stages of a video run in parallel: more threads for each would compete. Only Haar gains from OpenCV's threads.
    if detector != "haar":
        cv2.setNumThreads(1)
    pipeline = with_profile(mien.load(model=model, detector=detector, min_face=min_face, threads=1), profile)
    seen: list[VideoSummary] = []
    try:
        with ExitStack() as stack:
            tables = outputs.tables(stack, pipeline.classifier.labels)
            bar = stack.enter_context(progress(err.is_terminal, _Speed()))
            for name, copy in zip(videos, copies, strict=True):
                on_progress = _progress_callback(bar, name)
                seen.append(
                    runner.video(
                        name, pipeline, tables, copy, smoothing, detect_every, redetect_every, on_progress, warn
                    )
                )
    except KeyboardInterrupt:
        warn("stopped; the results so far are in the files with .part in their names")
        return 130
    for summary in seen:
        _summarize(summary)
    if outputs.timeline:
        for summary, name in zip(seen, paths.unique_names(videos), strict=True):
            suffix = f"-{name}" if len(seen) > 1 else ""
            plot_timeline(summary.people, outputs.timeline.with_stem(outputs.timeline.stem + suffix), summary.name)
    return 1 if any(summary.failures for summary in seen) else 0


class _Speed(ProgressColumn):
    """Mean frames a second, since frames come in blocks, and the time left."""

    def render(self, task: Task) -> Text:
        elapsed = task.finished_time or task.elapsed
        if not task.completed or not elapsed:
            return Text("")
        speed = task.completed / elapsed
        left = "" if task.total is None else f", {timedelta(seconds=round((task.total - task.completed) / speed))} left"
        return Text(f"{speed:.1f} fps{left}")


def _progress_callback(bar: Progress, name: str) -> Callable[[int, int | None], None]:
    task = bar.add_task(Path(name).name, total=None)

    def on_progress(done: int, total: int | None) -> None:
        # the container may declare too few frames
        bar.update(task, completed=done, total=None if total is None else max(done, total))

    return on_progress


def _summarize(seen: VideoSummary) -> None:
    """Print a table of the people in one video, and its failures on stderr."""
    title = f"{seen.name}: {seen.frames} frames, {seen.people.span[1]:.2f} s"
    if seen.people.ids:
        out.print(people_table(seen.people, title))
    elif seen.frames:
        echo(f"{title}, no face found")
    for failure in seen.failures:
        err.print(f"[red]not read:[/red] {escape(failure.reason)}", highlight=False, soft_wrap=True)


def plot_timeline(people: Timeline, path: Path, name: str) -> None:
    from mien.evaluation import plots

    if people.ids:
        plots.timeline(people, path)
    else:
        warn(f"{name}: no face found, so there is no plot")


def with_profile(pipeline: Pipeline, path: Path | None) -> Pipeline:
    """Apply a person's profile, if there is one, and print its warning on stderr."""
    if path is None:
        return pipeline
    from mien.personal.prior import PersonalClassifier, personalize

    adapted = personalize(pipeline, path)
    if isinstance(adapted.classifier, PersonalClassifier) and adapted.classifier.warning:
        warn(f"{path}: {adapted.classifier.warning}")
    return adapted
