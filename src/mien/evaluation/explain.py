"""Occlusion maps: how much of a label's probability is lost where a patch hides the face.

The method is Zeiler and Fergus's ("Visualizing and Understanding Convolutional Networks", 2014). It needs predictions
only, no gradients, so it works on any classifier.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from mien.draw.palette import face_colour
from mien.draw.panel import Panel, face_panel, fit, paint
from mien.errors import ConfigError, DataError
from mien.media import atomic
from mien.types import Classifier, Floats, Image, Result, label_columns

PATCH, STRIDE = 12, 4
"""Side of the patch and step between two patches, pixels of the crop; 12 covers an eye with its brow."""

_FOR, _AGAINST = (1, 97, 230), (153, 60, 94)  # BGR, orange and purple, the ends of ColorBrewer's PuOr
_SIDE, _GAP = 240, 12


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


def write_explanation(result: Result, maps: Sequence[Floats], path: str | os.PathLike[str]) -> None:
    """Write a PNG image or, by the suffix of `path`, an HTML page: each face's crop, map and probabilities.

    `maps` has one occlusion map for each face. Orange speaks for the emotion, purple against it, on one scale for all
    faces.
    """
    if not result.faces or len(maps) != len(result.faces):
        raise DataError(f"{len(maps)} maps for {len(result.faces)} faces: give at least one face and a map for each")
    limit = max(0.01, *(float(np.abs(values).max()) for values in maps))
    if Path(path).suffix.lower() in (".html", ".htm"):
        from mien.evaluation import html

        crops = map(html.inline_png, result.crops)
        overlays = (html.inline_png(_overlay(*pair, limit)) for pair in zip(result.crops, maps, strict=True))
        faces = list(zip(result.faces, crops, overlays, strict=True))
        html.write_page(path, "explain.html", name=Path(result.frame.name).name, limit=limit, faces=faces)
        return
    encoded = cv2.imencode(".png", _sheet(result, maps, limit))[1]
    with atomic.draft(path) as place:
        place.write_bytes(encoded.tobytes())


def _sheet(result: Result, maps: Sequence[Floats], limit: float) -> Image:
    """Return a row for each face and a legend, uint8 BGR."""
    step, left = _SIDE + _GAP, 2 * (_SIDE + _GAP) + _GAP
    sheet = np.full((len(maps) * step + 4 * _GAP, left + _SIDE + 6 * _GAP, 3), 255, np.uint8)
    for row, (face, crop, values) in enumerate(zip(result.faces, result.crops, maps, strict=True)):
        y = row * step + _GAP
        for column, image in enumerate((np.repeat(crop[..., None], 3, 2), _overlay(crop, values, limit))):
            x = column * step + _GAP
            sheet[y : y + _SIDE, x : x + _SIDE] = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_NEAREST)
        panel = fit(face_panel(face, 14.0, "full", None), sheet[:_SIDE, left:])
        paint(sheet, panel, (left, y), face_colour(face))
    text = f"orange: for the emotion, purple: against it; full colour: {100 * limit:.0f} percentage points"
    paint(sheet, fit(Panel((text,), 10.0), sheet[:, _GAP:]), (_GAP, len(maps) * step + _GAP), _FOR)
    return sheet


def _overlay(crop: NDArray[np.uint8], values: Floats, limit: float) -> Image:
    """Return the crop under its map, uint8 BGR (48, 48, 3)."""
    share = values[..., None] / limit
    alpha = 0.75 * np.abs(share)
    mixed = (1 - alpha) * crop[..., None] + alpha * np.where(share > 0, _FOR, _AGAINST)
    return np.asarray(np.rint(mixed), np.uint8)
