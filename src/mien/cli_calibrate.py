"""The command `calibrate`; mien.cli registers it."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

import mien
from mien.terminal import out, say, warn
from mien.types import ConfigError

if TYPE_CHECKING:
    from mien.calibrate import Take, Trial
    from mien.pipeline import Pipeline


def calibrate(
    source: str = "0",
    *,
    to: Annotated[Path, Parameter(name="--out")] = Path("calibration.json"),
    seconds: float = 4.0,
    headless: Annotated[bool, Parameter(negative=())] = False,
    detector: str = "yunet",
    model: str | None = None,
    force: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Adapt the model to one person and one camera by a guided recording of about a minute.

    You are asked twice for each emotion; what the model said then gives a small shift for each class, kept as JSON for
    `mien live --calibration FILE` and `mien video --calibration FILE`. No picture is kept. It adapts to how one person
    shows emotions on request, and not to what anybody feels. Leave out --calibration, or delete the file, to undo it.

    One round is fitted and the other one measured, both ways; where that brings too little nothing is written, and the
    exit code is 1.

    Parameters
    ----------
    source
        Number of a camera, URL of a stream, or a video file that was recorded by these prompts.
    to
        The JSON file to write.
    seconds
        For which each pose is recorded.
    headless
        No window: the prompts come on the terminal.
    detector
        yunet, haar or mtcnn.
    model
        Name of a shipped model, names joined by + (their mean, over the mirror image too), or an ONNX file.
    force
        Write the file even where it does not help.
    """
    from mien import calibrate as calibration

    if to.suffix.lower() != ".json" or to.is_dir():
        raise ConfigError(f"{to}: no name for the calibration; let it end in .json")
    folder = next(each for each in to.absolute().parents if each.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK)):  # better now than after the recording
        raise ConfigError(f"{to}: {folder} is no folder of yours to write to; choose another place")
    pipeline = mien.load(model=model, detector=detector)
    try:
        takes, camera = _record(source, pipeline, seconds, headless)
    except KeyboardInterrupt:
        takes = None
    if takes is None:
        warn("stopped; nothing was written")
        return 130
    labels = pipeline.classifier.labels
    shifts, trial = calibration.fit(takes, labels), calibration.trial(takes, labels)
    out.print(_table(trial, shifts))
    if not (trial.helps or force):
        say(f"This would not help enough, so nothing was written; --force writes {to} all the same.")
        return 1
    calibration.Calibration(
        shifts,
        sha256=getattr(pipeline.classifier, "sha256", ""),
        model=getattr(pipeline.classifier, "name", ""),
        date=date.today().isoformat(),
        camera=camera,
        frames=sum(len(take.probabilities) for take in takes),
    ).write(to)
    say(f"wrote {to}; it is used by: mien live --calibration {to}")
    return 0


def _record(source: str, pipeline: Pipeline, seconds: float, headless: bool) -> tuple[list[Take] | None, str]:
    """What the guide brings, None when it was stopped, and the name of the camera."""
    from mien import session
    from mien.guide import Guide
    from mien.window import Window

    with ExitStack() as stack:
        window = None if headless else stack.enter_context(Window("mien calibrate"))
        feed = stack.enter_context(closing(session.source(source)))
        guide = Guide(feed, pipeline, seconds, window, warn)
        warn(
            f"{len(guide.prompts)} poses, {guide.prompts[-1].end:.0f} s in all. This adapts mien to how you show "
            "emotions on request; no picture is kept."
        )
        takes = guide.run()
    if guide.crowded:
        warn(f"{guide.crowded} frames had more than one face; the largest one counted")
    return takes, feed.name


def _table(trial: Trial, shifts: dict[str, float]) -> Table:
    title = "right in the round that the fit has not seen, in %"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("asked for")
    for name in ("before", "after", "shift of the logit"):
        table.add_column(name, justify="right")
    for label, shift in shifts.items():
        shares = (f"{100 * part[label]:.0f}" for part in (trial.before, trial.after))
        table.add_row(escape(label), *shares, f"{shift:+.2f}")
    table.add_row("mean", f"{100 * trial.accuracy_before:.1f}", f"{100 * trial.accuracy_after:.1f}", "")
    table.add_row("cross-entropy", f"{trial.loss_before:.2f}", f"{trial.loss_after:.2f}", "")
    return table
