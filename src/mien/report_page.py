"""The page of an evaluation: figures, plots, mistakes, data, recipe and machine in one HTML file that loads nothing.

Plots are SVG inside the page, drawn in the colour of its text, so that they can be read on a light and a dark ground.
"""

from __future__ import annotations

import base64
import importlib.metadata
import io
import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import jinja2
import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mien import files
from mien.metrics import Report
from mien.report import confusion_figure, robustness_figure

_BLUE, _ORANGE, _GREEN = "#0072B2", "#D55E00", "#009E73"
_NAMESPACES = re.compile(r' xmlns(:\w+)?="[^"]*"')
_IDS = re.compile(r'(\bid="|href="#|url\(#)')


@dataclass(frozen=True, slots=True)
class Mistake:
    """A wrong answer.

    Attributes:
        image: uint8 (48, 48), gray.
        name: of the file.
        truth: the label.
        answer: what the model said.
        confidence: how probable it found its answer, 0..1.
    """

    image: NDArray[np.uint8]
    name: str
    truth: str
    answer: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Page:
    """What the page shows.

    Attributes:
        model: name of the model.
        data: name of the data set.
        split: that was measured.
        reports: view -> report; the first is the main one.
        mistakes: of the main view, the most confident first.
        counts: split -> label -> number of pictures.
        remarks: what else is known of the data, by name.
        metadata: of the model file, as text; `recipe` and `data` are JSON objects there.
        robustness: what `Robustness.to_dict` gives, or None when it was not measured.
    """

    model: str
    data: str
    split: str
    reports: Mapping[str, Report]
    mistakes: Sequence[Mistake] = ()
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    remarks: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    robustness: Mapping[str, Any] | None = None


def mistakes(
    images: NDArray[np.uint8],
    names: Sequence[str],
    truth: NDArray[np.int64],
    probabilities: NDArray[Any],
    labels: Sequence[str],
    count: int = 24,
) -> list[Mistake]:
    """The wrong answers that the model was surest of.

    Args:
        images: uint8 (N, 48, 48).
        names: N file names.
        truth: int (N,), 0..C-1.
        probabilities: float (N, C).
        labels: C names.
        count: how many at most.
    """
    top, answer = probabilities.max(axis=1), probabilities.argmax(axis=1)
    wrong = np.flatnonzero(answer != truth)
    chosen = wrong[np.argsort(-top[wrong], kind="stable")][:count]
    return [
        Mistake(images[i], str(names[i]), labels[int(truth[i])], labels[int(answer[i])], float(top[i])) for i in chosen
    ]


def environment() -> dict[str, str]:
    """Versions and machine on which the figures were made."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for name in ("mien", "onnxruntime", "numpy", "matplotlib"):
        with suppress(importlib.metadata.PackageNotFoundError):  # another wheel of the same library, or a source tree
            found[name] = importlib.metadata.version(name)
    found["cv2"] = cv2.__version__
    return found | {"processor": _processor(), "cores": str(os.cpu_count())}


def write_html(page: Page, path: str | os.PathLike[str]) -> None:
    """Write the page; it appears whole or not at all, and missing folders are made.

    Args:
        page: what it shows; names may hold any text.
        path: of the HTML file.

    Raises:
        DataError: robustness without corruptions.
        OSError: the file cannot be written.
    """
    loader = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = loader.from_string(Path(__file__).with_name("report.html").read_text("utf-8"))
    main = next(iter(page.reports.values()))
    # The text stays text: it can be searched, and needs no outlines of letters. A $ in a name is no formula.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "mien", "text.parse_math": False}):
        plots = {view: _plots(view, report) for view, report in page.reports.items()}
        shaken = page.robustness and _svg(robustness_figure({page.model: page.robustness}), "accuracy under corruption")
    html = template.render(
        page=page, main=main, plots=plots, shaken=shaken, environment=environment(),
        recipe=_object(page.metadata.get("recipe")), origin=_object(page.metadata.get("data")),
        facts={key: value for key, value in page.metadata.items() if key not in ("recipe", "data", "labels")},
        faces=[(each, _png(each.image)) for each in page.mistakes],
    )  # fmt: skip
    files.write_text(path, html)


def _plots(view: str, report: Report) -> dict[str, Markup]:
    figures = {
        "Confusion matrix": confusion_figure(report),
        "Classes": _classes(report),
        "Reliability": _reliability(report),
        "Risk and coverage": _risk(report),
    }
    return {heading: _svg(figure, f"{heading} of {view}") for heading, figure in figures.items()}


def _classes(report: Report) -> Figure:
    figure, axes = _figure(5.2, 4.2)
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
    figure, axes = _figure(5.2, 4.2)
    rows = report.reliability
    lows, widths = [row["low"] for row in rows], [row["high"] - row["low"] for row in rows]
    bars = [row["accuracy"] for row in rows]
    axes.bar(lows, bars, widths, align="edge", color=_BLUE, alpha=0.75, edgecolor="none", label="right answers")
    shares = [row["count"] / report.n for row in rows]
    axes.plot(
        [row["confidence"] for row in rows], shares, color=_ORANGE, marker="o", markersize=3, label="share of all"
    )
    axes.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1, label="perfectly calibrated")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence of the answer", ylabel="share")
    title = f"ECE {report.ece:.3f}"
    if report.temperature != 1:
        title += f"; {report.ece_before:.3f} before the temperature {report.temperature:g}"
    axes.set_title(title, fontsize=10)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def _risk(report: Report) -> Figure:
    figure, axes = _figure(5.2, 4.2)
    curve = report.risk_coverage
    coverage, risk = ([100 * value for value in curve[key]] for key in ("coverage", "risk"))
    axes.plot(coverage, risk, color=_BLUE)
    if report.uncertain_below > 0 and report.answered_accuracy is not None:
        wrong = 1 - report.answered_accuracy
        text = f"uncertain below {report.uncertain_below:.2f}"
        axes.plot([100 * report.answered], [100 * wrong], color=_ORANGE, marker="o", linestyle="none", label=text)
        axes.axvline(100 * report.answered, color=_ORANGE, linewidth=1, linestyle=":")
        axes.legend(loc="upper left", frameon=False)
    axes.set(xlim=(0, 100), xlabel="answers given, the surest first, %", ylabel="wrong among them, %")
    axes.set_ylim(0, max([*risk, 1.0]) * 1.15)
    axes.set_title(f"area under the curve {report.aurc:.3f}", fontsize=10)
    axes.grid(alpha=0.3)
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Figure, title: str) -> Markup:
    """The figure as an element of the page: no ground of its own, black as the page's text, ids that are its own."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = _NAMESPACES.sub("", text).replace("#000000", "currentColor")
    own = f"{re.sub(r'[^a-z0-9]+', '-', title.lower())}-"
    text = _IDS.sub(lambda found: found[1] + own, text)
    return Markup(text.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1))


def _png(image: NDArray[np.uint8]) -> str:
    packed = cv2.imencode(".png", image)[1]
    return "data:image/png;base64," + base64.b64encode(packed.tobytes()).decode("ascii")


def _object(text: str | None) -> dict[str, str]:
    """A JSON object as text by name; empty when it is none."""
    try:
        values = json.loads(text or "{}")
    except ValueError:
        return {}
    if not isinstance(values, dict):
        return {}
    return {str(key): value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}


def _processor() -> str:
    """Name of the processor; Linux tells only in a file."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), "") or platform.processor() or platform.machine()
