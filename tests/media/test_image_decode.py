"""Decoding images: right pixels from every format, upright, and a SourceError for whatever cannot be read."""

from __future__ import annotations

import io
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress

import cv2
import numpy as np
import pytest
from fuzz_images import chunk, deep_png
from PIL import Image as Pil
from PIL import ImageOps, features

from mien.errors import SourceError
from mien.media import image
from mien.media.image_header import read_header
from mien.media.image_info import Limits

SIZE = (60, 40)
RAMP = np.dstack([np.tile(np.arange(0, 240, 4, dtype=np.uint8), (40, 1))] * 2 + [np.full((40, 60), 30, np.uint8)])
RAMP[20:, :, 1] //= 2  # BGR; no symmetry: each of the eight orientations is another image


def saved(picture: Pil.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def rgb(bgr: np.ndarray = RAMP) -> Pil.Image:
    return Pil.fromarray(np.ascontiguousarray(bgr[:, :, ::-1]))


def rgba(alpha: int = 255) -> Pil.Image:
    """The ramp with its corner transparent."""
    picture = rgb().convert("RGBA")
    picture.putalpha(alpha)
    picture.putpixel((0, 0), (0, 0, 0, 0))
    return picture


def oriented(orientation: int) -> Pil.Exif:
    exif = Pil.Exif()
    exif[0x0112] = orientation
    return exif


def heic(picture: Pil.Image, orientation: int = 1, **options: object) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer, file = io.BytesIO(), pillow_heif.from_pillow(picture)
    if orientation > 1:
        file[0].info["exif"] = oriented(orientation).tobytes()  # the writer makes properties of HEIC from it
    file.save(buffer, **options)
    return buffer.getvalue()


def avif(picture: Pil.Image, **options: object) -> bytes:
    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    return saved(picture, "AVIF", quality=100, subsampling="4:4:4", **options)


def pam(bgr: np.ndarray) -> bytes:
    head = b"P7\n# a comment\nWIDTH 60\nHEIGHT 40\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n"
    return head + bgr[:, :, ::-1].tobytes()


FORMATS: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: saved(rgb(), "JPEG", quality=98, subsampling=0),
    "progressive jpeg": lambda: saved(rgb(), "JPEG", quality=98, subsampling=0, progressive=True),
    "mpo": lambda: saved(rgb(), "MPO", quality=98, subsampling=0, save_all=True, append_images=[Pil.new("RGB", SIZE)]),
    "png": lambda: saved(rgb(), "PNG"),
    "apng": lambda: saved(rgb(), "PNG", save_all=True, append_images=[Pil.new("RGB", SIZE)], duration=50),
    "png of 16 bits": lambda: deep_png(RAMP[:, :, ::-1].astype(np.uint16) * 257),
    "gif": lambda: saved(rgb().quantize(256), "GIF", save_all=True, append_images=[Pil.new("RGB", SIZE)], duration=50),
    "webp": lambda: saved(rgb(), "WEBP", lossless=True),
    "animated webp": lambda: saved(
        rgb(), "WEBP", lossless=True, save_all=True, append_images=[Pil.new("RGB", SIZE)], duration=50
    ),
    "bmp": lambda: saved(rgb(), "BMP"),
    "dib": lambda: saved(rgb(), "DIB"),
    "tiff": lambda: saved(rgb(), "TIFF"),
    "tiff, LZW": lambda: saved(rgb(), "TIFF", compression="tiff_lzw"),
    "tiff, deflate": lambda: saved(rgb(), "TIFF", compression="tiff_adobe_deflate"),
    "tiff, JPEG": lambda: saved(rgb(), "TIFF", compression="jpeg", quality=98),
    "BigTIFF": lambda: saved(rgb(), "TIFF", big_tiff=True),
    "tiff of 16 bits": lambda: cv2.imencode(".tiff", RAMP.astype(np.uint16) * 257)[1].tobytes(),
    "ppm": lambda: saved(rgb(), "PPM"),
    "ppm of 16 bits": lambda: b"P6 60 40 65535\n" + (RAMP[:, :, ::-1].astype(">u2") * 257).tobytes(),
    "ppm text": lambda: b"P3\n# text\n60 40\n255\n" + " ".join(map(str, RAMP[:, :, ::-1].ravel())).encode(),
    "pam": lambda: pam(RAMP),
    "tga": lambda: saved(rgb(), "TGA"),
    "tga, RLE": lambda: saved(rgb(), "TGA", compression="tga_rle"),
    "jp2": lambda: saved(rgb(), "JPEG2000"),
    "jpeg 2000 codestream": lambda: saved(rgb(), "JPEG2000", no_jp2=True),
    "avif": lambda: avif(rgb()),
    "animated avif": lambda: avif(rgb(), save_all=True, append_images=[Pil.new("RGB", SIZE)], duration=50),
    "heic": lambda: heic(rgb(), quality=-1, chroma=444),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_bgr_of_its_first_frame(kind: str) -> None:
    out = image.decode(FORMATS[kind](), "photo.tga" if "tga" in kind else "photo")
    assert out.dtype == np.uint8 and out.shape == (40, 60, 3) and out.flags.writeable and out.flags.c_contiguous
    assert np.abs(out.astype(int) - RAMP).max() <= (0 if "png" in kind else 8)


GRAY = RAMP[:, :, 0]
GRAY_FORMATS = {
    "jpeg": lambda: saved(Pil.fromarray(GRAY), "JPEG", quality=98),
    "png": lambda: saved(Pil.fromarray(GRAY), "PNG"),
    "png of 16 bits": lambda: saved(Pil.fromarray(GRAY.astype(np.uint16) * 257), "PNG"),
    "tiff of 16 bits": lambda: saved(Pil.fromarray(GRAY.astype(np.uint16) * 257), "TIFF"),
    "tiff of floats": lambda: saved(Pil.fromarray(GRAY.astype(np.float32) / 255), "TIFF"),
    "pgm": lambda: saved(Pil.fromarray(GRAY), "PPM"),
    "pgm of 16 bits": lambda: saved(Pil.fromarray(GRAY.astype(np.uint16) * 257), "PPM"),
    "pgm text": lambda: b"P2 60 40 255\n" + "\n".join(map(str, GRAY.ravel())).encode(),
    "pgm of few grays": lambda: b"P5 60 40 51\n" + (GRAY // 5).tobytes(),
    "heic": lambda: heic(Pil.fromarray(GRAY), quality=-1),
}


@pytest.mark.parametrize("kind", GRAY_FORMATS)
def test_gray_becomes_three_equal_channels(kind: str) -> None:
    out = image.decode(GRAY_FORMATS[kind](), "x")
    assert (out == out[:, :, :1]).all()
    assert np.abs(out[:, :, 0].astype(int) - GRAY).max() <= 4


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_black_and_white_keeps_its_polarity(kind: str) -> None:
    picture = Pil.fromarray(np.where(GRAY > 100, 255, 0).astype(np.uint8)).convert("1")
    out = image.decode(saved(picture, kind), "x")
    np.testing.assert_array_equal(out[:, :, 0], np.asarray(picture) * np.uint8(255))


@pytest.mark.parametrize("text", [False, True])
def test_black_and_white_pnm_counts_one_as_black(text: bool) -> None:
    data = b"P1\n# a\n3 2\n101\n0 1 0" if text else b"P4\n3 2\n\xa0\x40"
    assert image.decode(data, "x")[:, :, 0].tolist() == [[0, 255, 0], [255, 0, 255]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "WEBP", "TIFF", "PNG alpha", "PNG 16 bits", "WEBP alpha", "TIFF alpha"]
)
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    form, _, variant = kind.partition(" ")
    exif = oriented(orientation)
    options: dict[str, object] = {"quality": 98, "subsampling": 0} if form == "JPEG" else {}
    if form == "WEBP":
        options["lossless"] = True
    if variant == "16 bits":
        plain = deep_png(RAMP[:, :, ::-1].astype(np.uint16) * 257)
        data = plain[:33] + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + plain[33:]
    elif form == "TIFF":
        data = saved(rgba() if variant else rgb(), form, tiffinfo={274: orientation})
    else:
        data = saved(rgba() if variant else rgb(), form, exif=exif, **options)
    upright = ImageOps.exif_transpose(_with_orientation(rgb(), orientation))
    expected = np.asarray(upright)[:, :, ::-1].astype(int)
    out = image.decode(data, "x")
    assert out.shape == expected.shape
    assert np.quantile(np.abs(out - expected), 0.99) <= 6  # the transparent corner apart


def _with_orientation(picture: Pil.Image, orientation: int) -> Pil.Image:
    return Pil.open(io.BytesIO(saved(picture, "PNG", exif=oriented(orientation))))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["avif", "heic"])
