"""The overlay: a box, a label and probability bars for each face."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import cv2

from mien.types import EMOTIONS, Face, Image, Result

Box = tuple[int, int, int, int]
Color = tuple[int, int, int]

EMOTION_COLORS: dict[str, Color] = {
    "angry": (0, 94, 213),
    "happy": (66, 228, 240),
    "sad": (233, 180, 86),
    "surprise": (167, 121, 204),
    "neutral": (153, 153, 153),
    "disgust": (115, 158, 0),
    "fear": (178, 114, 0),
}
"""BGR, 0..255, from the palette of Okabe and Ito (2008), which the colour-blind can tell apart."""

_OTHER: Color = (0, 159, 230)
_WHITE: Color = (255, 255, 255)
_DARK: Color = (20, 20, 20)
_MUTED: Color = (190, 190, 190)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAP = 21.5  # height of a capital of _FONT at scale 1, in pixels
_LEGIBLE = 6.0  # below this height of a capital, in pixels, the names beside the bars cannot be read


@dataclass(frozen=True, slots=True)
class _Panel:
    """What stands beside a face; all lengths in pixels, `cap` is the height of a capital."""

    title: str
    bars: tuple[tuple[str, float], ...]
    cap: float
    compact: bool
    muted: bool = False

    @property
    def row(self) -> float:
        return self.cap * (0.75 if self.compact else 1.75)

    @property
    def names(self) -> float:
        """Width of the column of names."""
        return 0.0 if self.compact else max((_width(name, self.cap * 0.85) for name, _ in self.bars), default=0.0)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        title = _width(self.title, self.cap) + self.cap * 1.4
        inner = 0.0 if self.compact or not self.bars else self.names + self.cap * 11.2
        height = self.cap * (1.8 if self.compact else 2.4) + len(self.bars) * self.row
        return round(max(title, inner)), round(height + (self.cap * 0.45 if self.bars else 0))


def draw(result: Result) -> Image:
    """Draw what was seen.

    Sizes follow the picture's and the faces'; each panel lies wholly inside the picture, where it hides the least.

    Returns:
        uint8 BGR (H, W, 3): a new picture of the same size; the frame's own is not touched.
    """
    image = result.frame.image.copy()
    height, width = image.shape[:2]
    if not result.faces:
        panel = _fit(_Panel("no face found", (), _caps(image)[0] * 1.2, compact=False), image)
        margin = min(round(panel.cap), height - panel.size[1], width - panel.size[0])
        _paint(image, panel, (margin, height - panel.size[1] - margin), _MUTED)
        return image
    boxes = [_clip(face, image) for face in result.faces]
    for face, box in zip(result.faces, boxes, strict=True):
        _outline(image, box, _color(face), face.uncertain)
    placed: list[Box] = []
    for k, face in enumerate(result.faces):
        if face.probabilities:
            panel, spot = _choose(image, face, boxes, k, placed)
            _paint(image, panel, spot[:2], _color(face))
            placed.append(spot)
    return image


def _choose(image: Image, face: Face, boxes: list[Box], k: int, placed: list[Box]) -> tuple[_Panel, Box]:
    """The full panel where it has room, else the compact one."""
    low, high = _caps(image)
    box_height = boxes[k][3] - boxes[k][1]
    cap = min(max(box_height * 0.075, low), high)
    full = _fit(_panel(face, cap, compact=False), image)
    small = _fit(_panel(face, low, compact=True), image)
    tiny = len(boxes) > 2 and box_height < 6 * low  # names and numbers would bury the neighbours
    best: tuple[float, _Panel, Box] | None = None
    for panel in [small] if tiny or full.cap < _LEGIBLE else [full, small]:
        cost, spot = _place(panel.size, boxes, k, placed, image)
        if best is None or cost < best[0]:
            best = cost, panel, spot
        if cost < 0.15 * panel.size[0] * panel.size[1]:
            break
    assert best is not None
    return best[1], best[2]


def _place(size: tuple[int, int], boxes: list[Box], k: int, placed: list[Box], image: Image) -> tuple[float, Box]:
    """Cost (hidden pixels, weighted) and place of the best spot for a panel; a tie goes to the earlier candidate."""
    best: tuple[float, Box] | None = None
    for rank, spot in enumerate(_spots(boxes[k], size, image)):
        # another panel's text is lost where panels overlap; of the face itself a corner may be hidden
        cost = sum(_overlap(spot, other) * (0.8 if j == k else 1.0) for j, other in enumerate(boxes))
        cost += sum(2.0 * _overlap(spot, other) for other in placed)
        cost += 0.005 * rank * size[0] * size[1]
        if best is None or cost < best[0]:
            best = cost, spot
    assert best is not None
    return best


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


def _panel(face: Face, cap: float, compact: bool) -> _Panel:
    title = "uncertain" if face.uncertain else f"{face.emotion} {face.confidence * 100:.0f} %"
    if face.id is not None:
        title = f"#{face.id} {title}"
    return _Panel(title, _ordered(face.probabilities), cap, compact, face.uncertain)


def _ordered(probabilities: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """EMOTIONS first, in their order, so that a bar keeps its place from face to face; then all others."""
    names = [name for name in EMOTIONS if name in probabilities]
    names += sorted(name for name in probabilities if name not in EMOTIONS)
    return tuple((name, min(max(float(probabilities[name]), 0.0), 1.0)) for name in names)


def _fit(panel: _Panel, image: Image) -> _Panel:
    """The same panel, with smaller text until it fits into the picture."""
    cap = panel.cap
    while cap > 0.2:
        fitted = _Panel(panel.title, panel.bars, cap, panel.compact, panel.muted)
        if fitted.size[0] <= image.shape[1] and fitted.size[1] <= image.shape[0]:
            return fitted
        cap *= 0.9
    return _Panel("", (), 0.0, compact=True)  # a picture of a few pixels has no room for words


def _width(text: str, cap: float) -> float:
    return float(cv2.getTextSize(text, _FONT, 1.0, 1)[0][0]) * cap / _CAP


def _color(face: Face) -> Color:
    return _MUTED if face.uncertain or not face.probabilities else EMOTION_COLORS.get(face.emotion, _OTHER)


def _clip(face: Face, image: Image) -> Box:
    """The part of the box within the picture, at least a pixel of it, so that its lines can be seen at the border."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (round(v) for v in face.box)
    x1, y1 = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    return x1, y1, min(max(x2, x1), width - 1), min(max(y2, y1), height - 1)


