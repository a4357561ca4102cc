"""One frame of a video, converted only as far as somebody asks."""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import lru_cache
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from mien.errors import SourceError
from mien.media.pixels import halve
from mien.types import Image

_CACHED = 8  # scalers a thread, each for one size
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
_WEIGHTS = (0.299, 0.114)  # of red and blue in OpenCV's gray: BT.601
# Luma weights of red and blue by AVColorSpace. Unspecified counts as BT.601, as in swscale.
_LUMA = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
_UNSPECIFIED = 2
_DEFAULT_LUMA = frozenset({_UNSPECIFIED, 5, 6})  # and BT.470 BG and SMPTE 170M
_RGB = 0

# 8-bit formats with a luma plane: log2 of the chroma subsampling (x, y), or None without chroma.
_PLANAR = {
    "yuv420p": (1, 1), "yuvj420p": (1, 1), "yuv422p": (1, 0), "yuvj422p": (1, 0), "yuv444p": (0, 0),
    "yuvj444p": (0, 0), "yuv440p": (0, 1), "yuvj440p": (0, 1), "yuv411p": (2, 0), "yuv410p": (2, 2),
    "gray": None,
}  # fmt: skip


class Turn(NamedTuple):
    """How to display a stored picture: transpose it first, then flip it."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def from_matrix(cls, matrix: NDArray[np.int32]) -> Turn:
        """Return the nearest quarter turn or mirroring of a display matrix (nine numbers, 16.16 fixed point).

        A point (x, y) of the stored picture is displayed at (ax + cy, bx + dy); a, b, c and d are the elements 0, 1, 3
        and 4 of the matrix.
        """
        if matrix.size != 9:
            return cls()
        a, b, c, d = (float(matrix[k]) for k in (0, 1, 3, 4))
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    @property
    def degrees(self) -> int:
        """Degrees clockwise: 0, 90, 180 or 270; a mirrored picture is then flipped left to right."""
        return 90 * self.transpose + 180 * self.flip_y

    @property
    def mirrored(self) -> bool:
        """Whether text would read backwards."""
        return (self.transpose + self.flip_x + self.flip_y) % 2 == 1

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return pixels (H, W) or (H, W, C) as displayed; without a turn, the same array."""
        if self == Turn():
            return pixels
        if self.transpose:
            pixels = np.asarray(cv2.transpose(pixels), np.uint8)
        if self.flip_x or self.flip_y:
            code = -1 if self.flip_x and self.flip_y else int(self.flip_x)
            pixels = np.asarray(cv2.flip(pixels, code), np.uint8)
        return pixels

    def stored_box(self, box: tuple[int, int, int, int], width: int, height: int) -> tuple[int, int, int, int]:
        """Return the box in the stored picture of a box in the displayed one, `width` x `height` pixels."""
        x1, y1, x2, y2 = box
        if self.flip_x:
            x1, x2 = width - x2, width - x1
        if self.flip_y:
            y1, y2 = height - y2, height - y1
        return (y1, x1, y2, x2) if self.transpose else (x1, y1, x2, y2)


