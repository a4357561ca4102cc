"""Overlay: the placement of boxes, panels and the status line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mien.draw.palette import COLOURS, DARK, MUTED, Colour, face_colour
from mien.draw.panel import Detail, Panel, face_panel, fit, paint
from mien.draw.text import text_width
from mien.errors import ConfigError
from mien.types import Face, Image, Result

Box = tuple[int, int, int, int]
_LEGIBLE = 6.0  # height of a capital, in pixels, below which text is not legible
_INERTIA = 0.2  # share of a panel that must be less hidden elsewhere before it moves
_OWN = 0.3  # largest share of its own face that a panel may hide
_CROWD = 12  # faces from which panels have no bars

Style = Literal["panels", "labels", "minimal"]
"""panels: label and bars where there is room; labels: no bars; minimal: the emotion's name alone."""

_LADDERS: dict[Style, tuple[Detail, ...]] = {
    "panels": ("full", "compact", "title"),
    "labels": ("title",),
    "minimal": ("name",),
}


@dataclass(frozen=True, slots=True)
class Status:
    """The status line of a live view, at the lower left; a value of None, 0 or "" is left out.

    Attributes:
        source_fps: frames a second of the source.
        inference_fps: results a second.
        recording: seconds that the recording has lasted; None without one.
        paused: the view stands still.
        dropped: frames of the source that were skipped to stay at the newest.
        detector: name of the detector.
        kind: kind of the source: camera, stream or file.
        source: name of the source.
    """

    source_fps: float | None = None
    inference_fps: float | None = None
    recording: float | None = None
    paused: bool = False
    detector: str = ""
    dropped: int = 0
    kind: str = "camera"
    source: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        """Texts, the most urgent first."""
        rates = ((self.kind, self.source_fps), ("inference", self.inference_fps))
        parts = [] if self.recording is None else [f"REC {self.recording // 60:.0f}:{int(self.recording) % 60:02d}"]
        parts += ["paused"] * self.paused
        parts += [f"{name} {rate:.1f} fps" for name, rate in rates if rate is not None]
        parts += [f"{self.dropped:,} dropped"] * bool(self.dropped)
        return tuple(parts + [text for text in (self.detector, self.source) if text])


class Overlay:
    """Draws the results of one stream; a panel keeps its side of a face where it can."""

    def __init__(self, inset: bool = False, style: Style = "panels") -> None:
        """Start a stream.

        Args:
            inset: show in each panel the 48x48 crop that the network saw.
            style: how much a panel shows, see `Style`. Crowds get labels in place of panels.
        """
        if style not in get_args(Style):
            raise ConfigError(f"{style!r} is no style of overlays; choose {', '.join(get_args(Style))}")
        self._inset, self._style = inset, style
        self._last: dict[int, tuple[float, Detail, int]] = {}  # id -> cap, detail and rank of its spot

    def __call__(self, result: Result, status: Status | None = None) -> Image:
        """Draw boxes, panels and an optional status line on a copy of the frame, uint8 BGR (H, W, 3).

        Sizes follow those of the image and the faces. Panels lie inside the image and hide neither another face nor
        another panel; a face without room for even the smallest panel gets only its box.
        """
        image = result.frame.image.copy()
        boxes = [_clip(face, image) for face in result.faces]
        for face, box in zip(result.faces, boxes, strict=True):
            _outline(image, box, face_colour(face), face.uncertain)
        placed = _write_notes(image, status, bool(result.faces))
        for k, face in enumerate(result.faces):
            if face.probabilities or face.id is not None:
                crop = result.crops[k] if self._inset and k < len(result.crops) else None
                if choice := self._choose(image, face, crop, boxes, k, placed):
                    panel, spot = choice
                    paint(image, panel, spot[:2], face_colour(face))
                    placed.append(spot)
        shown = {face.id for face in result.faces}
        self._last = {id: last for id, last in self._last.items() if id in shown}
        return image

    def _choose(
        self, image: Image, face: Face, crop: NDArray[np.uint8] | None, boxes: list[Box], k: int, placed: list[Box]
    ) -> tuple[Panel, Box] | None:
        """Return the most detailed panel that has room, and its place; None without room for any."""
        low, high = _caps(image)
        box_height = boxes[k][3] - boxes[k][1]
        cap = min(max(box_height * 0.075, low), high)
        last = self._last.get(face.id) if face.id is not None else None
        if last and abs(last[0] - cap) < 0.12 * cap:
            cap = last[0]  # text that changes its size with the box is hard to read
        ladder = _LADDERS["labels"] if self._style == "panels" and len(boxes) >= _CROWD else _LADDERS[self._style]
        for detail in ladder:
            panel = fit(face_panel(face, cap if detail == "full" else low, detail, crop), image)
            # A full panel would hide the neighbours of a small face.
            if detail == "full" and (panel.cap < _LEGIBLE or (len(boxes) > 2 and box_height < 6 * low)):
                continue
            area = panel.size[0] * panel.size[1]
            best: tuple[float, int, Box] | None = None
            for rank, spot in enumerate(_spots(boxes[k], panel.size, image)):
                own = _own_share(spot, boxes[k])
                if own > _OWN or _is_blocked(spot, boxes, k, placed):
                    continue
                cost = overlap(spot, boxes[k]) + 0.005 * rank * area
                if last and (detail, rank) == last[1:]:
                    cost -= _INERTIA * area
                if best is None or cost < best[0]:
                    best = cost, rank, spot
            if best and (best[0] < 0.15 * area or detail == ladder[-1]):
                if face.id is not None:
                    self._last[face.id] = cap, detail, best[1]
                return panel, best[2]
        return None


