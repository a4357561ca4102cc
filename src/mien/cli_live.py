"""The commands for videos and cameras, and `doctor`; mien.cli registers them."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column, Table
from rich.text import Text

import mien
from mien.terminal import err, out, warn
from mien.types import ConfigError

if TYPE_CHECKING:
    from mien.draw import Status
    from mien.pipeline import Pipeline
    from mien.run import Seen
    from mien.timeline import Timeline
    from mien.types import Result, Sink

_PEOPLE = 20  # rows of the table at the end


@Parameter(name="*")
@dataclass(frozen=True)
class Outputs:
    """The files to write."""

    save: Path | None = None
    """Annotated video; for several videos a folder."""
    jsonl: Annotated[Path | None, Parameter(name=["--jsonl", "--json"])] = None
    """File for JSON lines, one a frame."""
    csv: Path | None = None
    """File for a table, one row a face; frames without one have a row, too."""
    parquet: Path | None = None
    """The same as Parquet."""
    timeline: Path | None = None
    """PNG or SVG file for a plot of each person's emotions over time; for several videos one each."""

    @property
    def files(self) -> tuple[Path | None, ...]:
        """All but the annotated videos."""
        return self.jsonl, self.csv, self.parquet, self.timeline

    def tables(self, stack: ExitStack, labels: Any) -> list[Sink]:
        """The sinks for all results, and a look at what the plot needs before an hour's work is done."""
        from mien import run

        if self.timeline:
            if self.timeline.suffix.lower() not in (".png", ".svg"):
                raise ConfigError(f"{self.timeline}: no kind of picture for a plot; let the name end in .png or .svg")
            from mien import report  # noqa: F401
        return run.tables(stack, labels, self.jsonl, self.csv, self.parquet)