class VideoFrame:
    """A decoded frame that is converted on demand: whole, small or gray.

    Another thread than the reader's may convert it. Its arrays are shared: copy before drawing.

    Attributes:
        index: number in the video, from 0.
        time: seconds since the first frame.
        name: the video, for display.
        gap: what is missing or damaged just before this frame, as a sentence, or "".
        width: pixels, after rotation and pixel aspect ratio.
        height: pixels, after rotation and pixel aspect ratio.
    """

    __slots__ = ("_bgr", "_lock", "_picture", "_stored", "_turn", "gap", "height", "index", "name", "time", "width")

    def __init__(
        self,
        picture: av.VideoFrame,
        index: int = 0,
        time: float = 0.0,
        name: str = "",
        turn: Turn | None = None,
        aspect: float = 1.0,
        gap: str = "",
    ) -> None:
        """Wrap a decoded picture, not changed elsewhere; `aspect` is the width of a stored pixel by its height."""
        self.index, self.time, self.name, self.gap = index, time, name, gap
        self._picture, self._turn = picture, turn or Turn()
        self._stored = sum(plane.buffer_size for plane in picture.planes)
        if picture.colorspace not in {_RGB, *_LUMA, *_DEFAULT_LUMA}:  # damaged, or refused by swscale
            picture.colorspace = _UNSPECIFIED
        shown = max(round(picture.width * aspect), 1), picture.height
        self.width, self.height = shown[::-1] if self._turn.transpose else shown
        self._bgr: Image | None = None
        self._lock = threading.Lock()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, 3), the shape of `bgr()`."""
        return self.height, self.width, 3

    @property
    def image(self) -> Image:
        """The whole frame, as `bgr()`."""
        return self.bgr()

    @property
    def nbytes(self) -> int:
        """Bytes of pixels that the frame holds in memory."""
        return self._stored + (0 if self._bgr is None else self._bgr.nbytes)

    def bgr(self) -> Image:
        """Return the whole frame, uint8 BGR (H, W, 3), converted once."""
        with self._lock:
            if self._bgr is None:
                self._bgr = self._converted(self.width, self.height)
            return self._bgr

    def small(self, width: int, height: int) -> Image:
        """Return the frame scaled to `width` x `height` pixels, uint8 BGR, without converting the whole frame."""
        if (width, height) == (self.width, self.height):
            return self.bgr()
        with self._lock:
            return self._converted(width, height)

    def gray(self, box: tuple[int, int, int, int] | None = None, halvings: int = 0) -> NDArray[np.uint8]:
        """Return the part (x1, y1, x2, y2) of the frame, or all of it, in gray: uint8 (y2 - y1, x2 - x1).

        It equals OpenCV's gray within rounding and comes from the luma plane where there is one. Each halving averages
        2x2 pixels; an odd last row or column is dropped, but the last one stays.
        """
        x1, y1, x2, y2 = box or (0, 0, self.width, self.height)
        if not (0 <= x1 <= x2 <= self.width and 0 <= y1 <= y2 <= self.height):
            raise ValueError(f"the box {box} exceeds the frame of {self.width} x {self.height} pixels")
        if x1 == x2 or y1 == y2:
            return np.zeros((y2 - y1, x2 - x1), np.uint8)
        x2, y2 = (high - (high - low) % 2**halvings % (high - low) for low, high in ((x1, x2), (y1, y2)))
        stored = self._turn.stored_box((x1, y1, x2, y2), self.width, self.height)
        luma = _luma(self._picture, stored, halvings) if self._is_unscaled() else None
        if luma is None:
            return _halved(cv2.cvtColor(self.bgr()[y1:y2, x1:x2], cv2.COLOR_BGR2GRAY), halvings)
        return self._turn.apply(luma)

    def thumbnail(self, width: int, height: int) -> NDArray[np.uint8]:
        """Return brightness, Cb and Cr, uint8 (3, height, width), to compare frames: coarse, and as stored.

        Only `2 * height` lines of brightness are read, and `height` of each colour: a tenth of the time of `small`.
        """
        picture = self._picture
        if picture.format.name not in _PLANAR or any(plane.line_size <= 0 for plane in picture.planes):
            return np.asarray(cv2.cvtColor(self.small(width, height), cv2.COLOR_BGR2YCrCb), np.uint8).transpose(2, 0, 1)
        made = np.full((3, height, width), 128, np.uint8)
        for k, lines in enumerate((2 * height, height, height)[: len(picture.planes)]):
            rows = _plane(picture, k)
            step = max(rows.shape[0] // lines, 1)
            cv2.resize(rows[step // 2 :: step], (width, height), dst=made[k], interpolation=cv2.INTER_AREA)
        return made

    def _is_unscaled(self) -> bool:
        shown = (self.height, self.width) if self._turn.transpose else (self.width, self.height)
        return shown == (self._picture.width, self._picture.height)

    def _converted(self, width: int, height: int) -> Image:
        """Return the picture scaled to a size as displayed, uint8 BGR (height, width, 3)."""
        size = (height, width) if self._turn.transpose else (width, height)
        try:
            picture = _reduced(self._picture, size)
            made = _scaler(size).reformat(picture, *size, "bgr24", interpolation=Interpolation.AREA, threads=1)
        except (OSError, av.FFmpegError) as error:
            kind = self._picture.format.name
            raise SourceError(f"{self.name}: frames of {kind} cannot be shown ({error}); convert the video") from error
        if made is self._picture:  # BGR of that size already
            return self._turn.apply(np.asarray(made.to_ndarray(), np.uint8))
        return self._turn.apply(_pixels(made))


_local = threading.local()


def _scaler(size: tuple[int, int]) -> VideoReformatter:
    """Return this thread's scaler for a size; a new one takes the time of several frames."""
    scalers: OrderedDict[tuple[int, int], VideoReformatter] | None = getattr(_local, "scalers", None)
    if scalers is None:
        scalers = _local.scalers = OrderedDict()
    scaler = scalers.pop(size, None) or VideoReformatter()
    scalers[size] = scaler
    if len(scalers) > _CACHED:
        scalers.popitem(last=False)
    return scaler


def _pixels(picture: Any) -> Image:
    """Return the pixels of a BGR picture, (H, W, 3); they are copied only if rows are padded."""
    plane = picture.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(picture.height, plane.line_size)
    row = 3 * picture.width
    return np.ascontiguousarray(rows[:, :row]).reshape(picture.height, picture.width, 3)