def draw(result: Result, inset: bool = False, status: Status | None = None, style: Style = "panels") -> Image:
    """Draw a single image: `Overlay(inset, style)(result, status)`."""
    return Overlay(inset, style)(result, status)


def _own_share(spot: Box, box: Box) -> float:
    """Return the share of a face's box that its own panel would hide."""
    return overlap(spot, box) / max((box[2] - box[0]) * (box[3] - box[1]), 1)


def _is_blocked(spot: Box, boxes: list[Box], k: int, placed: list[Box]) -> bool:
    """Tell whether a panel of the face k would hide another face or another panel."""
    return any(overlap(spot, other) for j, other in enumerate(boxes) if j != k) or any(
        overlap(spot, other) for other in placed
    )


def _spots(box: Box, size: tuple[int, int], image: Image) -> Iterator[Box]:
    """Yield places for a panel by preference: right, left, below, above, inside; all moved into the image."""
    x1, y1, x2, y2 = box
    width, height = size
    gap = max(2, round(0.004 * max(image.shape[:2])))
    middle = (y1 + y2 - height) // 2
    beside = [(x, y) for x in (x2 + gap, x1 - gap - width) for y in (y1, y2 - height, middle)]
    stacked = [(x, y) for y in (y2 + gap, y1 - gap - height) for x in (x1, x2 - width, (x1 + x2 - width) // 2)]
    inside = [(x1, y2 - height), (x2 - width, y1)]
    for x, y in [*beside, *stacked, *inside]:
        left = min(max(x, 0), image.shape[1] - width)
        top = min(max(y, 0), image.shape[0] - height)
        yield left, top, left + width, top + height


def overlap(a: Box, b: Box) -> int:
    """Return the number of pixels that two boxes share."""
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def _caps(image: Image) -> tuple[float, float]:
    """Return the least and greatest height of a capital for this size of image, in pixels."""
    short = min(image.shape[:2])
    return max(7.0, short * 0.013), max(8.0, short * 0.022)


def _write_notes(image: Image, status: Status | None, has_faces: bool) -> list[Box]:
    """Write the status line and "no face found" from the bottom up; return the places taken."""
    low = _caps(image)[0]
    bottom = image.shape[0]
    placed: list[Box] = []
    notes = (
        [] if status is None or not status.parts else [(_wrap(status.parts, low, image), status.recording is not None)]
    )
    notes += [] if has_faces else [(Panel(("no face found",), low * 1.2), False)]
    for note, alarm in notes:
        panel = fit(note, image)
        width, height = panel.size
        if placed and height > bottom:
            break
        margin = min(round(panel.cap), image.shape[1] - width)
        top = max(bottom - height - min(round(panel.cap), image.shape[0] - height), 0)
        paint(image, panel, (margin, top), COLOURS["angry"] if alarm else MUTED)
        placed.append((margin, top, margin + width, top + height))
        bottom = top
    return placed


def _wrap(parts: tuple[str, ...], cap: float, image: Image) -> Panel:
    lines = [parts[0]]
    for part in parts[1:]:
        longer = f"{lines[-1]}   {part}"
        if text_width(longer, cap) < image.shape[1] - 4 * cap:
            lines[-1] = longer
        else:
            lines.append(part)
    return Panel(tuple(lines), cap)


def _clip(face: Face, image: Image) -> Box:
    """Return the part of the box inside the image, at least one pixel, so that its lines show at the border."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (round(v) for v in face.box)
    x1, y1 = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    return x1, y1, min(max(x2, x1), width - 1), min(max(y2, y1), height - 1)


def _outline(image: Image, box: Box, colour: Colour, corners_only: bool) -> None:
    """Draw a coloured box with a dark rim."""
    x1, y1, x2, y2 = box
    thickness = max(1, round(min(_caps(image)[0] * 0.28, (y2 - y1) * 0.02)))
    divisor = 4 if corners_only else 1
    arm_x, arm_y = (x2 - x1) // divisor, (y2 - y1) // divisor
    arms = [(x, y, x + dx * arm_x, y + dy * arm_y) for x, dx in ((x1, 1), (x2, -1)) for y, dy in ((y1, 1), (y2, -1))]
    rim = max(1, thickness // 4)
    for shade, extra in ((DARK, rim), (colour, 0)):
        before = thickness // 2 + extra
        after = thickness - thickness // 2 + extra
        for x, y, end_x, end_y in arms:
            for end in ((end_x, y), (x, end_y)):
                (left, right), (top, bottom) = sorted((x, end[0])), sorted((y, end[1]))
                image[max(top - before, 0) : bottom + after, max(left - before, 0) : right + after] = shade
