"""The command `personalize`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import mien
from mien.cli import options
from mien.cli.console import count, echo, start, warn
from mien.cli.tables import personal_table
from mien.errors import ConfigError
from mien.media.output_paths import OutputPaths

if TYPE_CHECKING:
    from mien.personal.fit import Take, Trial
    from mien.pipeline import Pipeline


def personalize(
    source: str = "0",
    *,
    to: Annotated[Path, options.out("a JSON file")] = Path("profile.json"),
    seconds: float = 4.0,
    headless: options.Headless = False,
    data: options.OwnImages = (),
    detector: options.Detector = "yunet",
    model: options.Model = None,
    min_face: options.MinFace = None,
    min_score: options.MinScore = None,
    force: Annotated[bool, options.flag("Write the file even if it does not help.")] = False,
    quiet: options.Quiet = False,
) -> int:
    """Adapt the model to one person with a guided recording of about a minute, or with labelled images.

    You are asked twice for each emotion; the model's predictions give a small shift for each class, kept as JSON for
    `mien live --profile FILE` and `mien video --profile FILE`. No image is kept. The profile adapts to how one person
    shows emotions on request, not to what anybody feels. Leave out --profile, or delete the file, to undo it.

    The shifts fitted on one round are measured on the other, both ways; those of images by cross-validation, in which
    the images of a folder within a class stay together. If they help too little, nothing is written and the exit code
    is 1.

    Parameters
    ----------
    source
        Number of a camera, URL of a stream, or a video file that was recorded with these prompts.
    seconds
        Length of each pose.
    """
    from mien.personal import fit, prior

    clock = start(quiet)
    if len(data) > 1:
        raise ConfigError("--data takes one folder: a profile is for one person")
    OutputPaths([*(data or [source]), model]).file(to, what="a profile", suffixes=(".json",))
    pipeline = mien.load(model=model, detector=detector, min_face=min_face, min_score=min_score)
    labels = pipeline.classifier.labels
    if data:
        shifts, trial, frames = _fit_images(data, pipeline)
        camera, found = Path(data[0]).name, [count(frames, "image")]
    else:
        try:
            takes, camera = _record(source, pipeline, seconds, headless)
        except KeyboardInterrupt:
            takes = None
        if takes is None:
            warn("stopped; nothing was written")
            return 130
        shifts, trial = fit.fit(takes, labels), fit.trial(takes, labels)
        frames = sum(len(take.probabilities) for take in takes)
        found = [count(len(takes), "pose"), count(frames, "frame")]
    personal_table(trial, shifts).print()
    if not (trial.helps or force):
        echo(f"The profile would not help enough, so nothing was written; --force writes {to} anyway.")
        clock.summary(*found)
        return 1
    prior.PriorShift(
        shifts,
        sha256=getattr(pipeline.classifier, "sha256", ""),
        model=getattr(pipeline.classifier, "name", ""),
        date=date.today().isoformat(),
        camera=camera,
        frames=frames,
    ).write(to)
    echo(f"wrote {to}; use it with: mien live --profile {to}")
    clock.summary(*found)
    return 0


def _fit_images(data: Sequence[str], pipeline: Pipeline) -> tuple[dict[str, float], Trial, int]:
    """Return shifts, what they bring in cross-validation, and the number of images."""
    from mien.personal import images

    album = images.read_album(Path(data[0]), pipeline)
    if album.faceless:
        shown = ", ".join(album.faceless[:3]) + (", ..." if len(album.faceless) > 3 else "")
        warn(f"no face was found in {count(len(album.faceless), 'image')} ({shown}); left out")
    if album.unknown:
        warn(f"the model has no class {', '.join(album.unknown)}; left out")
    labels = pipeline.classifier.labels
    if missing := [label for label in labels if label not in album.labels]:
        warn(f"no image shows {', '.join(missing)}: left as the model has it")
    return images.fit(album, labels), images.cross_validate(album), len(album.truth)


def _record(source: str, pipeline: Pipeline, seconds: float, headless: bool) -> tuple[list[Take] | None, str]:
    """Return the takes, or None when the recording was stopped, and the name of the camera."""
    from mien.live import playback
    from mien.live.window import Window
    from mien.personal.recorder import Recorder

    with ExitStack() as stack:
        window = None if headless else stack.enter_context(Window("mien personalize"))
        feed = stack.enter_context(closing(playback.open_source(source)))
        recorder = Recorder(feed, pipeline, seconds, window, warn)
        warn(
            f"{len(recorder.prompts)} poses, {recorder.prompts[-1].end:.0f} s in all. This adapts mien to how you show "
            "emotions on request; no image is kept."
        )
        takes = recorder.run()
    if recorder.crowded:
        warn(f"{recorder.crowded} frames had more than one face; the largest one counted")
    return takes, feed.name