def video(
    files: Annotated[list[str], Parameter(negative=())],
    *,
    outputs: Outputs = Outputs(),
    detector: str = "yunet",
    model: str | None = None,
    smooth: float = 0.25,
    min_face: float | None = None,
    every: int = 1,
    whole: float = 0.5,
    calibration: Path | None = None,
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
    smooth
        Seconds after which a frame counts half as much; 0 does not smooth.
    min_face
        Side in pixels of the smallest face that is wanted: a large one is faster, a small one slower in large pictures.
    every
        Search only each so-many-th frame for faces, which is faster, and follow them in between.
    whole
        Seconds between searches for faces of every size; in between only faces about as large as the known ones are
        looked for, which is faster. 0 searches for all of them in each frame.
    calibration
        File of `mien calibrate`, for a video of the person who made it; without it nothing is shifted.
    """
    import cv2

    from mien import run

    videos = run.expand(files)
    copies = run.places(videos, outputs.save) if outputs.save else [None] * len(videos)
    run.keep_apart(videos, [*copies, *outputs.files])
    # The steps of a video run side by side: more threads for each would only stand in each other's way.
    if detector != "haar":  # the one of them that OpenCV's threads make faster
        cv2.setNumThreads(1)
    pipeline = _calibrated(mien.load(model=model, detector=detector, min_face=min_face, threads=1), calibration)
    seen: list[Seen] = []
    try:
        with ExitStack() as stack:
            tables = outputs.tables(stack, pipeline.classifier.labels)
            bar = stack.enter_context(_progress())
            for name, copy in zip(videos, copies, strict=True):
                seen.append(run.video(name, pipeline, tables, copy, smooth, every, whole, _teller(bar, name)))
    except KeyboardInterrupt:
        warn("stopped; what was done so far is in the files with .part in their names")
        return 130
    for each in seen:
        _sum_up(each)
    if outputs.timeline:
        for each, name in zip(seen, run.names(videos), strict=True):
            more = f"-{name}" if len(seen) > 1 else ""
            _plot(each.people, outputs.timeline.with_stem(outputs.timeline.stem + more), each.name)
    return 1 if any(each.failures for each in seen) else 0


def live(
    source: str = "0",
    *,
    headless: Annotated[bool, Parameter(negative=())] = False,
    outputs: Outputs = Outputs(),
    detector: str = "yunet",
    model: str | None = None,
    smooth: float = 0.25,
    calibration: Path | None = None,
) -> int:
    """Watch a camera, a stream or a video file; the newest frame counts.

    Keys in the window: space pause, r record, s picture, d next detector, c what the network sees, h help, q or Esc
    quit. Recordings and pictures go to the current folder.

    Parameters
    ----------
    source
        Number of a camera, URL of a stream, or a video file.
    headless
        No window: a line a second, or nothing but the files that are wanted. Ctrl-C ends it.
    detector
        yunet, haar or mtcnn.
    model
        Name of a shipped model, names joined by + (their mean, over the mirror image too), or an ONNX file.
    smooth
        Seconds after which a frame counts half as much; 0 does not smooth.
    calibration
        File of `mien calibrate`, for the person who made it; without it nothing is shifted.
    """
    from mien import run, session, sinks
    from mien.draw import Overlay
    from mien.timeline import Timeline
    from mien.track import Tracker
    from mien.window import Window

    run.keep_apart([source], [outputs.save, *outputs.files])
    with ExitStack() as stack:
        window = None if headless else stack.enter_context(Window("mien"))
        pipeline = _calibrated(mien.load(model=model, detector=detector), calibration)
        made = outputs.tables(stack, pipeline.classifier.labels)
        feed = stack.enter_context(closing(session.source(source)))
        people = Timeline(pipeline.classifier.labels)
        made += [people] if outputs.timeline else []
        if outputs.save:
            made.append(stack.enter_context(sinks.Video(outputs.save, Overlay(), feed.rate)))
        report = _line if headless and not made else None
        view = session.Session(feed, pipeline.stream(Tracker(smooth)), made, window, tell=warn, report=report)
        for number in (signal.SIGINT, signal.SIGTERM):
            old = signal.signal(number, lambda *_: view.stop())
            stack.callback(signal.signal, number, old)
        view.run()
    if outputs.timeline:
        _plot(people, outputs.timeline, feed.name)
    return 1 if view.lost else 0


def doctor() -> int:
    """Check installation, model files, cameras and screen, and say what to do where something is missing."""
    from mien.doctor import examine

    checks = examine()
    table = Table(Column(""), Column("what", no_wrap=True), Column("found", overflow="fold"), box=None)
    for check in checks:
        mark = "[green]ok[/green]" if check.ok else "[red]FAIL[/red]" if check.essential else "[yellow]--[/yellow]"
        advice = f"\n[bold]{escape(check.advice)}[/bold]" if check.advice else ""
        table.add_row(mark, escape(check.name), escape(check.detail) + advice)
    out.print(table, highlight=False)
    broken = [check.name for check in checks if check.essential and not check.ok]
    out.print(f"mien does not work: see {', '.join(broken)}" if broken else "mien works here", highlight=False)
    return 1 if broken else 0


def _calibrated(pipeline: Pipeline, path: Path | None) -> Pipeline:
    """The pipeline with a person's calibration, if there is one, and what speaks against it on stderr."""
    if path is None:
        return pipeline
    from mien.calibrate import Calibrated, apply

    made = apply(pipeline, path)
    if isinstance(made.classifier, Calibrated) and made.classifier.warning:
        warn(f"{path}: {made.classifier.warning}")
    return made


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


def _teller(bar: Progress, name: str) -> Callable[[int, int | None], None]:
    task = bar.add_task(Path(name).name, total=None)

    def tell(done: int, total: int | None) -> None:
        # a container may promise too few frames
        bar.update(task, completed=done, total=None if total is None else max(done, total))

    return tell


def _line(result: Result, status: Status) -> None:
    faces = [f"#{face.id} {face.emotion}{'?' if face.uncertain else ''} {face.confidence:.0%}" for face in result.faces]
    told = [f"{result.frame.time:8.1f} s", ", ".join(faces) or "no face", *status.parts]
    out.print("   ".join(told), highlight=False, markup=False, soft_wrap=True)


def _sum_up(seen: Seen) -> None:
    """A table of the people of one video, and what could not be read of it."""
    title = f"{seen.name}: {seen.frames} frames, {seen.people.span[1]:.2f} s"
    if seen.people.ids:
        out.print(_people_table(seen.people, title))
    elif seen.frames:
        out.print(f"{title}, no face found", highlight=False, markup=False, soft_wrap=True)
    for failure in seen.failures:
        err.print(f"[red]not read:[/red] {escape(failure.reason)}", highlight=False, soft_wrap=True)


def _plot(people: Timeline, path: Path, name: str) -> None:
    from mien import report

    if people.ids:
        report.timeline(people, path)
    else:
        err.print(f"{name}: no face was seen, so there is no plot", highlight=False, markup=False, soft_wrap=True)


def _people_table(people: Timeline, title: str) -> Table:
    """A row a person: those seen longest, in the order in which they came."""
    table = Table(title=f"{escape(title)}\ntimes in s, shares in %", title_justify="left", box=SIMPLE_HEAD)
    table.padding, table.show_edge = (0, 1, 0, 0), False  # it fits into 80 columns
    states = [*people.labels, "uncertain"]
    for name in ("id", "from", "to", "seen", *states, "changes"):
        table.add_column(escape(name), justify="right")
    tracks = people.summary()
    longest = sorted(tracks, key=lambda track: -track.seconds)[:_PEOPLE]
    for track in sorted(longest, key=lambda track: (track.first, track.id or 0)):
        shares = [f"{100 * track.share[name]:.0f}" for name in states]
        times = [f"{value:.2f}" for value in (track.first, track.last, track.seconds)]
        table.add_row(str(track.id), *times, *shares, str(track.flips))
    if len(tracks) > _PEOPLE:
        table.caption = f"{len(tracks) - _PEOPLE} more people were seen for a shorter time"
    return table
