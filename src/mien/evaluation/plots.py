"""Plots of an evaluation, a training run, a data set and a timeline, as PNG files.

Drawn with matplotlib's Agg canvas, without pyplot: no window, no global state. A file appears whole or not at all, and
missing folders are made.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mien.draw import COLOURS
from mien.errors import DataError
from mien.evaluation.metrics import Report
from mien.media import atomic
from mien.sinks import Timeline

_PEOPLE, _PIECES = 6, 600  # of a timeline
_GAP = 2  # pixels between the images of a montage
_COLUMNS = 5  # of panels

_CURVES = ("train_loss", "val_loss", "train_accuracy", "val_accuracy")
_LINES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#56B4E9", "v"), ("black", "x"))
"""Colours and markers of several models; the colours are from the palette of Okabe and Ito (2008)."""


def confusion_png(report: Report, path: str | os.PathLike[str]) -> None:
    _save(confusion_figure(report), path)


def confusion_figure(report: Report) -> Figure:
    """Draw counts, and in numbers and colour the share of each true class."""
    counts = np.asarray(report.confusion, np.int64)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.85 * len(report.labels)
    figure = new_figure(side + 0.6, side)
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    for (row, column), count in np.ndenumerate(counts):
        value = float(share[row, column])
        colour = "white" if value > 0.55 else "0.1"
        axes.text(column, row, f"{count}\n{value:.0%}", ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(report.labels)), report.labels, rotation=30, ha="right")
    axes.set_yticks(range(len(report.labels)), report.labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    low, high = report.interval
    numbers = f"accuracy {report.accuracy:.1%} ({low:.1%} to {high:.1%}), n = {report.n:,}"
    axes.set_title(f"{report.name}\n{numbers}" if report.name else numbers, fontsize=10)
    figure.colorbar(image, ax=axes, fraction=0.046, label="share of the true class")
    return figure


def curves_png(rows: Sequence[Mapping[str, float]], path: str | os.PathLike[str]) -> None:
    """Draw loss and accuracy over the epochs, training and validation, see `curves_figure`."""
    _save(curves_figure(rows), path)


def curves_figure(rows: Sequence[Mapping[str, float]], start: float | None = None) -> Figure:
    """Draw loss and accuracy over the epochs, training and validation.

    `start`, 0..1, is the validation accuracy before the first epoch. Each row has epoch, train_loss, train_accuracy,
    val_loss, val_accuracy (accuracies 0..1) and optionally stage, whose changes thin lines mark. If the epochs do not
    rise (each stage counts its own), rows are numbered from 1.
    """
    if not rows:
        raise DataError("the training log is empty: there is nothing to draw")
    try:
        epochs = [float(row["epoch"]) for row in rows]
        series = {name: [float(row[name]) for row in rows] for name in _CURVES}
    except KeyError as error:
        raise DataError(f"the training log has an epoch without {error}: write all values in every row") from error
    if any(b <= a for a, b in pairwise(epochs)):
        epochs = [float(i) for i in range(1, len(rows) + 1)]
    stages = [row.get("stage") for row in rows]
    borders = [(epochs[i - 1] + epochs[i]) / 2 for i in range(1, len(rows)) if stages[i] != stages[i - 1]]
    figure = new_figure(10.0, 4.0)
    for axes, kind, scale in zip(figure.subplots(1, 2), ("loss", "accuracy"), (1.0, 100.0), strict=True):
        for part, label, style in (("train", "training", "--"), ("val", "validation", "-")):
            values, marker = [scale * v for v in series[f"{part}_{kind}"]], "o" if len(rows) == 1 else None
            axes.plot(epochs, values, linestyle=style, marker=marker, label=label)
        for k, border in enumerate(borders):
            axes.axvline(border, color="gray", linewidth=0.6, label=None if k else "next stage")
        if start is not None and kind == "accuracy":
            axes.axhline(scale * start, color="gray", linestyle=":", label="validation before")
        axes.set(xlabel="epoch", title=kind if kind == "loss" else "accuracy, %")
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def montage(groups: Mapping[str, NDArray[np.uint8]], path: str | os.PathLike[str]) -> None:
    """Draw a row of samples for each class: name -> uint8 gray (K, H, W), all of one size; K may be 0."""
    if not any(len(images) for images in groups.values()):
        raise DataError("there are no images to show")
    for name, images in groups.items():
        if images.ndim != 3 or images.dtype != np.uint8:
            raise DataError(f"{name}: {images.dtype} of shape {images.shape}: give uint8 (K, H, W)")
    if len(sizes := {images.shape[1:] for images in groups.values()}) > 1:
        raise DataError(f"the images have different sizes {sorted(sizes)}: give one size")
    ((height, width),) = sizes
    columns = max(len(images) for images in groups.values())
    rows = [
        np.pad(images, ((0, columns - len(images)), (0, _GAP), (0, _GAP)), constant_values=255)
        .transpose(1, 0, 2).reshape(height + _GAP, columns * (width + _GAP))
        for images in groups.values()
    ]  # fmt: skip
    canvas = np.concatenate(rows)
    figure = new_figure(1.2 + canvas.shape[1] / 60, 0.3 + canvas.shape[0] / 60)
    axes = figure.subplots()
    axes.imshow(canvas, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([row * (height + _GAP) + height / 2 for row in range(len(groups))], list(groups))
    axes.tick_params(length=0, labelsize=7)
    axes.set_frame_on(False)
    _save(figure, path)


def robustness_png(models: Mapping[str, Mapping[str, Any]], path: str | os.PathLike[str]) -> None:
    _save(robustness_figure(models), path)


def robustness_figure(models: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw accuracy over severity, a panel for each corruption and a line for each model; severity 0 is clean.

    `models` maps names to `Robustness.to_dict()`, all measured on the same corruptions.
    """
    names = list(next(iter(models.values()))["accuracy"]) if models else []
    if not names or any(list(model["accuracy"]) != names for model in models.values()):
        raise DataError("give one model or more, all measured on the same corruptions")
    rows, columns = -(-len(names) // _COLUMNS), min(_COLUMNS, len(names))
    figure = new_figure(2.3 * columns, 2.0 * rows + 0.5)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, corruption in zip(panels.flat, names, strict=False):
        for number, (name, model) in enumerate(models.items()):
            values = [100 * v for v in (model["clean"], *model["accuracy"][corruption])]
            colour, marker = _LINES[number % len(_LINES)]
            axes.plot(values, color=colour, marker=marker, markersize=3, linewidth=1.2, label=name)
        axes.set_title(corruption, fontsize=9)
        axes.set_xticks(range(len(values)))
        axes.grid(alpha=0.3)
    for axes in panels.flat[len(names) :]:
        axes.set_axis_off()
    figure.supxlabel("severity", fontsize=9)
    figure.supylabel("accuracy, %", fontsize=9)
    _legend(figure, panels[0, 0])
    return figure


def timeline(faces: Timeline, path: str | os.PathLike[str]) -> None:
    """Draw each person's emotions over time: stacked probabilities and, below, the emotion that was shown.

    Draws up to six people, those seen longest, as PNG or, by the suffix, SVG.
    """
    tracks = faces.summary()
    people = sorted(sorted(tracks, key=lambda track: -track.seconds)[:_PEOPLE], key=lambda track: track.first)
    if not people:
        raise DataError("no face was seen: there is nothing to draw")
    colours = _colours(faces.labels)
    figure = new_figure(10.0, 0.9 + 1.5 * len(people))
    panels = figure.subplots(len(people), 1, sharex=True, squeeze=False)[:, 0]
    for axes, track in zip(panels, people, strict=True):
        part = faces.columns(track.id, _PIECES)
        edges, means, states = part.edges, part.means, part.states
        floor = np.zeros(len(means))
        for k, name in enumerate(faces.labels):
            axes.stairs(floor + means[:, k], edges, baseline=floor, fill=True, color=colours[name], label=name)
            floor = floor + np.nan_to_num(means[:, k])
        for k, name in [*enumerate(faces.labels), (-1, "uncertain")]:
            strip = np.where(states == k, -0.05, np.nan)
            colour = colours.get(name, "lightgray")
            axes.stairs(strip, edges, baseline=-0.2, fill=True, color=colour, label=None if k >= 0 else name)
        axes.set(xlim=(edges[0], edges[-1]), ylim=(-0.2, 1.0))
        axes.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
        axes.set_ylabel("faces" if track.id is None else f"person {track.id}")
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("time, s")
    _legend(figure, panels[0])
    if len(people) < len(tracks):
        figure.suptitle(f"the {len(people)} of {len(tracks)} people that were seen longest", fontsize=10)
    _save(figure, path)


def _colours(labels: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Return a colour for each label, RGB 0..1: that of the emotion, or the next of 20 for classes of other names."""
    others = [name for name in labels if name not in COLOURS]
    own = {name: tuple(v / 255 for v in reversed(COLOURS[name])) for name in labels if name in COLOURS}
    return own | {name: tuple(mpl.colormaps["tab20b"](k % 20)[:3]) for k, name in enumerate(others)}


def new_figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(8, len(labels)), frameon=False)


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    with atomic.draft(path) as place:
        figure.savefig(place, format="svg" if Path(path).suffix.lower() == ".svg" else "png")
