"""The command `video`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task
from rich.text import Text

import mien
from mien.cli.console import echo, err, literal, progress, screen_for, warn
from mien.cli.options import Detector, MinFace, MinScore, Model, Outputs, OverlayStyle, Profile, Smoothing
from mien.cli.tables import people_table
from mien.errors import ConfigError

if TYPE_CHECKING:
    from mien.media.output_paths import Output, OutputPaths
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
    min_score: MinScore = None,
    detect_every: int = 1,
    redetect_every: float = 0.5,
    profile: Profile = None,
    style: OverlayStyle = "panels",
) -> int:
    """Track the faces in videos and their expressions over time.

    Args:
        files: Videos, globs, folders of videos, or a folder of numbered images.
        detect_every: Run the detector every N frames, which is faster, and track the faces in between.
        redetect_every: Seconds between detections of faces of every size. In between only faces of about the known
            sizes are detected, which is faster. 0 always detects all sizes.
    """
    import cv2

    from mien import runner, sinks
    from mien.media.output_paths import OutputPaths
    from mien.media.paths import expand_videos, unique_names

    videos = expand_videos(files)
    asked = OutputPaths([*runner.input_files(*videos), model, profile])
    copies: Sequence[Output | None] = [None] * len(videos)
    if outputs.save:
        copies = [sinks.Video.ask(asked, path) for path in annotated_paths(videos, outputs.save, asked)]
    files_of_tables = outputs.ask_tables(asked)
    plots = outputs.ask_plots(asked, unique_names(videos) if len(videos) > 1 else [""])
    screen = screen_for(outputs.jsonl, outputs.csv)
    # The stages of a video run in parallel: more threads for each would compete. Only Haar gains from OpenCV's threads.
    if detector != "haar":
        cv2.setNumThreads(1)
    pipeline = with_profile(
        mien.load(model=model, detector=detector, min_face=min_face, threads=1, min_score=min_score), profile
    )
    seen: list[VideoSummary] = []
    try:
        with ExitStack() as stack:
            tables = runner.tables(stack, pipeline.classifier.labels, *files_of_tables)
            bar = stack.enter_context(progress(err.is_terminal, _Speed()))
            for name, copy in zip(videos, copies, strict=True):
                on_progress = _progress_callback(bar, name)
                seen.append(
                    runner.video(
                        name, pipeline, tables, copy, smoothing, detect_every, redetect_every, on_progress, warn, style
                    )
                )
    except KeyboardInterrupt:
        warn("stopped; the results so far are in the files with .part in their names")
        return 130
    for summary in seen:
        _summarize(summary, screen)
    if plots:
        for summary, path in zip(seen, plots, strict=True):
            plot_timeline(summary.people, path, summary.name)
    return 1 if any(summary.failures for summary in seen) else 0


def annotated_paths(videos: Sequence[str], save: Path, outputs: OutputPaths) -> list[Path]:
    """Return the path of each annotated copy: `save` itself, or `<stem>.mp4` in the folder `save`, never an input."""
    from mien.media.output_paths import READS
    from mien.media.paths import unique_names

    if save.suffix.lower() in READS and not save.is_dir():
        if len(videos) > 1:
            raise ConfigError(f"{save}: one file for {len(videos)} videos; give a folder, as in --save annotated")
        return [save]
    folder = outputs.folder(save, what="annotated videos")
    found: list[Path] = []
    for name in unique_names(videos):
        while not folder.is_free(f"{name}.mp4") or save / f"{name}.mp4" in found:
            name += "_mien"
        found.append(save / f"{name}.mp4")
    return found


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


def _summarize(seen: VideoSummary, screen: Console) -> None:
    """Print a table of the people in one video, and its failures on stderr."""
    title = f"{seen.name}: {seen.frames} frames, {seen.people.span[1]:.2f} s"
    if seen.people.ids:
        screen.print(people_table(seen.people, title))
    elif seen.frames:
        echo(f"{title}, no face found", screen)
    for failure in seen.failures:
        err.print(f"[red]not read:[/red] {literal(failure.reason)}", highlight=False, soft_wrap=True)


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
