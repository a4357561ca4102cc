"""PNM and PAM files (.pbm, .pgm, .ppm, .pnm, .pam): header and pixels.

Pillow reads no PAM, and reads the text kinds and more than 8 bits in pure Python, value by value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.media.image_info import CUT, UNKNOWN

_COMMENT = re.compile(rb"#[^\r\n]*")
_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_BITMAP = re.compile(rb"(P[14])" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,9})\s")
_MAP = re.compile(rb"(P[2356])" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,5})\s")
_PAM = re.compile(rb"P7[\r\n](.{0,2000}?)ENDHDR[^\n]*\n", re.DOTALL)
_HEAD = 4096  # bytes in which a header must end
_PIECE = 1 << 20  # bytes of text that are parsed at once


@dataclass(frozen=True, slots=True)
class Pnm:
    """What the header says.

    Attributes:
        kind: b"P1" to b"P7".
        width: Pixels in a row.
        height: Rows.
        channels: 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha.
        largest: The value that stands for full brightness, 1..65535.
        start: Where the pixels begin.
    """

    kind: bytes
    width: int
    height: int
    channels: int
    largest: int
    start: int

    @property
    def bits(self) -> int:
        """Bits of a channel."""
        return 1 if self.kind in (b"P1", b"P4") else 8 if self.largest < 256 else 16

    @property
    def held(self) -> int:
        """Bytes a pixel that reading takes at its peak, besides the file."""
        return 3 + (self.channels * (2 if self.largest > 255 else 1) if self.kind in (b"P1", b"P2", b"P3") else 0)


def starts(data: bytes) -> bool:
    """Whether a file begins as PNM and PAM files do."""
    return data[:1] == b"P" and data[1:2] in b"1234567" and data[2:3] in b" \t\r\n\v\f#"


def parse(data: bytes) -> Pnm:
    """Read the header.

    Raises:
        ValueError: Damaged, or cut short.
    """
    head = data[:_HEAD]
    if found := _BITMAP.match(head):
        parsed = Pnm(found[1], int(found[2]), int(found[3]), 1, 1, found.end())
    elif found := _MAP.match(head):
        channels = 3 if found[1] in (b"P3", b"P6") else 1
        parsed = Pnm(found[1], int(found[2]), int(found[3]), channels, int(found[4]), found.end())
    elif found := _PAM.match(head):
        fields = dict(line.split(None, 1) for line in _COMMENT.sub(b"", found[1]).splitlines() if b" " in line.strip())
        try:
            width, height, channels, largest = (int(fields[key]) for key in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL"))
        except KeyError:
            raise ValueError(UNKNOWN) from None
        parsed = Pnm(b"P7", width, height, channels, largest, found.end())
    else:
        raise ValueError(UNKNOWN)
    if parsed.width < 1 or parsed.height < 1 or not 1 <= parsed.channels <= 4 or not 1 <= parsed.largest <= 65535:
        raise ValueError(UNKNOWN)
    row = -(-parsed.width // 8) if parsed.kind == b"P4" else parsed.width * parsed.channels * (1 + (parsed.bits > 8))
    if parsed.kind in (b"P1", b"P2", b"P3"):
        row = parsed.width * parsed.channels  # a digit each at least
    if row * parsed.height > len(data) - parsed.start:
        raise ValueError(CUT)
    return parsed


def rows(data: bytes, header: Pnm) -> Callable[[int, int], NDArray[Any]]:
    """Return a function of (top, bottom) that gives those rows: uint8 or uint16, (H, W) or (H, W, C) in RGB order."""
    shape = (header.height, header.width) + ((header.channels,) if header.channels > 1 else ())
    if header.kind == b"P4":
        packed = np.frombuffer(data, np.uint8, header.height * -(-header.width // 8), header.start)
        packed = packed.reshape(header.height, -1)
        return lambda top, bottom: np.asarray((1 - np.unpackbits(packed[top:bottom], 1, header.width)) * np.uint8(255))
    if header.kind in (b"P1", b"P2", b"P3"):
        pixels = _text(data, header).reshape(shape)
    else:
        dtype = np.dtype(">u2") if header.largest > 255 else np.dtype(np.uint8)
        pixels = np.frombuffer(data, dtype, int(np.prod(shape)), header.start).reshape(shape)

    def scaled(top: int, bottom: int) -> NDArray[Any]:
        part = pixels[top:bottom]
        if header.largest in (255, 65535):
            return part.astype(part.dtype.newbyteorder("="), copy=False)
        full = 255 if header.largest < 256 else 65535
        wide = np.minimum(part, header.largest).astype(np.uint32) * full + header.largest // 2
        return np.asarray(wide // header.largest, np.uint8 if full == 255 else np.uint16)

    return scaled


def _text(data: bytes, header: Pnm) -> NDArray[Any]:
    """The numbers of a text file, in the order of the file."""
    count = header.width * header.height * header.channels
    out = np.zeros(count, np.uint16 if header.largest > 255 else np.uint8)
    done = 0
    for piece in _pieces(data, header.start):
        numbers = _digits(piece) if header.kind == b"P1" else _numbers(piece)
        numbers = numbers[: count - done]
        out[done : done + len(numbers)] = np.minimum(numbers, header.largest)
        done += len(numbers)
        if done == count:
            return 1 - out if header.kind == b"P1" else out
    raise ValueError(CUT)


def _pieces(data: bytes, at: int) -> Iterator[NDArray[np.uint8]]:
    """The text in pieces that end between two numbers, without comments."""
    while at < len(data):
        end = at + _PIECE
        # A number has few digits; a comment that is cut would be taken for numbers.
        if end < len(data):
            line = max(data.rfind(b"\n", at, end), data.rfind(b"\r", at, end))
            end = line + 1 if line >= 0 else end
            while end < len(data) and data[end - 1 : end].isdigit():
                end += 1
        yield np.frombuffer(_COMMENT.sub(b" ", data[at:end]), np.uint8)
        at = end


def _digits(text: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The bits of a P1 file, which need no blanks between them."""
    return np.asarray(text[(text == 48) | (text == 49)] - 48, np.uint8)


def _numbers(text: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """The decimal numbers, of at most five digits each; of a longer one the last five count."""
    padded = np.concatenate([np.full(5, 32, np.uint8), text, np.full(1, 32, np.uint8)])
    digit = (padded >= 48) & (padded <= 57)
    last = np.flatnonzero(digit[:-1] & ~digit[1:])
    value = np.zeros(len(last), np.uint32)
    part = np.ones(len(last), bool)
    for place in range(5):
        part &= digit[last - place]
        value += np.where(part, padded[last - place] - np.uint8(48), 0).astype(np.uint32) * np.uint32(10**place)
    return value