def _outline(image: Image, box: Box, color: Color, muted: bool) -> None:
    """A coloured box with a dark rim; of an uncertain face only the corners."""
    x1, y1, x2, y2 = box
    thick = max(1, round(min(_caps(image)[0] * 0.22, (y2 - y1) * 0.02)))
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
    view[:] = cv2.addWeighted(view, 0.25, view, 0, 9)
    cap = panel.cap
    cv2.rectangle(view, (0, 0), (max(1, round(cap * 0.25)) - 1, height), accent, cv2.FILLED)
    _write(view, panel.title, cap * 0.8, cap * 1.65 if not panel.compact else cap * 1.4, cap, panel.muted)
    top = cap * (2.4 if not panel.compact else 1.9)
    for k, (name, probability) in enumerate(panel.bars):
        _bar(view, panel, name, probability, top + k * panel.row)


def _bar(view: Image, panel: _Panel, name: str, probability: float, y: float) -> None:
    """One row: name, bar and percentage; the compact panel has the bar alone."""
    cap = panel.cap
    left = cap * 0.8 + (0 if panel.compact else panel.names + cap * 0.6)
    right = view.shape[1] - cap * (0.6 if panel.compact else 3.6)
    top, bottom = round(y + panel.row * 0.15), max(round(y + panel.row * 0.75), round(y + panel.row * 0.15) + 1)
    color = EMOTION_COLORS.get(name, _OTHER)
    if panel.muted:
        color = (color[0] * 2 // 3, color[1] * 2 // 3, color[2] * 2 // 3)
    view[top:bottom, round(left) : round(right)] = (80, 80, 80)
    view[top:bottom, round(left) : round(left + probability * (right - left))] = color
    if not panel.compact:
        base = y + panel.row * 0.45 + cap * 0.43
        _write(view, name, cap * 0.8, base, cap * 0.85, panel.muted)
        text = f"{probability * 100:.0f} %"
        _write(view, text, view.shape[1] - cap * 0.4 - _width(text, cap * 0.85), base, cap * 0.85, panel.muted)


def _write(view: Image, text: str, x: float, base: float, cap: float, muted: bool) -> None:
    """White text (gray when muted) with a dark rim; (x, base) is the left end of its base line, in pixels."""
    thick = max(1, round(cap / 9))
    for color, extra in ((_DARK, 2), (_MUTED if muted else _WHITE, 0)):
        cv2.putText(view, text, (round(x), round(base)), _FONT, cap / _CAP, color, thick + extra, cv2.LINE_AA)
