"""Overlay: where boxes, panels and the status line go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.draw.palette import COLOURS, DARK, MUTED, Color, face_color
from mien.draw.panel import Panel, Style, face_panel, fit, paint, text_width
from mien.types import Face, Image, Result

Box = tuple[int, int, int, int]
_LEGIBLE = 6.0  # below this height of a capital, in pixels, text cannot be read
_KEEP = 0.2  # share of a panel that may be better elsewhere before it leaves its place
_SMALL: tuple[Style, ...] = ("compact", "title")


@dataclass(frozen=True, slots=True)
class Status:
    """What a live view tells about itself, in a line at the lower left.

    Attributes:
        camera_fps: frames a second that the camera gives, or None.
        inference_fps: frames a second that are looked at, or None.
        recording: whether the view is being recorded.
        paused: whether it stands still.
        detector: name of the detector, or "".
    """

    camera_fps: float | None = None
    inference_fps: float | None = None
    recording: bool = False
    paused: bool = False
    detector: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        """What to write, the most urgent first."""
        rates = (("camera", self.camera_fps), ("inference", self.inference_fps))
        told = ["REC"] * self.recording + ["paused"] * self.paused
        told += [f"{name} {rate:.1f} fps" for name, rate in rates if rate is not None]
        return tuple(told + [self.detector] * bool(self.detector))


class Overlay:
    """Draws the results of one stream; a panel stays on its side of a face, where it can, and does not jump about."""

    def __init__(self, inset: bool = False) -> None:
        """Start with nothing remembered.

        Args:
            inset: show in each panel the 48x48 crop that the network saw.
        """
        self._inset = inset
        self._last: dict[int, tuple[float, Style, int]] = {}  # id -> cap, style and rank of its spot

    def __call__(self, result: Result, status: Status | None = None) -> Image:
        """Draw what was seen.

        Sizes follow the picture's and the faces'; each panel lies wholly inside the picture, where it hides the least.

        Args:
            result: the frame and its faces.
            status: for the line at the lower left, or None for no line.

        Returns:
            uint8 BGR (H, W, 3): a new picture of the same size; the frame's own is not touched.
        """
        image = result.frame.image.copy()
        boxes = [_clip(face, image) for face in result.faces]
        for face, box in zip(result.faces, boxes, strict=True):
            _outline(image, box, face_color(face), face.uncertain)
        placed = _notes(image, status, bool(result.faces))
        for k, face in enumerate(result.faces):
            if face.probabilities or face.id is not None:
                crop = result.crops[k] if self._inset and k < len(result.crops) else None
                panel, spot = self._choose(image, face, crop, boxes, k, placed)
                paint(image, panel, spot[:2], face_color(face))
                placed.append(spot)
        shown = {face.id for face in result.faces}
        self._last = {id: last for id, last in self._last.items() if id in shown}
        return image

    def _choose(
        self, image: Image, face: Face, crop: NDArray[np.uint8] | None, boxes: list[Box], k: int, placed: list[Box]
    ) -> tuple[Panel, Box]:
        """The panel with the most to tell that has room, and its place."""
        low, high = _caps(image)
        box_height = boxes[k][3] - boxes[k][1]
        cap = min(max(box_height * 0.075, low), high)
        last = self._last.get(face.id) if face.id is not None else None
        if last and abs(last[0] - cap) < 0.12 * cap:
            cap = last[0]  # text that breathes with the box is hard to read
        full = fit(face_panel(face, cap, "full", crop), image)
        small = [fit(face_panel(face, low, style, crop), image) for style in _SMALL]
        # names and numbers would bury the neighbours of a small face
        tiny = len(boxes) > 2 and box_height < 6 * low
        best: tuple[float, int, Panel, Box] | None = None
        for panel in small if tiny or full.cap < _LEGIBLE else [full, *small]:
            area = panel.size[0] * panel.size[1]
            for rank, spot in enumerate(_spots(boxes[k], panel.size, image)):
                cost = _hidden(spot, boxes, k, placed) + 0.005 * rank * area
                if last and (panel.style, rank) == last[1:]:
                    cost -= _KEEP * area
                if best is None or cost < best[0]:
                    best = cost, rank, panel, spot
            assert best is not None
            if best[0] < 0.15 * area:
                break
        assert best is not None
        if face.id is not None:
            self._last[face.id] = cap, best[2].style, best[1]
        return best[2], best[3]


def draw(result: Result, inset: bool = False, status: Status | None = None) -> Image:
    """Draw a single picture: `Overlay(inset)(result, status)`."""
    return Overlay(inset)(result, status)


def _hidden(spot: Box, boxes: list[Box], k: int, placed: list[Box]) -> float:
    """Pixels that a panel of the face k would hide, weighted."""
    # another panel's text is lost where panels overlap; of the face itself a corner may be hidden
    cost = sum(_overlap(spot, other) * (0.8 if j == k else 3.0) for j, other in enumerate(boxes))
    return cost + sum(8.0 * _overlap(spot, other) for other in placed)


def _spots(box: Box, size: tuple[int, int], image: Image) -> Iterator[Box]:
    """Places for a panel, the liked first: right, left, below, above, inside; all pushed into the picture."""
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


def _overlap(a: Box, b: Box) -> int:
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def _caps(image: Image) -> tuple[float, float]:
    """Least and greatest height of a capital for a picture of this size, in pixels."""
    short = min(image.shape[:2])
    return max(7.0, short * 0.013), max(8.0, short * 0.022)


def _notes(image: Image, status: Status | None, faces: bool) -> list[Box]:
    """Write the status line and, where there is no face, say so; returns the places taken."""
    low = _caps(image)[0]
    bottom = image.shape[0]
    placed: list[Box] = []
    notes = [] if status is None or not status.parts else [(_flow(status.parts, low, image), status.recording)]
    notes += [] if faces else [(Panel(("no face found",), low * 1.2), False)]
    for note, alarm in notes:
        panel = fit(note, image)
        width, height = panel.size
        margin = min(round(panel.cap), image.shape[1] - width)
        top = max(bottom - height - min(round(panel.cap), image.shape[0] - height), 0)
        paint(image, panel, (margin, top), COLOURS["angry"] if alarm else MUTED)
        placed.append((margin, top, margin + width, top + height))
        bottom = top
    return placed


def _flow(parts: tuple[str, ...], cap: float, image: Image) -> Panel:
    """The parts on as many lines as the width asks for."""
    lines = [parts[0]]
    for part in parts[1:]:
        longer = f"{lines[-1]}   {part}"
        if text_width(longer, cap) < image.shape[1] - 4 * cap:
            lines[-1] = longer
        else:
            lines.append(part)
    return Panel(tuple(lines), cap)


def _clip(face: Face, image: Image) -> Box:
    """The part of the box within the picture, at least a pixel of it, so that its lines can be seen at the border."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (round(v) for v in face.box)
    x1, y1 = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    return x1, y1, min(max(x2, x1), width - 1), min(max(y2, y1), height - 1)


def _outline(image: Image, box: Box, color: Color, muted: bool) -> None:
    """A coloured box with a dark rim; of an uncertain face only the corners."""
    x1, y1, x2, y2 = box
    thick = max(1, round(min(_caps(image)[0] * 0.28, (y2 - y1) * 0.02)))
    arm_x, arm_y = (x2 - x1) // (4 if muted else 1), (y2 - y1) // (4 if muted else 1)
    for shade, extra in ((DARK, max(2, thick // 2)), (color, 0)):
        for x, y, dx, dy in ((x1, y1, 1, 1), (x2, y1, -1, 1), (x1, y2, 1, -1), (x2, y2, -1, -1)):
            cv2.line(image, (x, y), (x + dx * arm_x, y), shade, thick + extra, cv2.LINE_AA)
            cv2.line(image, (x, y), (x, y + dy * arm_y), shade, thick + extra, cv2.LINE_AA)
