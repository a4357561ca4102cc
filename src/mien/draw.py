"""The overlay: a box, a label and probability bars for each face; a status line for live views."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.types import EMOTIONS, Face, Image, Result

Box = tuple[int, int, int, int]
Color = tuple[int, int, int]

COLOURS: dict[str, Color] = {
    "angry": (0, 94, 213),
    "happy": (66, 228, 240),
    "sad": (233, 180, 86),
    "surprise": (167, 121, 204),
    "neutral": (115, 158, 0),
    "disgust": (178, 114, 0),
    "fear": (0, 159, 230),
}
"""BGR, 0..255, from the palette of Okabe and Ito (2008), which the colour-blind can tell apart. Its gray is left out:
to the green-blind it is the purple of surprise, and here gray means uncertain."""

_OTHER: Color = (255, 255, 255)
_WHITE: Color = (255, 255, 255)
_DARK: Color = (20, 20, 20)
_MUTED: Color = (185, 185, 185)
_GROUND: Color = (90, 90, 90)  # behind a bar, so that one sees how long it could be
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAP = 21.5  # height of a capital of _FONT at scale 1, in pixels
_LEGIBLE = 6.0  # below this height of a capital, in pixels, text cannot be read
_KEEP = 0.2  # share of a panel that may be better elsewhere before it leaves its place

Style = Literal["full", "compact", "title"]
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


@dataclass(frozen=True, slots=True, eq=False)
class _Panel:
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
        return max((_width(name, self.cap * 0.85) for name, _ in self.bars), default=0.0)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        width = max(_width(line, self.cap) for line in self.title) + self.cap * 1.4
        inner = {"full": self.names + self.cap * 10.4, "compact": self.cap * 6, "title": 0.0}[self.style]
        width = max(width, self.left + inner if inner else 0.0)
        return round(width), round(self.top + len(self.bars) * self.row + self.cap * (0.35 if self.bars else 0.1))


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
            _outline(image, box, _color(face), face.uncertain)
        placed = _notes(image, status, bool(result.faces))
        for k, face in enumerate(result.faces):
            if face.probabilities or face.id is not None:
                crop = result.crops[k] if self._inset and k < len(result.crops) else None
                panel, spot = self._choose(image, face, crop, boxes, k, placed)
                _paint(image, panel, spot[:2], _color(face))
                placed.append(spot)
        shown = {face.id for face in result.faces}
        self._last = {id: last for id, last in self._last.items() if id in shown}
        return image

    def _choose(
        self, image: Image, face: Face, crop: NDArray[np.uint8] | None, boxes: list[Box], k: int, placed: list[Box]
    ) -> tuple[_Panel, Box]:
        """The panel with the most to tell that has room, and its place."""
        low, high = _caps(image)
        box_height = boxes[k][3] - boxes[k][1]
        cap = min(max(box_height * 0.075, low), high)
        last = self._last.get(face.id) if face.id is not None else None
        if last and abs(last[0] - cap) < 0.12 * cap:
            cap = last[0]  # text that breathes with the box is hard to read
        full = _fit(_panel(face, cap, "full", crop), image)
        small = [_fit(_panel(face, low, style, crop), image) for style in _SMALL]
        # names and numbers would bury the neighbours of a small face
        tiny = len(boxes) > 2 and box_height < 6 * low
        best: tuple[float, int, _Panel, Box] | None = None
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
    notes += [] if faces else [(_Panel(("no face found",), low * 1.2), False)]
    for note, alarm in notes:
        panel = _fit(note, image)
        width, height = panel.size
        margin = min(round(panel.cap), image.shape[1] - width)
        top = max(bottom - height - min(round(panel.cap), image.shape[0] - height), 0)
        _paint(image, panel, (margin, top), COLOURS["angry"] if alarm else _MUTED)
        placed.append((margin, top, margin + width, top + height))
        bottom = top
    return placed


def _flow(parts: tuple[str, ...], cap: float, image: Image) -> _Panel:
    """The parts on as many lines as the width asks for."""
    lines = [parts[0]]
    for part in parts[1:]:
        longer = f"{lines[-1]}   {part}"
        if _width(longer, cap) < image.shape[1] - 4 * cap:
            lines[-1] = longer
        else:
            lines.append(part)
    return _Panel(tuple(lines), cap)


def _panel(face: Face, cap: float, style: Style, crop: NDArray[np.uint8] | None) -> _Panel:
    mark = "?" if face.uncertain else ""
    words = [f"#{face.id}"] if face.id is not None else []
    words += [f"{face.emotion}{mark} {face.confidence * 100:.0f} %"] if face.probabilities else []
    title = (" ".join(words),)
    if style == "title" or not face.probabilities:
        return _Panel(title, cap, muted=face.uncertain)
    return _Panel(title, cap, _ordered(face.probabilities), style, face.uncertain, crop)


def _ordered(probabilities: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """EMOTIONS first, in their order, so that a bar keeps its place from face to face; then all others."""
    names = [name for name in EMOTIONS if name in probabilities]
    names += sorted(name for name in probabilities if name not in EMOTIONS)
    return tuple((name, min(max(float(probabilities[name]), 0.0), 1.0)) for name in names)


def _fit(panel: _Panel, image: Image) -> _Panel:
    """The same panel, with smaller text until it fits into the picture."""
    cap = panel.cap
    while cap > 0.2:
        fitted = replace(panel, cap=cap)
        if fitted.size[0] <= image.shape[1] and fitted.size[1] <= image.shape[0]:
            return fitted
        cap *= 0.9
    return _Panel(("",), 0.0)  # a picture of a few pixels has no room for words


def _width(text: str, cap: float) -> float:
    return float(cv2.getTextSize(text, _FONT, 1.0, 1)[0][0]) * cap / _CAP


def _color(face: Face) -> Color:
    return _MUTED if face.uncertain or not face.probabilities else COLOURS.get(face.emotion, _OTHER)


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
    for shade, extra in ((_DARK, max(2, thick // 2)), (color, 0)):
        for x, y, dx, dy in ((x1, y1, 1, 1), (x2, y1, -1, 1), (x1, y2, 1, -1), (x2, y2, -1, -1)):
            cv2.line(image, (x, y), (x + dx * arm_x, y), shade, thick + extra, cv2.LINE_AA)
            cv2.line(image, (x, y), (x, y + dy * arm_y), shade, thick + extra, cv2.LINE_AA)


def _paint(image: Image, panel: _Panel, at: tuple[int, int], accent: Color) -> None:
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
        _picture(view, panel.crop, cap * 0.8, panel.top, len(panel.bars) * panel.row - cap * 0.2)
    for k, (name, probability) in enumerate(panel.bars):
        _bar(view, panel, name, probability, panel.top + k * panel.row)


def _picture(view: Image, crop: NDArray[np.uint8], x: float, y: float, side: float) -> None:
    """The crop as a square; enlarged, its pixels stay visible, for they are what the network has."""
    x1, y1, x2, y2 = (round(v) for v in (x, y, x + side, y + side))
    if x2 > x1 and y2 > y1:
        how = cv2.INTER_NEAREST if side >= len(crop) else cv2.INTER_AREA
        view[y1:y2, x1:x2] = cv2.resize(crop, (x2 - x1, y2 - y1), interpolation=how)[..., None]


def _bar(view: Image, panel: _Panel, name: str, probability: float, y: float) -> None:
    """One row: name, bar and percentage; the compact panel has the bar alone."""
    cap, full = panel.cap, panel.style == "full"
    left = panel.left + (panel.names + cap * 0.6 if full else 0)
    right = view.shape[1] - cap * (3.8 if full else 0.6)
    top, bottom = round(y + panel.row * 0.15), max(round(y + panel.row * 0.75), round(y + panel.row * 0.15) + 1)
    color = COLOURS.get(name, _OTHER)
    if panel.muted:
        color = (color[0] * 2 // 3, color[1] * 2 // 3, color[2] * 2 // 3)
    view[top:bottom, round(left) : round(right)] = _GROUND
    view[top:bottom, round(left) : round(left + probability * (right - left))] = color
    if full:
        base = y + panel.row * 0.45 + cap * 0.43
        _write(view, name, panel.left, base, cap * 0.85, panel.muted)
        text = f"{probability * 100:.0f} %"
        _write(view, text, view.shape[1] - cap * 0.4 - _width(text, cap * 0.85), base, cap * 0.85, panel.muted)


def _write(view: Image, text: str, x: float, base: float, cap: float, muted: bool) -> None:
    """White text, gray when muted; (x, base) is the left end of its base line, in pixels."""
    color = _MUTED if muted else _WHITE
    cv2.putText(view, text, (round(x), round(base)), _FONT, cap / _CAP, color, max(1, round(cap / 9)), cv2.LINE_AA)
