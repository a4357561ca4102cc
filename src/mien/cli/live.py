"""The command `live`."""

from __future__ import annotations

import signal
from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING

import mien
from mien.cli import options
from mien.cli.console import count, echo, screen_for, start, warn
from mien.cli.profile import with_profile
from mien.cli.tally import Tally
from mien.cli.video import write_timeline

if TYPE_CHECKING:
    from mien.draw import Status
    from mien.types import Result


def live(
    source: str = "0",
    *,
    headless: options.Headless = False,
    outputs: options.Outputs = options.Outputs(),  # noqa: B008 (frozen)
    detector: options.Detector = "yunet",
    model: options.Model = None,
    min_face: options.MinFace = None,
    min_score: options.MinScore = None,
    profile: options.Profile = None,
    smoothing: options.Smoothing = 0.25,
    style: options.OverlayStyle = "panels",
    quiet: options.Quiet = False,
) -> int:
    """Watch a camera, a stream or a video file, always at its newest frame.

    Keys in the window: space pause, r record, s save image, f full screen, m mirror, t strip of the last 30 seconds, o
    next style, + and - smoothing, 1 to 9 other cameras, d next detector, c show the network's input, h help, q or Esc
    quit. Recordings and images go to the current folder. With `--headless` a line a second is printed unless there are
    output files, and Ctrl-C ends the run.

    Args:
        source: Number of a camera, URL of a stream, or a video file.
    """
    from mien import sinks
    from mien.draw import Overlay
    from mien.faces.detectors import load_detector
    from mien.faces.tracker import Tracker
    from mien.live import playback, viewer
    from mien.live.window import Window
    from mien.media.output_paths import OutputPaths
    from mien.sinks import Timeline
    from mien.video_pipeline import VideoPipeline

    clock = start(quiet)
    asked = OutputPaths([source, model, profile])
    open_sinks = outputs.ask_sinks(asked)
    plots = outputs.ask_plots(asked)
    copy = sinks.Video.ask(asked, outputs.save) if outputs.save else None
    tally = Tally()
    with ExitStack() as stack:
        window = None if headless else stack.enter_context(Window("mien"))
        pipeline = mien.load(model=model, detector=detector, min_face=min_face, min_score=min_score)
        pipeline = with_profile(pipeline, profile)
        made = open_sinks(stack, pipeline.classifier.labels)
        feed = stack.enter_context(closing(playback.open_source(source)))
        people = Timeline(pipeline.classifier.labels, any(plot.suffix.lower() == ".html" for plot in plots))
        made += [people] if plots else []
        if copy:
            made.append(stack.enter_context(sinks.Video(copy, Overlay(style=style), feed.rate)))
        report = _line if headless and not made else None
        view = viewer.Viewer(
            feed,
            VideoPipeline(pipeline, Tracker(smoothing)),
            [tally, *made],
            window,
            on_message=warn,
            report=report,
            mirror=feed.kind == "camera",
            style=style,
            open_camera=playback.open_source,
            load_detector=partial(load_detector, min_face=min_face, min_score=min_score),
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            old = signal.signal(number, lambda *_: view.stop())
            stack.callback(signal.signal, number, old)
        view.run()
    for path in plots:
        write_timeline(people, path, feed.name, outputs.save or source, outputs.min_seen)
    found = (count(tally.results, "frame"), count(tally.people, "person", "people"), f"{tally.failed:,} failed")
    clock.summary(*found, screen=screen_for(*outputs.on_stdout))
    return 1 if view.lost else 0


def _line(result: Result, status: Status) -> None:
    faces = [f"#{face.id} {face.emotion}{'?' if face.uncertain else ''} {face.confidence:.0%}" for face in result.faces]
    echo("   ".join([f"{result.frame.time:8.1f} s", ", ".join(faces) or "no face", *status.parts]))
