"""Panels: the words and bars beside a face, and how they are painted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.draw.palette import COLOURS, GROUND, MUTED, OTHER, WHITE, Color
from mien.types import EMOTIONS, Face, Image

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAP = 21.5  # height of a capital of _FONT at scale 1, in pixels
Style = Literal["full", "compact", "title"]


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """Words and bars on a dark ground; all lengths in pixels, `cap` is the height of a capital.

    Attributes:
        title: lines at the top.
        style: "full" has names and numbers beside the bars, "compact" the bars alone, "title" no bars.
        crop: uint8 (48, 48), what the network saw, or None.
    """

    title: tuple[str, ...]
    cap: float
    bars: tuple[tuple[str, float], ...] = ()
    style: Style = "title"
    muted: bool = False
    crop: NDArray[np.uint8] | None = None

    @property
    def row(self) -> float:
        """Height of a bar and the space around it."""
        return self.cap * (1.75 if self.style == "full" else 0.75)

    @property
    def top(self) -> float:
        """Where the bars begin."""
        return self.cap * (0.4 + 1.8 * len(self.title) + (0.2 if self.style == "full" else -0.1))

    @property
    def left(self) -> float:
        """Where names or bars begin, right of the crop."""
        return self.cap * 0.8 + (0.0 if self.crop is None else len(self.bars) * self.row + self.cap * 0.5)

    @property
    def names(self) -> float:
        """Width of the column of names."""
        return max((text_width(name, self.cap * 0.85) for name, _ in self.bars), default=0.0)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        width = max(text_width(line, self.cap) for line in self.title) + self.cap * 1.4
        inner = {"full": self.names + self.cap * 10.4, "compact": self.cap * 6, "title": 0.0}[self.style]
        width = max(width, self.left + inner if inner else 0.0)
        return round(width), round(self.top + len(self.bars) * self.row + self.cap * (0.35 if self.bars else 0.1))


def face_panel(face: Face, cap: float, style: Style, crop: NDArray[np.uint8] | None) -> Panel:
    mark = "?" if face.uncertain else ""
    words = [f"#{face.id}"] if face.id is not None else []
    words += [f"{face.emotion}{mark} {face.confidence * 100:.0f} %"] if face.probabilities else []
    title = (" ".join(words),)
    if style == "title" or not face.probabilities:
        return Panel(title, cap, muted=face.uncertain)
    return Panel(title, cap, _ordered(face.probabilities), style, face.uncertain, crop)


def _ordered(probabilities: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """EMOTIONS first, in their order, so that a bar keeps its place from face to face; then all others."""
    names = [name for name in EMOTIONS if name in probabilities]
    names += sorted(name for name in probabilities if name not in EMOTIONS)
    return tuple((name, min(max(float(probabilities[name]), 0.0), 1.0)) for name in names)


def fit(panel: Panel, image: Image) -> Panel:
    """The same panel, with smaller text until it fits into the picture."""
    cap = panel.cap
    while cap > 0.2:
        fitted = replace(panel, cap=cap)
        if fitted.size[0] <= image.shape[1] and fitted.size[1] <= image.shape[0]:
            return fitted
        cap *= 0.9
    return Panel(("",), 0.0)  # a picture of a few pixels has no room for words


def text_width(text: str, cap: float) -> float:
    return float(cv2.getTextSize(text, _FONT, 1.0, 1)[0][0]) * cap / _CAP


def paint(image: Image, panel: Panel, at: tuple[int, int], accent: Color) -> None:
    """Draw a panel with its upper left corner at `at`; a view of the picture keeps all of it within its bounds."""
    width, height = panel.size
    if width < 2 or height < 2:
        return
    view = image[at[1] : at[1] + height, at[0] : at[0] + width]
    view[:] = cv2.addWeighted(view, 0.2, view, 0, 9)
    cap = panel.cap
    view[:, : max(1, round(cap * 0.25))] = accent
    for k, line in enumerate(panel.title):
        _write(view, line, cap * 0.8, cap * (1.55 + 1.8 * k), cap, panel.muted)
    if panel.crop is not None and panel.bars:
        _paint_crop(view, panel.crop, cap * 0.8, panel.top, len(panel.bars) * panel.row - cap * 0.2)
    for k, (name, probability) in enumerate(panel.bars):
        _bar(view, panel, name, probability, panel.top + k * panel.row)


def _paint_crop(view: Image, crop: NDArray[np.uint8], x: float, y: float, side: float) -> None:
    """The crop as a square; enlarged, its pixels stay visible, for they are what the network has."""
    x1, y1, x2, y2 = (round(v) for v in (x, y, x + side, y + side))
    if x2 > x1 and y2 > y1:
        how = cv2.INTER_NEAREST if side >= len(crop) else cv2.INTER_AREA
        view[y1:y2, x1:x2] = cv2.resize(crop, (x2 - x1, y2 - y1), interpolation=how)[..., None]


def _bar(view: Image, panel: Panel, name: str, probability: float, y: float) -> None:
    """One row: name, bar and percentage; the compact panel has the bar alone."""
    cap, full = panel.cap, panel.style == "full"
    left = panel.left + (panel.names + cap * 0.6 if full else 0)
    right = view.shape[1] - cap * (3.8 if full else 0.6)
    top, bottom = round(y + panel.row * 0.15), max(round(y + panel.row * 0.75), round(y + panel.row * 0.15) + 1)
    color = COLOURS.get(name, OTHER)
    if panel.muted:
        color = (color[0] * 2 // 3, color[1] * 2 // 3, color[2] * 2 // 3)
    view[top:bottom, round(left) : round(right)] = GROUND
    view[top:bottom, round(left) : round(left + probability * (right - left))] = color
    if full:
        base = y + panel.row * 0.45 + cap * 0.43
        _write(view, name, panel.left, base, cap * 0.85, panel.muted)
        text = f"{probability * 100:.0f} %"
        _write(view, text, view.shape[1] - cap * 0.4 - text_width(text, cap * 0.85), base, cap * 0.85, panel.muted)


def _write(view: Image, text: str, x: float, base: float, cap: float, muted: bool) -> None:
    """White text, gray when muted; (x, base) is the left end of its base line, in pixels."""
    color = MUTED if muted else WHITE
    cv2.putText(view, text, (round(x), round(base)), _FONT, cap / _CAP, color, max(1, round(cap / 9)), cv2.LINE_AA)
