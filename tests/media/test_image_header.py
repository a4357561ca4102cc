"""What is known of an image before it is decoded, and what is refused for it."""

from __future__ import annotations

import io
import struct
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from fuzz_images import chunk, deep_png, seeds
from PIL import Image as Pil

from mien.errors import SourceError
from mien.media import image
from mien.media.image_header import read_header
from mien.media.image_info import Header, Limits

FILES = seeds()
NOISE = Pil.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))


def saved(picture: Pil.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("jpeg", Header("jpeg", 56, 40, 3, 8, 1, 6)), ("jpeg gray", Header("jpeg", 56, 40, 1, 8)),
        ("jpeg cmyk", Header("jpeg", 56, 40, 4, 8)), ("mpo", Header("jpeg", 56, 40, 3, 8, 2)),
        ("png", Header("png", 56, 40, 3, 8, 1, 6)), ("png alpha", Header("png", 56, 40, 4, 8, 1, 6)),
        ("png deep", Header("png", 56, 40, 1, 16, 1, 6)), ("png palette", Header("png", 56, 40, 3, 4)),
        ("png bit", Header("png", 56, 40, 1, 1)), ("png deep alpha", Header("png", 56, 40, 4, 16)),
        ("apng", Header("png", 56, 40, 3, 8, 2)), ("gif", Header("gif", 56, 40, 3, 8, 2)),
        ("webp", Header("webp", 56, 40, 3, 8, 1, 6)), ("webp alpha lossless", Header("webp", 56, 40, 4, 8)),
        ("webp animated", Header("webp", 56, 40, 4, 8, 2)), ("bmp", Header("bmp", 56, 40, 3, 8)),
        ("dib", Header("dib", 56, 40, 3, 8)), ("tiff alpha", Header("tiff", 56, 40, 4, 8, 1, 6)),
        ("tiff bit", Header("tiff", 56, 40, 1, 1)), ("tiff deep", Header("tiff", 56, 40, 1, 16)),
        ("tiff pages", Header("tiff", 56, 40, 3, 8, 3)), ("tiff big", Header("tiff", 56, 40, 3, 8)),
        ("ppm", Header("pnm", 56, 40, 3, 8)), ("pgm deep", Header("pnm", 56, 40, 1, 16)),
        ("pbm", Header("pnm", 56, 40, 1, 1)), ("pam", Header("pnm", 56, 40, 4, 8)),
        ("tga", Header("tga", 56, 40, 4, 8)),
        ("jp2", Header("jp2", 56, 40, 3, 8)), ("j2k", Header("jp2", 56, 40, 3, 8)),
        ("avif", Header("avif", 56, 40, 4, 8, 1, 6)), ("avif animated", Header("avif", 56, 40, 3, 8, 2)),
        ("heic", Header("heic", 56, 40, 3, 8)), ("heic alpha", Header("heic", 56, 40, 4, 8)),
    ],
)  # fmt: skip
def test_the_header_is_read_without_decoding(name: str, expected: Header) -> None:
    if name not in FILES:
        pytest.skip("this installation cannot write such a file")
    found = read_header(FILES[name], "x.tga" if "tga" in name else "x")
    assert found.memory >= found.width * found.height * 3
    assert Header(**{field: getattr(found, field) for field in Header.__slots__} | {"memory": 0}) == expected


def test_a_path_is_read_and_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(FILES["png"])
    assert read_header(path).width == 56
    path.write_bytes(b"no image")
    with pytest.raises(SourceError, match=r"a\.png: not an image"):
        read_header(path)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"), (b"hello, world", "not an image that mien can read; use a JPEG"),
        (b"%PDF-1.4" + bytes(99), "not an image"), (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(99), "a video, not an image; use mien video"),
        (b"\xff\xd8\xff", "cut short"), (b"RIFF1234WEBP", "cut short"), (b"P5 of the report", "not an image"),
        (b"II*\0", "cut short"), (b"GIF89a", "cut short"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_refused_with_advice(data: bytes, reason: str) -> None:
    with pytest.raises(SourceError, match=f"letter: .*{reason}"):
        read_header(data, "letter")


def jpeg_scans(count: int, side: int = 400) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    data = saved(Pil.new("RGB", (side, side), (90, 60, 30)), "JPEG", progressive=True)
    scan, end = data.rfind(b"\xff\xda"), data.rfind(b"\xff\xd9")
    return data[:end] + data[scan:end] * (count - data.count(b"\xff\xda")) + data[end:]


@cache
def bombs() -> dict[str, bytes]:
    """Small files that declare 60,000 x 60,000 pixels, or else would take much memory or time."""
    side = 60_000
    jpeg = bytearray(FILES["jpeg"])
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", side, side)
    bmp = bytearray(FILES["bmp"])
    bmp[18:26] = struct.pack("<ii", side, -side)
    size = struct.pack(">IIBBBBB", 48, 48, 8, 2, 0, 0, 0)
    flat = bytes(11_000 * 9_000 * 8 // 1000)
    deep = struct.pack(">IIBBBBB", 11_000, 9_000, 16, 6, 0, 0, 0)
    sign = b"\x89PNG\r\n\x1a\n"
    jp2 = bytearray(FILES.get("j2k", b""))
    if jp2:
        jp2[8:16] = jp2[24:32] = struct.pack(">II", side, side)
    avif = FILES.get("avif", b"")
    tile = ((256, 4, 1, 9), (257, 4, 1, 9), (322, 4, 1, side), (323, 4, 1, side))
    return {
        "jpeg": bytes(jpeg),
        "jpeg that cannot hold its pixels": bytes(jpeg[: at + 5] + b"\x23\x28\x23\x28" + jpeg[at + 9 :]),
        "jpeg of 3000 scans": jpeg_scans(3000),
        "jpeg of large scans": jpeg_scans(90, 5000),
        "png": sign + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)) + FILES["png"][33:],
        "png with a huge chunk": sign + chunk(b"IHDR", size) + b"\xff\xff\xff\xf0IDATIEND",
        "png that cannot hold its pixels": sign
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0)) + FILES["png"][33:],
        "png of 16 bits with alpha": sign + chunk(b"IHDR", deep) + chunk(b"IDAT", flat) + chunk(b"IEND", b""),
        "bmp": bytes(bmp),
        "gif": b"GIF89a" + struct.pack("<HHBBB", side, side, 0, 0, 0) + b"\x2c" + bytes(9) + b"\2\2\x44\1\0\x3b",
        "gif with a large frame": b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0, 0, 0)
        + b"\x2c" + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\2\2\x44\1\0\x3b",
        "webp": b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (b"\x5f\xea\0") * 2 + b"\0" * 10,
        "tiff": b"II*\0\x08\0\0\0\x02\0" + struct.pack("<HHIIHHII", 256, 4, 1, side, 257, 4, 1, side) + bytes(4),
        "tiff of one tile": b"II*\0\x08\0\0\0\x04\0"
        + b"".join(struct.pack("<HHII", *tag) for tag in tile)
        + bytes(4),
        "pnm": b"P6\n# big\n60000 60000\n255\n",
        "pam": b"P7\nWIDTH 60000\nHEIGHT 60000\nDEPTH 4\nMAXVAL 65535\nENDHDR\n",
        "j2k": bytes(jp2) or b"P6 60000 60000 255\n",
        "avif": avif.replace(struct.pack(">II", 56, 40), struct.pack(">II", side, side)) or b"P6 60000 60000 255\n",
    }  # fmt: skip


