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
from mien.cli import options
from mien.cli.console import above, count, echo, err, progress, screen_for, start, warn
from mien.cli.names import cut_middle
from mien.cli.profile import with_profile
from mien.cli.tables import people_table
from mien.errors import ConfigError

if TYPE_CHECKING:
    from mien.media.output_paths import Output, OutputPaths
    from mien.runner import VideoSummary
    from mien.sinks import Timeline

_SHOWN = 50  # videos with a table on a terminal: the output must not grow with their number


def video(
    files: Annotated[list[str], Parameter(negative=())],
    *,
    outputs: options.Outputs = options.Outputs(),  # noqa: B008 (frozen)
    detector: options.Detector = "yunet",
    model: options.Model = None,
    min_face: options.MinFace = None,
    min_score: options.MinScore = None,
    profile: options.Profile = None,
    smoothing: options.Smoothing = 0.25,
    detect_every: int = 1,
    redetect_every: float = 0.5,
    style: options.OverlayStyle = "panels",
    quiet: options.Quiet = False,
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

    clock = start(quiet)
    videos = expand_videos(files)
    asked = OutputPaths([*runner.input_files(*videos), model, profile])
    copies: Sequence[Output | None] = [None] * len(videos)
    if outputs.save:
        copies = [sinks.Video.ask(asked, path) for path in annotated_paths(videos, outputs.save, asked)]
    open_sinks = outputs.ask_sinks(asked)
    plots: Sequence[Path | None] = outputs.ask_plots(asked, unique_names(videos) if len(videos) > 1 else [""])
    plots = plots or [None] * len(videos)
    screen = screen_for(*outputs.on_stdout)
    # The stages of a video run in parallel: more threads for each would compete. Only Haar gains from OpenCV's threads.
    if detector != "haar":
        cv2.setNumThreads(1)
    pipeline = with_profile(
        mien.load(model=model, detector=detector, min_face=min_face, threads=1, min_score=min_score), profile
    )
    frames = people = failed = 0
    try:
        with ExitStack() as stack:
            made = open_sinks(stack, pipeline.classifier.labels)
            bar = stack.enter_context(progress(err.is_terminal, _Speed()))
            for number, (name, copy, plot) in enumerate(zip(videos, copies, plots, strict=True), start=1):
                on_progress = _progress_callback(bar, name, number, len(videos))
                seen = runner.video(
                    name, pipeline, made, copy, smoothing, detect_every, redetect_every, on_progress, warn, style,
                    thumbnails=plot is not None and plot.suffix.lower() == ".html",
                )  # fmt: skip
                _print_people(seen, above(bar, screen), number, outputs.min_seen)
                if plot:
                    write_timeline(seen.people, plot, seen.name, copy.path if copy else name, outputs.min_seen)
                frames, people = frames + seen.frames, people + len(seen.people.ids)
                failed += bool(seen.failures)
    except KeyboardInterrupt:
        warn("stopped; the results so far are in the files with .part in their names")
        return 130
    found = (count(len(videos), "video"), count(frames, "frame"), count(people, "person", "people"))
    clock.summary(*found, f"{failed:,} failed", screen=screen)
    return 1 if failed else 0


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


def _progress_callback(bar: Progress, name: str, number: int, videos: int) -> Callable[[int, int | None], None]:
    for done in bar.task_ids:
        bar.remove_task(done)
    name = cut_middle(Path(name).name, max(8, err.width // 4))
    task = bar.add_task(f"{number}/{videos} {name}" if videos > 1 else name, total=None)

    def on_progress(done: int, total: int | None) -> None:
        # the container may declare too few frames
        bar.update(task, completed=done, total=None if total is None else max(done, total))

    return on_progress


def _print_people(seen: VideoSummary, screen: Console, number: int, min_seen: float) -> None:
    """Print a table of the people in one video, and its failures on stderr."""
    title = f"{seen.name}: {count(seen.frames, 'frame')}, {seen.people.duration:.2f} s"
    if screen.is_terminal and number > _SHOWN:
        if number == _SHOWN + 1:
            echo("the people of further videos are not shown; --csv FILE lists all faces", screen)
    elif seen.people.ids:
        people_table(seen.people, title, min_seen).print(screen)
    elif seen.frames:
        echo(f"{title}, no face found", screen)
    for failure in seen.failures:
        warn(failure.reason, "not read:", "red")


def write_timeline(people: Timeline, path: Path, name: str, video: str | Path, min_seen: float) -> None:
    """Write a plot or a page of the people; the page shows the video, if it is a file."""
    if not people.ids:
        warn(f"{name}: no face found, so there is no timeline")
    elif path.suffix.lower() == ".html":
        from mien.evaluation import timeline_page

        link = video if Path(video).is_file() else None
        timeline_page.write_timeline(people, path, Path(name).name, link, min_seen)
    else:
        from mien.evaluation import plots

        plots.timeline(people, path)