def test_orientation_of_avif_and_heic_is_applied_once(kind: str, orientation: int) -> None:
    picture = _with_orientation(rgb(), orientation)
    if kind == "avif":
        data = avif(rgb(), exif=oriented(orientation))
    else:
        data = heic(rgb(), orientation, quality=-1, chroma=444)
        assert b"irot" in data or b"imir" in data or orientation == 1
    expected = np.asarray(ImageOps.exif_transpose(picture))[:, :, ::-1]
    out = image.decode(data, "x")
    assert out.shape == expected.shape
    assert np.abs(out.astype(int) - expected).max() <= 8


def test_a_wide_image_is_turned_band_by_band() -> None:
    wide = np.random.default_rng(0).integers(0, 256, (700, 900, 3), dtype=np.uint8)
    out = image.decode(saved(rgb(wide), "PNG", exif=oriented(6)), "x")
    np.testing.assert_array_equal(out, cv2.rotate(wide, cv2.ROTATE_90_CLOCKWISE))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG2000", "TGA", "PNG palette", "PNG gray", "AVIF", "GIF"])
def test_transparency_is_laid_over_white(kind: str) -> None:
    half = Pil.new("RGBA", (8, 8), (255, 0, 0, 128))
    half.putpixel((0, 0), (0, 0, 0, 0))
    middle, slack = [127, 127, 255], 2
    if kind == "PNG palette":
        palette = Pil.new("P", (8, 8), 1)
        palette.putpalette([0, 0, 0, 255, 0, 0])
        palette.putpixel((0, 0), 0)
        data = saved(palette, "PNG", transparency=bytes([0, 128]))
    elif kind == "PNG gray":
        data, middle = saved(half.convert("LA"), "PNG"), [165, 165, 165]
    elif kind == "GIF":
        palette = Pil.new("P", (8, 8), 1)
        palette.putpalette([0, 0, 0, 255, 0, 0])
        palette.putpixel((0, 0), 0)
        data, middle = saved(palette, "GIF", transparency=0), [0, 0, 255]
    elif kind == "AVIF":
        data, slack = avif(half), 6
    else:
        data = saved(half, kind, **({"lossless": True} if kind == "WEBP" else {}))
    out = image.decode(data, "x.tga").astype(int)
    assert np.abs(out[0, 0] - 255).max() <= slack
    assert np.abs(out[4, 4] - middle).max() <= slack


