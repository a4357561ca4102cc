"""The command `live`."""

from __future__ import annotations

import signal
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

import mien
from mien.cli.console import out, warn
from mien.cli.options import Outputs
from mien.cli.video import plot_timeline, with_profile

if TYPE_CHECKING:
    from mien.draw import Status
    from mien.types import Result


def live(
    source: str = "0",
    *,
    headless: Annotated[bool, Parameter(negative=())] = False,
    outputs: Outputs = Outputs(),  # noqa: B008 (frozen)
    detector: str = "yunet",
    model: str | None = None,
    smoothing: float = 0.25,
    profile: Path | None = None,
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
    smoothing
        Seconds after which a frame counts half as much; 0 does not smooth.
    profile
        File of `mien personalize`, for the person who made it; without it nothing is shifted.
    """
    from mien import sinks
    from mien.draw import Overlay
    from mien.faces.tracker import Tracker
    from mien.live import playback, viewer
    from mien.live.window import Window
    from mien.media.output_paths import OutputPaths
    from mien.sinks import Timeline
    from mien.video_pipeline import VideoPipeline

    OutputPaths([source]).check(outputs.save, *outputs.files)
    with ExitStack() as stack:
        window = None if headless else stack.enter_context(Window("mien"))
        pipeline = with_profile(mien.load(model=model, detector=detector), profile)
        made = outputs.tables(stack, pipeline.classifier.labels)
        feed = stack.enter_context(closing(playback.open_source(source)))
        people = Timeline(pipeline.classifier.labels)
        made += [people] if outputs.timeline else []
        if outputs.save:
            made.append(stack.enter_context(sinks.Video(outputs.save, Overlay(), feed.rate)))
        report = _line if headless and not made else None
        view = viewer.Viewer(
            feed, VideoPipeline(pipeline, Tracker(smoothing)), made, window, on_message=warn, report=report
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            old = signal.signal(number, lambda *_: view.stop())
            stack.callback(signal.signal, number, old)
        view.run()
    if outputs.timeline:
        plot_timeline(people, outputs.timeline, feed.name)
    return 1 if view.lost else 0


def _line(result: Result, status: Status) -> None:
    faces = [f"#{face.id} {face.emotion}{'?' if face.uncertain else ''} {face.confidence:.0%}" for face in result.faces]
    told = [f"{result.frame.time:8.1f} s", ", ".join(faces) or "no face", *status.parts]
    out.print("   ".join(told), highlight=False, markup=False, soft_wrap=True)
