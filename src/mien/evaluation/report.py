"""The page of an evaluation: figures, plots, mistakes, data, recipe and machine.

Plots are inline SVG in the colour of the page's text, so that they are legible on a light and a dark background.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mien.evaluation.html import environment, inline_png, inline_svg, json_object, write_page
from mien.evaluation.matrix import Matrix
from mien.evaluation.metrics import Report
from mien.evaluation.plots import confusion_figure, new_figure, robustness_figure
from mien.evaluation.views import Answers

_BLUE, _ORANGE, _GREEN = "#0072B2", "#D55E00", "#009E73"


@dataclass(frozen=True, slots=True)
class Mistake:
    """A wrong prediction; `image` is uint8 gray (48, 48), `confidence` its probability, 0..1."""

    image: NDArray[np.uint8]
    name: str
    truth: str
    answer: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Page:
    """What the page shows; names may hold any text.

    Attributes:
        reports: view -> report; the first one is the main view.
        mistakes: of the main view.
        confusions: (label, prediction) -> mistakes of the main view.
        counts: split -> label -> number of images.
        remarks: other facts about the data, by name.
        metadata: of the model file; `recipe` and `data` are JSON objects.
        robustness: `Robustness.to_dict()`, or None when it was not measured.
        matrix: several models on several sets, or None.
    """

    model: str
    data: str
    split: str
    reports: Mapping[str, Report]
    mistakes: Sequence[Mistake] = ()
    confusions: Mapping[tuple[str, str], Sequence[Mistake]] = field(default_factory=dict)
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    remarks: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    robustness: Mapping[str, Any] | None = None
    matrix: Matrix | None = None


def mistakes(answers: Answers, count: int = 24) -> list[Mistake]:
    """Return at most `count` wrong predictions, the most confident first."""
    return _mistakes(answers, np.flatnonzero(~answers.right), count)


def confusions(answers: Answers, count: int = 8) -> dict[tuple[str, str], list[Mistake]]:
    """Return at most `count` wrong predictions for each pair (label, prediction), the most confident first."""
    labels, prediction = answers.faces.labels, answers.probabilities.argmax(axis=1)
    found = {}
    for (t, truth), (p, answer) in product(enumerate(labels), enumerate(labels)):
        wrong = np.flatnonzero((answers.faces.targets == t) & (prediction == p)) if t != p else np.zeros(0, np.int64)
        if len(wrong):
            found[truth, answer] = _mistakes(answers, wrong, count)
    return found


def _mistakes(answers: Answers, wrong: NDArray[np.int64], count: int) -> list[Mistake]:
    faces, probabilities = answers.faces, answers.probabilities
    top, prediction = probabilities.max(axis=1), probabilities.argmax(axis=1)
    return [
        Mistake(
            faces.images[i], str(faces.names[i]), faces.labels[faces.targets[i]], faces.labels[prediction[i]],
            float(top[i]),
        )
        for i in wrong[np.argsort(-top[wrong], kind="stable")][:count]
    ]  # fmt: skip


def write_html(page: Page, path: str | os.PathLike[str]) -> None:
    """Write the page; it appears whole or not at all, and missing folders are made."""
    # Text stays text: it can be searched and needs no outlines of letters. A $ in a name starts no formula.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "mien", "text.parse_math": False}):
        plots = {view: _plots(view, report) for view, report in page.reports.items()}
        robustness = page.robustness and inline_svg(
            robustness_figure({page.model: page.robustness}), "accuracy under corruption"
        )
    write_page(
        path, "report.html", page=page, main=next(iter(page.reports.values())), plots=plots, robustness=robustness,
        environment=environment(), recipe=json_object(page.metadata.get("recipe")),
        origin=json_object(page.metadata.get("data")),
        facts={key: value for key, value in page.metadata.items() if key not in ("recipe", "data", "labels")},
        faces=[(mistake, inline_png(mistake.image)) for mistake in page.mistakes],
        cells={pair: [(m, inline_png(m.image)) for m in found] for pair, found in page.confusions.items()},
    )  # fmt: skip


def _plots(view: str, report: Report) -> dict[str, Markup]:
    figures = {
        "Confusion matrix": confusion_figure(report),
        "Classes": _classes(report),
        "Reliability": _reliability(report),
        "Risk and coverage": _risk(report),
    }
    return {heading: inline_svg(figure, f"{heading} of {view}") for heading, figure in figures.items()}


def _classes(report: Report) -> Figure:
    figure, axes = _figure()
    places = np.arange(len(report.labels))
    for k, (key, colour) in enumerate((("precision", _BLUE), ("recall", _ORANGE), ("f1", _GREEN))):
        values = [100 * report.per_class[label][key] for label in report.labels]
        bars = axes.bar(places + (k - 1) * 0.27, values, 0.25, color=colour, label=key.replace("f1", "F1"))
        axes.bar_label(bars, fmt="%.0f", fontsize=7, padding=1)
    axes.set_xticks(places, [f"{label}\n{report.per_class[label]['support']:,}" for label in report.labels])
    axes.set_ylim(0, 105)
    axes.set_ylabel("%")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


def _reliability(report: Report) -> Figure:
    figure, axes = _figure()
    rows = report.reliability
    lows, widths = [row["low"] for row in rows], [row["high"] - row["low"] for row in rows]
    bars = [row["accuracy"] for row in rows]
    axes.bar(lows, bars, widths, align="edge", color=_BLUE, alpha=0.75, edgecolor="none", label="accuracy")
    shares = [row["count"] / report.n for row in rows]
    axes.plot(
        [row["confidence"] for row in rows],
        shares,
        color=_ORANGE,
        marker="o",
        markersize=3,
        label="share of predictions",
    )
    axes.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1, label="perfectly calibrated")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="share")
    title = f"ECE {report.ece:.3f}"
    if report.temperature != 1:
        title += f"; {report.ece_before:.3f} before the temperature {report.temperature:g}"
    axes.set_title(title, fontsize=10)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def _risk(report: Report) -> Figure:
    figure, axes = _figure()
    curve = report.risk_coverage
    coverage, risk = ([100 * value for value in curve[key]] for key in ("coverage", "risk"))
    axes.plot(coverage, risk, color=_BLUE)
    if report.confidence_threshold > 0 and report.covered_accuracy is not None:
        wrong = 1 - report.covered_accuracy
        text = f"uncertain below {report.confidence_threshold:.2f}"
        axes.plot([100 * report.coverage], [100 * wrong], color=_ORANGE, marker="o", linestyle="none", label=text)
        axes.axvline(100 * report.coverage, color=_ORANGE, linewidth=1, linestyle=":")
        axes.legend(loc="upper left", frameon=False)
    axes.set(xlim=(0, 100), xlabel="coverage (most confident first), %", ylabel="error, %")
    axes.set_ylim(0, max([*risk, 1.0]) * 1.15)
    axes.set_title(f"area under the curve {report.aurc:.3f}", fontsize=10)
    axes.grid(alpha=0.3)
    return figure


def _figure() -> tuple[Figure, Any]:
    figure = new_figure(5.2, 4.2)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