@pytest.mark.parametrize("name", bombs())
def test_a_bomb_is_refused_from_its_header(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bombs()[name]
    assert len(data) < 1_000_000
    monkeypatch.delattr(image, "_decoded")
    with pytest.raises(SourceError, match=r"more than|cut short|too many scans"):
        image.decode(data, "bomb")


def test_scans_of_an_ordinary_progressive_image_are_no_bomb() -> None:
    data = jpeg_scans(40) + b"\xff\xda a video that a phone appended" * 300
    assert image.decode(data, "x").shape == (400, 400, 3)


def decoys() -> dict[str, bytes]:
    """Images whose header says 8 x 8 to a reader that is less strict than a decoder, which finds more pixels."""
    jpeg = saved(Pil.new("RGB", (400, 400), (128, 128, 128)), "JPEG")
    behind = 4 + struct.unpack(">H", jpeg[2:4])[0]  # where the marker's "length" leads to
    small = b"\xff\xc0\0\x0b\x08\0\x08\0\x08\x01\x01\x11\0" + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0\xff\xd9"
    found = {}
    for name, marker in (("TEM", b"\x01"), ("zero", b"\0"), ("restart", b"\xd0")):
        head = b"\xff\xd8\xff" + marker + jpeg[2:]
        found[name] = head + b"\0" * (behind - len(head)) + small
    entry = {kind: struct.pack("<HHII", 257, 4, 1, 8) + struct.pack("<HHII", 256, kind, 1, 8) for kind in (4, 16)}
    found["tiff, twice"] = b"II*\0\x08\0\0\0\x03\0" + struct.pack("<HHII", 256, 4, 1, 9999) + entry[4] + b"\0" * 4
    found["tiff, LONG8"] = b"II*\0\x08\0\0\0\x02\0" + entry[16] + b"\0" * 4
    found["pnm"] = b"P5\n#c\r400 400 255\n8 8 255\n" + b"\0" * 160_000
    png = deep_png(np.zeros((40, 60, 3), np.uint16))
    found["png, second header"] = png[:33] + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)) + png[33:]
    return found


@pytest.mark.parametrize("name", decoys())
def test_a_header_that_decoders_read_differently_is_refused(name: str) -> None:
    with pytest.raises(SourceError, match=r"cut short|damaged|more than the limit"):
        image.decode(decoys()[name], name, Limits(pixels=1000))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_impossible_orientation_counts_as_upright(orientation: int) -> None:
    exif = Pil.Exif()
    exif[0x0112] = orientation
    assert read_header(saved(NOISE, "JPEG", exif=exif), "x").orientation == 1


def test_limits_are_checked_by_bytes_pixels_and_memory() -> None:
    data = saved(NOISE, "PNG")
    for limits, reason in (
        (Limits(file_bytes=len(data) - 1), "bytes is more than the limit"),
        (Limits(pixels=2399), "60 x 40 pixels is more than the limit of 2399"),
        (Limits(memory=20_000), "to decode, more than the limit"),
    ):
        with pytest.raises(SourceError, match=reason):
            read_header(data, "x", limits)
    assert read_header(data, "x", Limits(file_bytes=len(data), pixels=2400)).width == 60


@pytest.mark.parametrize(("channels", "bits"), [(5, 8), (3, 128)])
def test_a_tiff_of_unusual_channels_is_named(channels: int, bits: int) -> None:
    tags = ((256, 3, 9), (257, 3, 9), (258, 3, bits), (277, 3, channels))
    data = (
        b"II*\0\x08\0\0\0\x04\0" + b"".join(struct.pack("<HHII", tag, kind, 1, v) for tag, kind, v in tags) + bytes(4)
    )
    with pytest.raises(SourceError, match=f"{channels} channels of {bits} bits"):
        read_header(data, "x")
