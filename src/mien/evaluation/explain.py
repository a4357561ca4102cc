"""Occlusion maps: how much of a label's probability is lost where a patch hides the face.

The method is Zeiler and Fergus's ("Visualizing and Understanding Convolutional Networks", 2014). It needs predictions
only, no gradients, so it works on any classifier.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from mien.draw import draw
from mien.draw.palette import face_colour
from mien.draw.panel import Panel, face_panel, fit, paint
from mien.draw.scale import fit_size, transform
from mien.errors import ConfigError, DataError
from mien.media import atomic
from mien.types import Classifier, Face, Floats, Image, Result, label_columns

PATCH, STRIDE = 12, 4
"""Side of the patch and step between two patches, pixels of the crop; 12 covers an eye with its brow."""

_FOR, _AGAINST = (1, 97, 230), (153, 60, 94)  # BGR, orange and purple, the ends of ColorBrewer's PuOr
_SIDE, _GAP = 240, 12
_OVERVIEW = 960  # width of the numbered image in pixels
_LARGE = 4  # faces up to which the crops are drawn at full size


def occlusion_map(classifier: Classifier, crop: NDArray[np.uint8], label: str | None = None) -> Floats:
    """Return how much of a label's probability is lost where a patch of the crop's mean gray hides it.

    `crop` is uint8 gray (48, 48); the default label is the most probable one. The map is float32 (48, 48), -1..1, the
    mean over the patches that cover a pixel: above 0 the pixel speaks for the label, below 0 against it.
    """
    if crop.dtype != np.uint8 or crop.shape != (48, 48):
        raise ConfigError(f"the crop must be uint8 (48, 48), not {crop.dtype} {crop.shape}; see mien.faces.crop.crop")
    columns = label_columns(classifier.labels, [] if label is None else [label])
    # Patches also reach over the border, so that equally many cover each pixel; with fewer of them, a corner would look
    # as important as the eye beside it.
    starts = range(STRIDE - PATCH, 48, STRIDE)
    images = np.repeat(crop[None], 1 + len(starts) ** 2, axis=0)
    for image, (y, x) in zip(images[1:], product(starts, starts), strict=True):
        image[max(y, 0) : y + PATCH, max(x, 0) : x + PATCH] = np.rint(crop.mean())
    probabilities = classifier(images)
    column = columns[0] if columns else probabilities[0].argmax()
    drops = (probabilities[0, column] - probabilities[1:, column]).reshape(len(starts), -1)
    blocks = sliding_window_view(drops, (PATCH // STRIDE, PATCH // STRIDE)).mean((2, 3))
    return np.kron(blocks, np.ones((STRIDE, STRIDE))).astype(np.float32)


def write_explanation(result: Result, maps: Sequence[Mapping[str, Floats]], path: str | os.PathLike[str]) -> None:
    """Write a PNG image or, by the suffix of `path`, an HTML page: the image with numbered faces, then each face.

    `maps` has one mapping for each face, from labels to their occlusion maps. Orange speaks for the label, purple
    against it, on one scale for all maps.
    """
    if not result.faces or len(maps) != len(result.faces) or not all(maps):
        raise DataError(f"{len(maps)} maps for {len(result.faces)} faces: give at least one face and a map for each")
    limit = max(0.01, *(float(np.abs(values).max()) for each in maps for values in each.values()))
    if Path(path).suffix.lower() in (".html", ".htm"):
        from mien.evaluation import html

        faces = [
            (face, html.inline_png(crop), {k: html.inline_png(_overlay(crop, v, limit)) for k, v in each.items()})
            for face, crop, each in zip(result.faces, result.crops, maps, strict=True)
        ]
        overview = html.inline_png(_numbered(result, _OVERVIEW))
        html.write_page(
            path, "explain.html", name=Path(result.frame.name).name, limit=limit, faces=faces, overview=overview
        )
        return
    encoded = cv2.imencode(".png", _sheet(result, maps, limit))[1]
    with atomic.draft(path) as place:
        place.write_bytes(encoded.tobytes())


def _sheet(result: Result, maps: Sequence[Mapping[str, Floats]], limit: float) -> Image:
    """Return the numbered image, a cell for each face in as many columns as make it about square, and a legend."""
    side = _SIDE if len(maps) <= _LARGE else _SIDE // 2
    cells = [
        _cell(number, face, crop, each, limit, side)
        for number, (face, crop, each) in enumerate(zip(result.faces, result.crops, maps, strict=True), start=1)
    ]
    width, height = max(cell.shape[1] for cell in cells) + _GAP, cells[0].shape[0] + _GAP
    columns = max(1, round(math.sqrt(len(cells) * height / width)))
    rows = -(-len(cells) // columns)
    picture = _numbered(result, max(columns * width - _GAP, _OVERVIEW // 2))
    top = picture.shape[0] + 2 * _GAP
    total = max(columns * width + _GAP, picture.shape[1] + 2 * _GAP, 40 * _GAP)
    sheet = np.full((top + rows * height + 3 * _GAP, total, 3), 255, np.uint8)
    sheet[_GAP : _GAP + picture.shape[0], _GAP : _GAP + picture.shape[1]] = picture
    for k, cell in enumerate(cells):
        y, x = top + k // columns * height, _GAP + k % columns * width
        sheet[y : y + cell.shape[0], x : x + cell.shape[1]] = cell
    text = f"orange: for the emotion, purple: against it; full colour: {100 * limit:.0f} percentage points"
    paint(sheet, fit(Panel((text,), 10.0), sheet[:, 2 * _GAP :]), (_GAP, sheet.shape[0] - 3 * _GAP), _FOR)
    return sheet


def _cell(
    number: int, face: Face, crop: NDArray[np.uint8], maps: Mapping[str, Floats], limit: float, side: int
) -> Image:
    """Return the crop, its maps and its probabilities side by side, uint8 BGR (side, W, 3)."""
    cap = side * 0.055
    images = [(f"{number}", np.repeat(crop[..., None], 3, 2))]
    images += [(label, _overlay(crop, values, limit)) for label, values in maps.items()]
    panel = fit(face_panel(face, cap, "full", None), np.empty((side, 3 * side, 3), np.uint8))
    cell = np.full((side, len(images) * (side + _GAP // 2) + panel.size[0], 3), 255, np.uint8)
    for column, (name, image) in enumerate(images):
        x = column * (side + _GAP // 2)
        cell[:, x : x + side] = cv2.resize(image, (side, side), interpolation=cv2.INTER_NEAREST)
        paint(cell, Panel((name,), cap), (x, 0), face_colour(face))
    paint(cell, panel, (len(images) * (side + _GAP // 2), 0), face_colour(face))
    return cell


def _numbered(result: Result, most: int) -> Image:
    """Return the image, at most `most` pixels wide, with a number at each face, uint8 BGR."""
    image = result.frame.image
    size = fit_size(image, (min(most, image.shape[1]), 10**6))
    small = transform(result, size)
    numbered = [replace(face, id=number, probabilities={}) for number, face in enumerate(small.faces, start=1)]
    return draw(replace(small, faces=tuple(numbered)), style="labels")


def _overlay(crop: NDArray[np.uint8], values: Floats, limit: float) -> Image:
    """Return the crop under its map, uint8 BGR (48, 48, 3)."""
    share = values[..., None] / limit
    alpha = 0.75 * np.abs(share)
    mixed = (1 - alpha) * crop[..., None] + alpha * np.where(share > 0, _FOR, _AGAINST)
    return np.asarray(np.rint(mixed), np.uint8)