def _reduced(picture: Any, size: tuple[int, int]) -> Any:
    """Return a picture with a quarter or an eighth of the pixels if that makes scaling to `size` faster.

    OpenCV's mean of four pixels takes a third of the time of swscale's. Down to a quarter of the height and less, every
    second line is enough: the result differs by half a gray level from the mean of all, in two thirds of the time.
    """
    width, height = picture.width, picture.height
    if picture.format.name not in ("yuv420p", "yuvj420p") or any(plane.line_size <= 0 for plane in picture.planes):
        return picture
    if width >= 2 * size[0] and height >= 4 * size[1] and width % 4 == 0 and height % 8 == 0:
        step = 2
    elif (width, height) == (2 * size[0], 2 * size[1]) and width % 4 == 0 and height % 4 == 0:
        step = 1
    else:
        return picture
    made = _reduced_picture(width // 2, height // (2 * step), picture.format.name)
    for k in range(3):
        goal = _plane(made, k)
        cv2.resize(_plane(picture, k)[::step], goal.shape[::-1], dst=goal, interpolation=cv2.INTER_AREA)
    made.colorspace, made.color_range = picture.colorspace, picture.color_range
    return made


def _reduced_picture(width: int, height: int, pixels: str) -> Any:
    """Return this thread's picture of that kind to overwrite; fresh memory takes longer than the scaling."""
    kind, made = getattr(_local, "reduced", (None, None))
    if kind != (width, height, pixels):
        made = av.VideoFrame(width, height, pixels)
        _local.reduced = (width, height, pixels), made
    return made


def _halved(pixels: Any, halvings: int) -> NDArray[np.uint8]:
    """Return gray pixels, (H, W), with each side halved that often by averaging, but with one pixel at least."""
    for _ in range(halvings):
        pixels = halve(pixels)
    return np.asarray(pixels, np.uint8)


def _luma(picture: Any, box: tuple[int, int, int, int], halvings: int) -> NDArray[np.uint8] | None:
    """Return a part of a stored picture in OpenCV's gray, halved, or None if its planes do not give it."""
    name, space = picture.format.name, picture.colorspace
    if name not in _PLANAR or any(plane.line_size <= 0 for plane in picture.planes):
        return None
    if space not in _LUMA and space not in _DEFAULT_LUMA:
        return None
    full = name == "gray" or name.startswith("yuvj") or picture.color_range == _FULL_RANGE
    x1, y1, x2, y2 = box
    luma = _plane(picture, 0)[y1:y2, x1:x2]
    step = _PLANAR[name]
    if space not in _LUMA or step is None:
        luma = _halved(luma, halvings)
        return luma.copy() if full else np.asarray(cv2.LUT(luma, _FROM_LIMITED), np.uint8)
    # BT.709 and others weigh colours differently from OpenCV's gray: chroma gives the difference, which is scaled to
    # fill 8 bits.
    of_blue, of_red = _chroma_weights(space, full)
    unit = (abs(of_blue) + abs(of_red)) * 128 / 127
    sx, sy = step
    part = np.s_[y1 >> sy : ((y2 - 1) >> sy) + 1, x1 >> sx : ((x2 - 1) >> sx) + 1]
    cb, cr = _plane(picture, 1)[part], _plane(picture, 2)[part]
    offset = cv2.addWeighted(cb, of_blue / unit, cr, of_red / unit, 128 * (1 - (of_blue + of_red) / unit))
    if halvings and step == (1, 1) and not (x1 % 2 or y1 % 2) and min(luma.shape) > 1:
        luma, halvings = _halved(luma, 1), halvings - 1  # now one pixel a sample of chroma
        offset = offset[: luma.shape[0], : luma.shape[1]]
    else:
        size = offset.shape[1] << sx, offset.shape[0] << sy
        offset = cv2.resize(offset, size, interpolation=cv2.INTER_NEAREST)
        offset = offset[y1 - (y1 >> sy << sy) :, x1 - (x1 >> sx << sx) :][: y2 - y1, : x2 - x1]
    scale, black = (1.0, 0.0) if full else (255 / 219, 16.0)
    gray = cv2.addWeighted(luma, scale, offset, unit, -black * scale - 128 * unit)
    return _halved(gray, halvings)


def _plane(picture: Any, k: int) -> NDArray[np.uint8]:
    plane = picture.planes[k]
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return np.asarray(rows[:, : plane.width])


@lru_cache
def _chroma_weights(space: int, full: bool) -> tuple[float, float]:
    """Return what a step of Cb and of Cr adds to luma in OpenCV's gray."""
    red, blue = _LUMA[space]
    green = 1 - red - blue
    gray_red, gray_blue = _WEIGHTS
    gray_green = 1 - gray_red - gray_blue
    step = 1.0 if full else 255 / 224
    of_blue = 2 * (1 - blue) * (gray_blue - gray_green * blue / green)
    of_red = 2 * (1 - red) * (gray_red - gray_green * red / green)
    return step * of_blue, step * of_red


_FROM_LIMITED = np.clip(np.rint((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)
