"""Pictures of an evaluation, a training run, a data set and an explanation, as PNG files.

Drawn with matplotlib's Agg canvas, without pyplot: no window, no global state. A file appears whole or not at all, and
missing folders are made.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mien import files
from mien.draw import COLOURS
from mien.metrics import Report
from mien.timeline import Timeline
from mien.types import DataError, Floats, Result

_DPI = 120
_PEOPLE = 6
_PIECES = 600
_GAP = 2
_COLUMNS = 5
_LINES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#56B4E9", "v"), ("black", "x"))
"""Colours and markers of several models; the colours are from the palette of Okabe and Ito (2008)."""


def confusion_png(report: Report, path: str | os.PathLike[str]) -> None:
    """Write `confusion_figure`.

    Args:
        report: of `mien.metrics.evaluate`.
        path: of the PNG to write.

    Raises:
        OSError: the file cannot be written.
    """
    _save(confusion_figure(report), path)


def confusion_figure(report: Report) -> Figure:
    """Draw the confusion matrix: counts and the share of each true class; colour by share."""
    counts = np.asarray(report.confusion, np.int64)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.85 * len(report.labels)
    figure = _figure(side + 0.6, side)
    axes = figure.subplots()
    picture = axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
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
    figure.colorbar(picture, ax=axes, fraction=0.046, label="share of the true class")
    return figure


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
    axes.tick_params(length=0, labelsize=7)
    axes.set_frame_on(False)
    _save(figure, path)


def robustness_png(models: Mapping[str, Mapping[str, Any]], path: str | os.PathLike[str]) -> None:
    """Write `robustness_figure`.

    Args:
        models: as there.
        path: of the PNG to write.

    Raises:
        DataError: as there.
        OSError: the file cannot be written.
    """
    _save(robustness_figure(models), path)


def robustness_figure(models: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw the accuracy over the severity, a panel for each corruption and a line for each model; severity 0 is clean.

    Args:
        models: name -> what `Robustness.to_dict` gives: clean, and accuracy, a mapping from corruption to accuracies.

    Raises:
        DataError: no models, or models that were measured on different corruptions.
    """
    names = list(next(iter(models.values()))["accuracy"]) if models else []
    if not names or any(list(model["accuracy"]) != names for model in models.values()):
        raise DataError("give one model or more, all measured on the same corruptions")
    rows, columns = -(-len(names) // _COLUMNS), min(_COLUMNS, len(names))
    figure = _figure(2.3 * columns, 2.0 * rows + 0.5)
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
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    return figure


def explanation_png(result: Result, maps: Sequence[Floats], path: str | os.PathLike[str]) -> None:
    """Draw a row for each face: the crop that the network saw, the map over it, the probabilities.

    Orange is what speaks for the answer and purple what speaks against it; where the map is near 0 the face stays gray.

    Args:
        result: of a pipeline, with at least one classified face.
        maps: one for each face, float32 (48, 48), as `mien.train.explain.explain` gives it.
        path: of the PNG to write.

    Raises:
        DataError: no faces, or another number of maps.
        OSError: the file cannot be written.
    """
    if not result.faces or len(maps) != len(result.faces):
        raise DataError(
            f"{len(maps)} maps for {len(result.faces)} faces: give one map for each face, and one face or more"
        )
    figure = _figure(8.6, 0.1 + 2.4 * len(maps))
    panels = figure.subplots(len(maps), 3, squeeze=False, width_ratios=(1, 1.2, 1))
    for (left, middle, right), face, crop, values in zip(panels, result.faces, result.crops, maps, strict=True):
        for axes in (left, middle):
            axes.imshow(crop, cmap="gray", vmin=0, vmax=255)
            axes.set_axis_off()
        left.set_title(f"{face.emotion}{'?' if face.uncertain else ''} {face.confidence:.0%}", fontsize=10)
        points = 100 * values
        limit = max(float(np.abs(points).max()), 1.0)
        over = middle.imshow(points, cmap="PuOr_r", vmin=-limit, vmax=limit, alpha=0.75 * np.abs(points) / limit)
        middle.set_title(f"{face.emotion}: what is lost where hidden", fontsize=10)
        figure.colorbar(over, ax=middle, fraction=0.046, label="percentage points")
        shares = [100 * p for p in face.probabilities.values()]
        bars = right.barh(list(face.probabilities), shares, color="tab:blue")
        right.bar_label(bars, fmt="%.0f %%", padding=2, fontsize=8)
        right.set_xlim(0, 118)
        right.set_xticks([])
        right.invert_yaxis()
        right.spines[["top", "right", "bottom"]].set_visible(False)
    _save(figure, path)


def timeline(seen: Timeline, path: str | os.PathLike[str]) -> None:
    """Draw how each person's emotions go over time: probabilities stacked to 1 and, below, the emotion that was shown.

    Up to six people, those seen longest; each column of the picture is the mean over its piece of time.

    Args:
        seen: what was gathered.
        path: of the PNG or, by its suffix, SVG to write.

    Raises:
        DataError: no face was seen.
        OSError: the file cannot be written.
    """
    people = sorted(seen.summary(), key=lambda track: -track.seconds)[:_PEOPLE]
    if not people:
        raise DataError("no face was seen: there is nothing to draw")
    people.sort(key=lambda track: track.first)
    paint = {name: [v / 255 for v in reversed(COLOURS.get(name, (0, 0, 0)))] for name in seen.labels}
    figure = _figure(10.0, 0.9 + 1.5 * len(people))
    panels = figure.subplots(len(people), 1, sharex=True, squeeze=False)[:, 0]
    for axes, track in zip(panels, people, strict=True):
        edges, table, states = _columns_of_time(seen, track.id)
        floor = np.zeros(len(table))
        for k, name in enumerate(seen.labels):
            axes.stairs(floor + table[:, k], edges, baseline=floor, fill=True, color=paint[name], label=name)
            floor = floor + np.nan_to_num(table[:, k])
        for k, name in [*enumerate(seen.labels), (-1, "uncertain")]:
            strip = np.where(states == k, -0.05, np.nan)
            colour = paint.get(name, "lightgray")
            axes.stairs(strip, edges, baseline=-0.2, fill=True, color=colour, label=None if k >= 0 else name)
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(-0.2, 1.0)
        axes.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
        axes.set_ylabel("faces" if track.id is None else f"person {track.id}")
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("time, s")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    if len(people) < len(seen.ids):
        figure.suptitle(f"the {len(people)} of {len(seen.ids)} people that were seen longest", fontsize=10)
    _save(figure, path)


def _columns_of_time(
    seen: Timeline, person: int | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Pieces of time: edges (K + 1,), mean probabilities (K, C), nan where absent, and shown states (K,), -2 there."""
    times, stands, states, table = seen.series(person)
    frame = float(np.median(stands)) or 1.0
    begin, end = seen.span
    end += frame
    count = int(np.clip(round((end - begin) / frame), 1, _PIECES))
    edges = np.linspace(begin, end, count + 1)
    first = np.clip(np.searchsorted(edges, times + 1e-9, side="right") - 1, 0, count - 1)
    after = np.clip(np.searchsorted(edges, times + stands - 1e-9, side="left"), first + 1, count)
    sums, votes = np.zeros((count, table.shape[1] + 1)), np.zeros((count, table.shape[1] + 1))
    for a, b, row, state in zip(first, after, table, states, strict=True):
        sums[a:b, :-1] += row
        sums[a:b, -1] += 1
        votes[a:b, state] += 1  # the last column is -1's
    seen_at = sums[:, -1] > 0
    means = np.full((count, table.shape[1]), np.nan)
    means[seen_at] = sums[seen_at, :-1] / sums[seen_at, -1:]
    best = votes.argmax(axis=1)
    best[best == table.shape[1]] = -1
    return edges, means, np.where(seen_at, best, -2)


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
    with files.draft(path) as place:
        figure.savefig(place, format="svg" if Path(path).suffix.lower() == ".svg" else "png")