@pytest.mark.parametrize(
    ("colour", "bits", "row", "key"),
    [(0, 2, b"\x1b", (1,)), (0, 8, bytes([0, 1, 2, 3]), (1,)), (0, 16, bytes([0, 0, 2, 1, 2, 2, 9, 9]), (513,)),
     (2, 8, bytes([9, 9, 9, 1, 2, 3]), (1, 2, 3)), (2, 16, bytes(range(12)), (1543, 2057, 2571))],
)  # fmt: skip
def test_the_transparent_colour_of_a_png_becomes_white(
    colour: int, bits: int, row: bytes, key: tuple[int, ...]
) -> None:
    width = len(row) * 8 // bits // len(key)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, 1, bits, colour, 0, 0, 0))]
    parts += [(b"tRNS", struct.pack(f">{len(key)}H", *key)), (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    out = image.decode(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts), "x")
    assert (out == 255).all(axis=2)[0].tolist()[:2] == [False, True]


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_16_bits_are_rounded_not_cut(kind: str, channels: int) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (20, 30, channels)).astype(np.uint16)
    deep[:, :, 3:] = 65535
    data = deep_png(deep) if kind == "png" else cv2.imencode(".tiff", deep[:, :, [2, 1, 0, *range(3, channels)]])[1]
    expected = np.rint(deep[:, :, 2::-1] / 257)
    np.testing.assert_array_equal(image.decode(bytes(data), "x"), expected)


def test_gray_and_alpha_of_16_bits_are_read() -> None:
    pairs = np.random.default_rng(0).integers(0, 65536, (5, 7, 2)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in pairs)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 7, 5, 16, 4, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    out = image.decode(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts), "x")
    gray, alpha = np.rint(pairs[:, :, 0] / 257), np.rint(pairs[:, :, 1] / 257)
    assert np.abs(out[:, :, 0] - (gray * alpha / 255 + 255 - alpha)).max() <= 1


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_read_as_colour(kind: str) -> None:
    out = image.decode(saved(Pil.new("RGB", (16, 16), (255, 0, 0)).convert("CMYK"), kind), "x")
    blue, green, red = out[8, 8].tolist()
    assert red > 200 and max(blue, green) < 60


