"""The page of a training run: curves, before and after, confusion and the worst mistakes; it loads nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import matplotlib as mpl

from mien.evaluation.html import environment, inline_png, inline_svg, write_page
from mien.evaluation.plots import confusion_figure, curves_figure
from mien.evaluation.report import mistakes
from mien.evaluation.views import Answers


@dataclass(frozen=True, slots=True)
class RunPage:
    """What the page of a run shows; names may hold any text.

    Attributes:
        name: of the model.
        epochs: rows of the log.
        outcome: sentences about the result.
        answers: model -> its answers on `images`; the last model is the one that was trained.
        images: what `answers` are about, in words.
        start: accuracy on the validation images before the first epoch, 0..1, if it was measured.
        recipe: settings by name.
        files: names of the files in the run's folder, with what they hold.
    """

    name: str
    epochs: Sequence[Mapping[str, float]]
    outcome: Sequence[str] = ()
    answers: Mapping[str, Answers] = field(default_factory=dict)
    images: str = ""
    start: float | None = None
    recipe: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


def write_run_page(page: RunPage, path: str | os.PathLike[str]) -> None:
    """Write the page; it appears whole or not at all."""
    reports = {name: answers.report() for name, answers in page.answers.items()}
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "mien", "text.parse_math": False}):
        curves = inline_svg(curves_figure(page.epochs, page.start), "loss and accuracy over the epochs")
        matrices = {
            name: inline_svg(confusion_figure(report), f"confusion matrix {number}")
            for number, (name, report) in enumerate(reports.items())
        }
    worst = mistakes(list(page.answers.values())[-1]) if page.answers else []
    write_page(
        path, "run.html", page=page, reports=reports, curves=curves, matrices=matrices,
        faces=[(mistake, inline_png(mistake.image)) for mistake in worst], environment=environment(),
        best=max(page.epochs, key=lambda row: (row["stage"], row["val_accuracy"]))["epoch"],
    )  # fmt: skip
