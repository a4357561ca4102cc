"""Panels: the text and bars beside a face, and their painting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.draw.palette import COLOURS, MUTED, OTHER, TRACK, WHITE, Colour
from mien.draw.text import text_width, write
from mien.types import EMOTIONS, Face, Image

Detail = Literal["full", "compact", "title", "name"]


@dataclass(frozen=True, eq=False)
class Panel:
    """Text and bars on a dark background; all lengths in pixels."""

    title: tuple[str, ...]  # lines at the top
    cap: float  # height of a capital
    bars: tuple[tuple[str, float], ...] = ()  # name and probability
    detail: Detail = "title"  # "full": names and numbers beside the bars; "compact": only bars; "title", "name": none
    muted: bool = False
    crop: NDArray[np.uint8] | None = None  # uint8 (48, 48), the input of the network

    @property
    def row(self) -> float:
        """Height of a bar with its spacing."""
        return self.cap * (1.75 if self.detail == "full" else 0.75)

    @property
    def top(self) -> float:
        """Top of the bars."""
        return self.cap * (0.4 + 1.8 * len(self.title) + (0.2 if self.detail == "full" else -0.1))

    @property
    def left(self) -> float:
        """Left end of names or bars, right of the crop."""
        return self.cap * 0.8 + (0.0 if self.crop is None else len(self.bars) * self.row + self.cap * 0.5)

    @cached_property
    def names(self) -> float:
        """Width of the column of names."""
        return max((text_width(name, self.cap * 0.85) for name, _ in self.bars), default=0.0)

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        width = max(text_width(line, self.cap) for line in self.title) + self.cap * 1.4
        inner = {"full": self.names + self.cap * 11.5, "compact": self.cap * 6}.get(self.detail, 0.0)
        width = max(width, self.left + inner if inner else 0.0)
        return round(width), round(self.top + len(self.bars) * self.row + self.cap * (0.35 if self.bars else 0.1))


def face_panel(face: Face, cap: float, detail: Detail, crop: NDArray[np.uint8] | None) -> Panel:
    mark = "?" if face.uncertain else ""
    words = [f"#{face.id}"] if face.id is not None else []
    percentage = "" if detail == "name" else f" {face.confidence * 100:.0f} %"
    words += [f"{face.emotion}{mark}{percentage}"] if face.probabilities else []
    if detail in ("title", "name") or not face.probabilities:
        return Panel((" ".join(words),), cap, muted=face.uncertain)
    return Panel((" ".join(words),), cap, ordered(face.probabilities), detail, face.uncertain, crop)


def ordered(probabilities: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """Return probabilities clipped to 0..1 in a fixed order: EMOTIONS, then the other names sorted."""
    names = [name for name in EMOTIONS if name in probabilities]
    names += sorted(name for name in probabilities if name not in EMOTIONS)
    return tuple((name, min(max(float(probabilities[name]), 0.0), 1.0)) for name in names)


def fit(panel: Panel, image: Image) -> Panel:
    """Return the panel with text small enough to fit into the image."""
    cap = panel.cap
    while cap > 0.2:
        fitted = replace(panel, cap=cap)
        if fitted.size[0] <= image.shape[1] and fitted.size[1] <= image.shape[0]:
            return fitted
        cap *= 0.9
    return Panel(("",), 0.0)  # an image of a few pixels has no room for text


def paint(image: Image, panel: Panel, corner: tuple[int, int], accent: Colour) -> None:
    """Draw a panel into the image, with its upper left corner at (x, y)."""
    width, height = panel.size
    if width < 2 or height < 2:
        return
    x, y = corner
    view = image[y : y + height, x : x + width]  # clips everything to the panel
    view[:] = cv2.addWeighted(view, 0.2, view, 0, 9)
    cap = panel.cap
    view[:, : max(1, round(cap * 0.25))] = accent
    for k, line in enumerate(panel.title):
        write(view, line, cap * 0.8, cap * (1.55 + 1.8 * k), cap, MUTED if panel.muted else WHITE)
    if panel.crop is not None and panel.bars:
        _paint_crop(view, panel.crop, cap * 0.8, panel.top, len(panel.bars) * panel.row - cap * 0.2)
    for k, (name, probability) in enumerate(panel.bars):
        _paint_bar(view, panel, name, probability, panel.top + k * panel.row)


def _paint_crop(view: Image, crop: NDArray[np.uint8], x: float, y: float, side: float) -> None:
    """Paint the crop as a square; when enlarged, its pixels stay visible."""
    x1, y1, x2, y2 = (round(v) for v in (x, y, x + side, y + side))
    if x2 > x1 and y2 > y1:
        interpolation = cv2.INTER_NEAREST if side >= len(crop) else cv2.INTER_AREA
        view[y1:y2, x1:x2] = cv2.resize(crop, (x2 - x1, y2 - y1), interpolation=interpolation)[..., None]


def _paint_bar(view: Image, panel: Panel, name: str, probability: float, y: float) -> None:
    """Paint one row: name, bar and percentage, or the bar alone in a compact panel."""
    cap, full = panel.cap, panel.detail == "full"
    left = panel.left + (panel.names + cap * 0.6 if full else 0)
    right = view.shape[1] - cap * (3.8 if full else 0.6)
    top, bottom = round(y + panel.row * 0.15), max(round(y + panel.row * 0.75), round(y + panel.row * 0.15) + 1)
    colour = COLOURS.get(name, OTHER)
    if panel.muted:
        colour = (colour[0] * 2 // 3, colour[1] * 2 // 3, colour[2] * 2 // 3)
    view[top:bottom, round(left) : round(right)] = TRACK
    view[top:bottom, round(left) : round(left + probability * (right - left))] = colour
    if full:
        base, small = y + panel.row * 0.45 + cap * 0.43, cap * 0.85
        percentage = f"{probability * 100:.0f} %"
        shade = MUTED if panel.muted else WHITE
        write(view, name, panel.left, base, small, shade)
        write(view, percentage, view.shape[1] - cap * 0.4 - text_width(percentage, small), base, small, shade)
