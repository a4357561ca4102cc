"""Shots: where a video cuts or fades from one scene to another, seen on tiny thumbnails."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.media import prefetch
from mien.types import Failure, Frame, Image, Pixels

WIDTH, HEIGHT = 32, 18
"""Size of a thumbnail in pixels."""

AHEAD = 0.3
"""Seconds of a file that are read ahead, to tell a cut from a flash and from the start of a pan."""

# Chosen on the made videos of `benchmarks.video.shots` with other seeds than its figures.
_CHANGE = 0.06  # least dissimilarity of the two frames at a cut
_NEAR, _NEAR_PEAK = 3, 3.0  # it exceeds that of this many frames before and after by this factor,
_AROUND, _PEAK = 0.4, 1.2  # and that of so many seconds before by this one
_LEVELS, _SHARE = 10.0, 0.25  # this share of the image changes by this many gray levels: more than a caption
_MATCH = 0.9  # similarity to the shifted last frame from which the camera moved
_RETURN = 0.35  # share of the change that may be left after a flash
_DARKER = 0.02  # share of the image that is darker in a flash at most
_BLANK = 5.0  # standard deviation, gray levels: less is a black or white frame
_SAME = 0.8  # similarity of the frames before and after blank ones, or of the ends of a fade, in one scene
_GAP = 1.0  # seconds of blank frames after which the same scene counts as another shot
_FADE = 2.4  # seconds of the longest fade
_STEP = 0.08  # seconds between the frames in which fades are looked for
_STRAIGHT = 1.18  # length of a fade's path through the space of images, by the distance of its ends
_EVEN = 0.7  # most of that distance in one step
_CONTINUED = 0.6  # speed along the line, in its mean speed, at which a dissolve goes on
_CHROMA = 2.0  # weight of colour beside brightness


class Thumbnail(NamedTuple):
    """A frame as shots compare it.

    Attributes:
        time: seconds.
        image: uint8 (18, 32), brightness.
        values: float32 (1728,), brightness without its mean, and colour.
        spread: standard deviation of the brightness, in gray levels.
        norm: length of `values`.
    """

    time: float
    image: NDArray[np.uint8]
    values: NDArray[np.float32]
    spread: float
    norm: float

    @property
    def is_blank(self) -> bool:
        """Whether the frame is all black, all white or another even colour."""
        return self.spread < _BLANK


def thumbnail(pixels: Image | Pixels, time: float) -> Thumbnail:
    """Reduce a frame, uint8 BGR (H, W, 3) or the frame of a video."""
    if isinstance(pixels, np.ndarray):
        rows = pixels[:: max(pixels.shape[0] // (2 * HEIGHT), 1)]
        small = cv2.resize(rows, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        planes = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2YCrCb), np.uint8).transpose(2, 0, 1)
    else:
        planes = pixels.thumbnail(WIDTH, HEIGHT)
    values = np.empty((3, HEIGHT * WIDTH), np.float32)
    values[:] = planes.reshape(3, -1)
    values[0] -= values[0].mean()
    values[1:] -= 128.0
    values[1:] *= _CHROMA
    flat = values.ravel()
    spread = float(np.sqrt(values[0] @ values[0] / values.shape[1]))
    return Thumbnail(time, planes[0], flat, spread, float(np.sqrt(flat @ flat)))


class ShotDetector:
    """Numbers the shots of one stream from 1: a state machine without clock or thread.

    - A cut is a change far beyond those of the frames around it.
    - A flash, a frame that drops out and a switched light are no cuts: the scene stays or returns.
    - A fade through black or white ends with the first frame that shows the new scene.
    - A dissolve ends where the image stops changing. Its frames lie on a line between its ends; those of a pan do not.

    A live stream has no frames to look ahead to. There a shift of the camera that explains a change is no cut, a very
    fast pan may count as one, and a cut to a scene that is brighter everywhere counts `AHEAD` seconds late.
    """

    def __init__(self) -> None:
        self.shot = 1
        self._last: Thumbnail | None = None
        self._changes: deque[tuple[float, float]] = deque()  # time and dissimilarity to the frame before
        self._path: deque[Thumbnail] = deque()  # every `_STEP` seconds
        self._end: float | None = None  # time at which a dissolve ends
        self._before: Thumbnail | None = None  # the last frame before blank ones, or before what may be a flash
        self._change = 0.0  # of what may be a flash

    def update(self, now: Thumbnail, ahead: Sequence[Thumbnail] | None = None) -> int:
        """Return the shot of the next frame; `ahead` are the frames after it, or None in a live stream."""
        last, self._last = self._last, now
        if last is None or now.time < last.time - 1.0:
            self._restart(now, 0.0, new=last is not None)
        elif now.is_blank:
            self._before = self._before or (None if last.is_blank else last)
            self._path.clear()
        elif last.is_blank:
            is_new = self._before is not None and self._differs_after_blank(self._before, now)
            self._restart(now, 0.0, is_new)
        elif self._change:
            self._await_return(now)
        elif change := self._cut(last, now, ahead):
            self._restart(now, change, new=True)
        else:
            self._walk(now, ahead[-1] if ahead else now)
            if self._end is not None and now.time >= self._end:
                self._restart(now, 0.0, new=True)
        return self.shot

    def _restart(self, now: Thumbnail, change: float, new: bool) -> None:
        self.shot += new
        self._before, self._change, self._end = None, 0.0, None
        self._changes.clear()
        self._changes.append((now.time, change))
        self._path.clear()
        self._path.append(now)

    def _differs_after_blank(self, before: Thumbnail, now: Thumbnail) -> bool:
        return now.time - before.time > _GAP or similarity(before, now) < _SAME

    def _cut(self, last: Thumbnail, now: Thumbnail, ahead: Sequence[Thumbnail] | None) -> float:
        """Return the dissimilarity of two frames if a shot ends between them, else record it and return 0."""
        change = 1.0 - similarity(last, now)
        while self._changes and self._changes[0][0] < now.time - _AROUND:
            self._changes.popleft()
        is_peak = change > _CHANGE and self._is_peak(change) and changed_share(last, now) > _SHARE
        if is_peak and self._is_cut(last, now, change, ahead):
            return change
        self._changes.append((now.time, change))
        return 0.0

    def _is_peak(self, change: float) -> bool:
        changes = [value for _, value in self._changes]
        return change > max(_NEAR_PEAK * max(changes[-_NEAR:], default=0.0), _PEAK * max(changes, default=0.0))

    def _is_cut(self, last: Thumbnail, now: Thumbnail, change: float, ahead: Sequence[Thumbnail] | None) -> bool:
        if ahead is None:
            if shifted_similarity(last, now) > _MATCH:
                return False
            darker = now.image.astype(np.int16) < last.image - _LEVELS
            if darker.mean() > _DARKER:
                return True
            self._before, self._change = last, change
            return False
        chain = (now, *ahead[:_NEAR])
        following = [1.0 - similarity(a, b) for a, b in pairwise(chain) if not b.is_blank]
        if change <= _NEAR_PEAK * max(following, default=0.0):
            return False
        return not any(_returns(last, each, change) for each in ahead)

    def _await_return(self, now: Thumbnail) -> None:
        """Wait in a live stream for the end of what may be a flash."""
        assert self._before
        if _returns(self._before, now, self._change):
            self._restart(now, 0.0, new=False)
        elif now.time - self._before.time > AHEAD:
            self._restart(now, self._change, new=True)

    def _walk(self, now: Thumbnail, furthest: Thumbnail) -> None:
        """Add the furthest known frame to the path of images, and find the end of a dissolve."""
        path = self._path
        if self._end is not None or furthest.is_blank or (path and furthest.time - path[-1].time < _STEP):
            return
        path.append(furthest)
        while path[0].time < furthest.time - _FADE:
            path.popleft()
        if len(path) >= 5 and (end := dissolve_end(path)):
            self._end = max(end, now.time)


def similarity(a: Thumbnail, b: Thumbnail) -> float:
    """Return the correlation of two frames, -1..1, which brightness and contrast do not change."""
    if a.is_blank or b.is_blank:
        return 0.0
    return float(a.values @ b.values) / (a.norm * b.norm)


def changed_share(a: Thumbnail, b: Thumbnail) -> float:
    """Return the share of the image, 0..1, that differs in brightness or colour."""
    levels = np.abs((b.values - a.values).reshape(3, -1))
    levels[0] = np.abs(b.image.ravel().astype(np.float32) - a.image.ravel())
    return float((levels.max(axis=0) > _LEVELS).mean())


def shifted_similarity(a: Thumbnail, b: Thumbnail) -> float:
    """Return the highest correlation of two frames where they overlap after a move of the camera."""
    best, height, width = similarity(a, b), HEIGHT * 2 // 3, WIDTH * 2 // 3
    for top in (0, (HEIGHT - height) // 2, HEIGHT - height):
        for left in (0, (WIDTH - width) // 2, WIDTH - width):
            part = b.image[top : top + height, left : left + width]
            _, _, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(a.image, part, cv2.TM_CCOEFF_NORMED))
            best = max(best, _overlapping(a.image, b.image, x - left, y - top))
    return best


def _overlapping(a: NDArray[np.uint8], b: NDArray[np.uint8], dx: int, dy: int) -> float:
    """Return the correlation where b, moved by (dx, dy), lies over a."""
    one = a[max(dy, 0) : HEIGHT + min(dy, 0), max(dx, 0) : WIDTH + min(dx, 0)]
    other = b[max(-dy, 0) : HEIGHT + min(-dy, 0), max(-dx, 0) : WIDTH + min(-dx, 0)]
    return float(cv2.matchTemplate(one, np.ascontiguousarray(other), cv2.TM_CCOEFF_NORMED)[0, 0])


class NumberShots:
    """Iterates over frames with the numbers of their shots, and failures, in order.

    `AHEAD` seconds of a file wait, less when the frames come to more than 64 MB; of a live source, none does.
    """

    def __init__(self, items: Iterable[Frame | Failure], live: bool = False) -> None:
        self._source, self._live = items, live
        self._items = iter(items)
        self._detector = ShotDetector()
        self._waiting: deque[Frame | Failure] = deque()
        self._thumbnails: deque[Thumbnail] = deque()  # of the waiting frames
        self._held = 0
        self._ended = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[Frame, int] | Failure:
        while not self._ended and not self._is_ready():
            try:
                item = next(self._items)
            except StopIteration:
                self._ended = True
                break
            self._waiting.append(item)
            if not isinstance(item, Failure):
                self._thumbnails.append(thumbnail(item.pixels, item.time))
                self._held += item.nbytes
            del item  # else one more stays in memory
        if not self._waiting:
            raise StopIteration
        first = self._waiting.popleft()
        if isinstance(first, Failure):
            return first
        self._held -= first.nbytes
        current = self._thumbnails.popleft()
        return first, self._detector.update(current, None if self._live else list(self._thumbnails))

    def close(self) -> None:
        """Close the items, if they have `close` and are no generator; any thread may call it."""
        if not isinstance(self._source, Generator):  # which the thread in it closes
            getattr(self._source, "close", lambda: None)()

    def _is_ready(self) -> bool:
        """Return whether enough is known to number the first item."""
        if not self._waiting:
            return False
        if self._live or isinstance(self._waiting[0], Failure):
            return True
        known = len(self._thumbnails)
        is_far = self._thumbnails[-1].time - self._thumbnails[0].time > AHEAD
        return known > _NEAR and (is_far or self._held > prefetch.MAX_BYTES)


def _returns(before: Thumbnail, now: Thumbnail, change: float) -> bool:
    return not now.is_blank and 1.0 - similarity(before, now) < _RETURN * change


def dissolve_end(path: Sequence[Thumbnail]) -> float | None:
    """Return the time of the last frame but one if a dissolve ends there.

    The frames of a dissolve lie on a line of images; the frame after it does not continue that line.
    """
    end, step = path[-2], path[-1].values - path[-2].values
    length = longest = 0.0
    for k in range(len(path) - 3, -1, -1):
        size = float(np.linalg.norm(path[k + 1].values - path[k].values))
        length, longest = length + size, max(longest, size)
        count = len(path) - 2 - k
        line = end.values - path[k].values
        total = float(np.linalg.norm(line))
        if count < 3 or not total or longest > _EVEN * total or length > _STRAIGHT * total:
            continue
        if float(step @ line) / total > _CONTINUED * total / count:
            continue
        if similarity(path[k], end) < _SAME and shifted_similarity(path[k], end) < _MATCH:
            return end.time
    return None
