"""Pictures of an evaluation, a training run and a data set, as PNG files.

Drawn with matplotlib's Agg canvas, without pyplot: no window, no global state. A file appears whole or not at all, and
missing folders are made.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mien.metrics import Report
from mien.types import DataError

_DPI = 120
_GAP = 2


def confusion_png(report: Report, path: str | os.PathLike[str]) -> None:
    """Draw the confusion matrix: counts and the share of each true class; colour by share.

    Args:
        report: of `mien.metrics.evaluate`.
        path: of the PNG to write.

    Raises:
        OSError: the file cannot be written.
    """
    counts = np.asarray(report.confusion, np.int64)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.85 * len(report.labels)
    figure = _figure(side + 0.6, side)
    axes = figure.subplots()
    picture = axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    for (row, column), count in np.ndenumerate(counts):
        value = float(share[row, column])
        colour = "white" if value > 0.55 else "black"
        axes.text(column, row, f"{count}\n{value:.0%}", ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(report.labels)), report.labels, rotation=30, ha="right")
    axes.set_yticks(range(len(report.labels)), report.labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    low, high = report.interval
    numbers = f"accuracy {report.accuracy:.1%} ({low:.1%} to {high:.1%}), n = {report.n:,}"
    axes.set_title(f"{report.name}\n{numbers}" if report.name else numbers, fontsize=10)
    figure.colorbar(picture, ax=axes, fraction=0.046, label="share of the true class")
    _save(figure, path)


def curves_png(rows: Sequence[Mapping[str, float]], path: str | os.PathLike[str]) -> None:
    """Draw loss and accuracy over the epochs, training and validation.

    Args:
        rows: one for each epoch, with epoch, train_loss, train_accuracy, val_loss, val_accuracy (accuracies 0..1) and
            optionally stage; a thin line stands where the stage changes. When the epochs do not rise (each stage counts
            its own), the rows are numbered from 1 instead.
        path: of the PNG to write.

    Raises:
        DataError: no rows, or a row without one of the values.
        OSError: the file cannot be written.
    """
    if not rows:
        raise DataError("the training log is empty: there is nothing to draw")
    try:
        epochs = [float(row["epoch"]) for row in rows]
        series = {
            f"{part}_{kind}": [float(row[f"{part}_{kind}"]) for row in rows]
            for part in ("train", "val")
            for kind in ("loss", "accuracy")
        }
    except KeyError as error:
        raise DataError(f"the training log has an epoch without {error}: write all values in every row") from error
    if any(b <= a for a, b in pairwise(epochs)):
        epochs = [float(i) for i in range(1, len(rows) + 1)]
    stages = [row.get("stage") for row in rows]
    borders = [(epochs[i - 1] + epochs[i]) / 2 for i in range(1, len(rows)) if stages[i] != stages[i - 1]]
    figure = _figure(10.0, 4.0)
    left, right = figure.subplots(1, 2)
    for axes, kind, title, scale in ((left, "loss", "loss", 1.0), (right, "accuracy", "accuracy, %", 100.0)):
        lines = {part: [scale * v for v in series[f"{part}_{kind}"]] for part in ("train", "val")}
        _panel(axes, epochs, lines, borders, title)
    _save(figure, path)


def montage(groups: Mapping[str, NDArray[np.uint8]], path: str | os.PathLike[str]) -> None:
    """Draw samples of each class, a row for each, with its name at the left.

    Args:
        groups: name -> uint8 (K, H, W) gray crops, usually 48 x 48 and of one size; K may differ and may be 0.
        path: of the PNG to write.

    Raises:
        DataError: no picture at all, or another dtype, rank or mixed sizes.
        OSError: the file cannot be written.
    """
    if not any(len(images) for images in groups.values()):
        raise DataError("there are no pictures to show")
    for name, images in groups.items():
        if images.ndim != 3 or images.dtype != np.uint8:
            raise DataError(f"{name}: {images.dtype} of shape {images.shape}: give uint8 (K, H, W)")
    sizes = {images.shape[1:] for images in groups.values()}
    if len(sizes) != 1:
        raise DataError(f"the pictures have different sizes {sorted(sizes)}: give one size")
    height, width = sizes.pop()
    columns = max(len(images) for images in groups.values())
    canvas = np.full((len(groups) * (height + _GAP), columns * (width + _GAP)), 255, np.uint8)
    for row, images in enumerate(groups.values()):
        for column, image in enumerate(images):
            y, x = row * (height + _GAP), column * (width + _GAP)
            canvas[y : y + height, x : x + width] = image
    figure = _figure(1.2 + canvas.shape[1] / 60, 0.3 + canvas.shape[0] / 60)
    axes = figure.subplots()
    axes.imshow(canvas, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([row * (height + _GAP) + height / 2 for row in range(len(groups))], list(groups))
    axes.tick_params(length=0)
    axes.set_frame_on(False)
    _save(figure, path)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _panel(
    axes: Axes, epochs: Sequence[float], lines: Mapping[str, Sequence[float]], borders: Sequence[float], title: str
) -> None:
    """One panel of `curves_png`; a single epoch shows as a point."""
    marker = "o" if len(epochs) == 1 else None
    axes.plot(epochs, lines["train"], color="tab:blue", linestyle="--", marker=marker, label="training")
    axes.plot(epochs, lines["val"], color="tab:orange", marker=marker, label="validation")
    for i, border in enumerate(borders):
        axes.axvline(border, color="gray", linewidth=0.6, label="next stage" if i == 0 else None)
    axes.set_xlabel("epoch")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend()


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write beside the goal, then rename over it; leaves nothing behind on failure."""
    goal = Path(path)
    goal.parent.mkdir(parents=True, exist_ok=True)
    draft = goal.with_name(f".{goal.name}.{uuid4().hex}.tmp")
    try:
        figure.savefig(draft, format="png")
        os.replace(draft, goal)
    finally:
        draft.unlink(missing_ok=True)