@pytest.mark.parametrize("kind", ["jpeg", "progressive jpeg", "gray jpeg", "cmyk jpeg"])
def test_pixels_of_a_jpeg_equal_those_of_opencv(kind: str) -> None:
    noise = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (301, 403, 3), dtype=np.uint8), (0, 0), 3)
    if kind == "gray jpeg":
        data = saved(rgb(noise).convert("L"), "JPEG")
    elif kind == "cmyk jpeg":
        data = saved(rgb(noise).convert("CMYK"), "JPEG")
    else:
        data = saved(rgb(noise), "JPEG", progressive="prog" in kind)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(image.decode(data, "x"), expected)


def any_png(colour: int, bits: int, interlaced: bool, side: tuple[int, int] = (37, 29)) -> bytes:
    """Random pixels of any kind of PNG, each row with another filter."""
    rng = np.random.default_rng(0)
    width, height = side
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b""
    for x, y, across, down in passes:
        length = (-(-(width - x) // across) * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] * bits + 7) // 8
        for _ in range(y, height, down):
            rows += bytes([rng.integers(5)]) + rng.integers(0, 256, length, dtype=np.uint8).tobytes()
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced))]
    if colour == 3:
        parts += [(b"PLTE", rng.integers(0, 256, 3 << bits, dtype=np.uint8).tobytes()), (b"tRNS", b"\0\x80")]
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(
    ("colour", "bits"),
    [
        *((0, b) for b in (1, 2, 4, 8, 16)),
        *((3, b) for b in (1, 2, 4, 8)),
        *((c, b) for c in (2, 4, 6) for b in (8, 16)),
    ],
)
def test_pixels_of_every_kind_of_png_equal_those_of_opencv(colour: int, bits: int, interlaced: bool) -> None:
    data = any_png(colour, bits, interlaced)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(image.decode(data, "x"), image.to_bgr(expected, "x"))


def test_pages_of_a_tiff_are_images_and_a_thumbnail_is_none() -> None:
    pages = [Pil.new("RGB", (30, 20), (10 * k, 0, 0)) for k in range(3)]
    data = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert read_header(data).frames == 3
    assert [int(image.decode(data, "scan.tif", page=k)[0, 0, 2]) for k in range(3)] == [0, 10, 20]
    with pytest.raises(SourceError, match="has no page 4"):
        image.decode(data, "scan.tif", page=3)
    assert [image.page_name("scan.tif", k) for k in range(2)] == ["scan.tif", "scan.tif, page 2"]
    thumbnail = saved(pages[1], "TIFF", tiffinfo={254: 1})
    with pytest.raises(SourceError, match="preview"):
        image.decode(thumbnail, "raw.dng")


def test_a_damaged_page_does_not_lose_the_others() -> None:
    pages = [Pil.new("RGB", (30, 20), (10 * k, 0, 0)) for k in range(3)]
    data = bytearray(saved(pages[0], "TIFF", save_all=True, append_images=pages[1:], compression="tiff_lzw"))
    middle = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, middle)[0]
    middle = struct.unpack_from("<I", data, middle + 2 + 12 * count)[0]
    for k in range(struct.unpack_from("<H", data, middle)[0]):
        if struct.unpack_from("<H", data, middle + 2 + 12 * k)[0] == 259:
            struct.pack_into("<H", data, middle + 10 + 12 * k, 999)
    assert [int(image.decode(bytes(data), "scan.tif", page=k)[0, 0, 2]) for k in (0, 2)] == [0, 20]
    with pytest.raises(SourceError, match=r"scan\.tif, page 2: "):
        image.decode(bytes(data), image.page_name("scan.tif", 1), page=1)


def test_a_page_chain_that_goes_in_a_circle_ends() -> None:
    data = bytearray(saved(rgb(), "TIFF"))
    start = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, start)[0]
    struct.pack_into("<I", data, start + 2 + 12 * count, start)
    assert read_header(bytes(data)).frames == 1


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff, LZW", "ppm", "jp2", "avif", "bmp", "heic"])
def test_a_cut_file_is_refused(kind: str) -> None:
    data = FORMATS[kind]()
    with pytest.raises(SourceError, match=r"holiday: .*again"):
        image.decode(data[: len(data) // 2], "holiday")


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "webp"])
def test_bytes_behind_the_end_do_no_harm(kind: str) -> None:
    data = FORMATS[kind]()
    tail = b"\xff\xda a video that a phone appended" * 300
    np.testing.assert_array_equal(image.decode(data + tail, "x"), image.decode(data, "x"))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_prefix_of_a_file_never_gives_another_error(kind: str) -> None:
    data = FORMATS[kind]()
    for end in range(0, min(len(data) - 2, 900), 23):
        with suppress(SourceError):
            image.decode(data[:end], "x.tga" if "tga" in kind else "x")


