"""Text of the overlay, in Pillow's built-in font."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import cv2
import numpy as np
from PIL import ImageFont

from mien.draw.palette import Colour
from mien.types import Image

_CAP_SHARE = 0.7  # height of a capital as a share of the font's size
_STEP = 4  # sizes a pixel: masks of nearly equal sizes are shared


def text_width(text: str, cap: float) -> float:
    """Return the width in pixels of a line whose capitals are `cap` pixels high."""
    return _width(_plain(text), _size(cap))


def write(view: Image, text: str, x: float, base: float, cap: float, colour: Colour) -> None:
    """Write a line into an image, clipped to it; (x, base) is the left end of its base line, in pixels."""
    ink, ground, dx, dy = _layers(_plain(text), _size(cap), colour)
    left, top = round(x) + dx, round(base) + dy
    x1, y1 = max(left, 0), max(top, 0)
    x2, y2 = min(left + ink.shape[1], view.shape[1]), min(top + ink.shape[0], view.shape[0])
    if x1 < x2 and y1 < y2:
        part = slice(y1 - top, y2 - top), slice(x1 - left, x2 - left)
        place = view[y1:y2, x1:x2]
        cv2.add(cv2.multiply(place, ground[part], scale=1 / 255), ink[part], dst=place)


def _size(cap: float) -> int:
    return max(round(cap / _CAP_SHARE * _STEP), _STEP)


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size / _STEP)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


@lru_cache(maxsize=2048)
def _width(text: str, size: int) -> float:
    return float(_font(size).getlength(text))


@lru_cache(maxsize=1024)
def _layers(text: str, size: int, colour: Colour) -> tuple[Image, Image, int, int]:
    """Return what a line adds to an image, the factor (0..255) on what was there, and its place from the line's start.

    Both are uint8 (H, W, 3).
    """
    mask, offset = _font(size).getmask2(text, mode="L", anchor="ls")
    width, height = mask.size
    cover = np.frombuffer(bytes(mask), np.uint8).reshape(height, width, 1).repeat(3, axis=2)
    ink = (cover * np.array(colour, np.uint32) // 255).astype(np.uint8)
    return ink, 255 - cover, round(offset[0]), round(offset[1])


@lru_cache(maxsize=2048)
def _plain(text: str) -> str:
    """Return the text without accents: the font has the letters of ASCII only."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode() if not text.isascii() else text