def test_a_wrong_checksum_is_damage() -> None:
    data = bytearray(saved(rgb(), "PNG"))
    data[data.index(b"IDAT") + 30] ^= 1
    with pytest.raises(SourceError, match="damaged"):
        image.decode(bytes(data), "x")


def test_heic_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    data = heic(rgb())
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(SourceError, match=r"IMG_1\.HEIC: .*pip install 'mien\[heif\]'"):
        image.decode(data, "IMG_1.HEIC")


def test_running_out_of_memory_is_told_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*arguments: object) -> Pil.Image:
        raise MemoryError

    data = saved(rgb(), "JPEG")
    monkeypatch.setattr(Pil, "new", no_memory)
    with pytest.raises(SourceError, match=r"a\.jpg: not enough memory to decode 60 x 40"):
        image.decode(data, "a.jpg")


def peak_of(work: Callable[[], np.ndarray]) -> int:
    """Bytes of Python and NumPy at the peak, beyond what is returned."""
    tracemalloc.start()
    try:
        out = work()
        return tracemalloc.get_traced_memory()[1] - out.nbytes
    finally:
        tracemalloc.stop()


def test_deep_pixels_are_converted_without_a_wide_copy() -> None:
    deep = np.full((1500, 2000, 4), 40_000, np.uint16)
    data = deep_png(deep)
    band = 8_000_000  # one whole copy as uint16 would take 24 MB, as float32 48 MB
    assert peak_of(lambda: image.decode(data, "x")) < band
    assert peak_of(lambda: image.to_bgr(deep, "x")) < band
    assert peak_of(lambda: image.to_bgr(np.broadcast_to(np.float64(0.5), (1500, 2000, 3)), "x")) < band


@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff, LZW", "tiff, deflate", "avif", "webp", "png of 16 bits"])
def test_damage_writes_nothing_to_the_terminal(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = FORMATS[kind]()
    rng = np.random.default_rng(0)
    for _ in range(40):
        broken = bytearray(data)
        for at in rng.integers(40, len(data), 5):
            broken[at] = rng.integers(256)
        with suppress(SourceError):
            image.decode(bytes(broken), "x")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "array",
    [
        RAMP, RAMP.astype(np.uint16) * 257, RAMP / 255, (RAMP / 255).astype(np.float32), RAMP[:, ::-1][:, ::-1],
        np.dstack([RAMP, np.full(RAMP.shape[:2], 255, np.uint8)]),
    ],
)  # fmt: skip
def test_arrays_of_many_kinds_become_the_same_image(array: np.ndarray) -> None:
    out = image.to_bgr(array, "x")
    assert out.dtype == np.uint8 and out.flags.c_contiguous
    np.testing.assert_array_equal(out, RAMP)


@pytest.mark.parametrize("array", [GRAY, GRAY[:, :, None], GRAY.astype(np.uint16) * 257, GRAY / 255])
def test_gray_arrays_become_three_channels(array: np.ndarray) -> None:
    np.testing.assert_array_equal(image.to_bgr(array, "x"), np.repeat(GRAY[:, :, None], 3, axis=2))


def test_every_alpha_and_every_16_bit_value_is_rounded_exactly() -> None:
    value, alpha = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    out = image.to_bgr(np.dstack([value, value, value, alpha]), "x")
    expected = (value.astype(int) * alpha + 255 * (255 - alpha.astype(int)) + 127) // 255
    np.testing.assert_array_equal(out[:, :, 0], expected)
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(image.to_bgr(deep, "x")[:, :, 0], np.rint(deep / 257))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(5), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4), np.int64),
        np.zeros((4, 4), bool), np.full((4, 4), 1.5), np.full((4, 4), np.nan), np.full((4, 4), -0.1),
    ],
)  # fmt: skip
def test_other_arrays_are_refused(array: np.ndarray) -> None:
    with pytest.raises(SourceError, match="mine: "):
        image.to_bgr(array, "mine")


def test_the_limits_are_the_callers_to_set() -> None:
    data = saved(rgb(), "PNG")
    assert image.decode(data, "x", Limits(pixels=2400)).shape == RAMP.shape
    with pytest.raises(SourceError, match="60 x 40"):
        image.decode(data, "x", Limits(pixels=2399))
