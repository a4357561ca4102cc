"""What `mien.image` promises."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pil

from mien import image
from mien.types import Face, SourceError

MEDIA = Path(__file__).parents[2] / "shared" / "media"
RAMP = np.repeat(np.tile(np.arange(0, 240, 4, dtype=np.uint8), (40, 1))[:, :, None], 3, axis=2)  # (40, 60, 3)


def encoded(array: np.ndarray, kind: str) -> bytes:
    return cv2.imencode(kind, array)[1].tobytes()


def saved(picture: Pil.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", [".png", ".bmp", ".tiff", ".ppm", ".jpg"])
def test_colour_comes_back_as_bgr(kind: str) -> None:
    blue = np.zeros((20, 30, 3), np.uint8)
    blue[:, :, 0] = 200
    out = image.decode(encoded(blue, kind), "x")
    assert out.shape == (20, 30, 3)
    assert np.abs(out.astype(int) - blue).max() <= 3


@pytest.mark.parametrize("kind", [".png", ".jpg", ".bmp", ".pgm"])
def test_gray_becomes_three_equal_channels(kind: str) -> None:
    out = image.decode(encoded(RAMP[:, :, 0], kind), "x")
    assert out.shape == RAMP.shape
    assert np.abs(out.astype(int) - RAMP).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_is_laid_over_white(kind: str) -> None:
    half = Pil.new("RGBA", (8, 8), (255, 0, 0, 128))
    half.putpixel((0, 0), (0, 0, 0, 0))
    out = image.decode(saved(half, kind, lossless=True), "x")
    assert out[0, 0].tolist() == [255, 255, 255]
    assert out[4, 4].tolist() == [127, 127, 255]


def test_16_bits_are_scaled_to_8() -> None:
    out = image.decode(encoded(RAMP.astype(np.uint16) * 257, ".png"), "x")
    np.testing.assert_array_equal(out, RAMP)


def test_cmyk_jpeg_is_read_as_colour() -> None:
    out = image.decode(saved(Pil.new("RGB", (16, 16), (255, 0, 0)).convert("CMYK"), "JPEG"), "x")
    blue, green, red = out[8, 8].tolist()
    assert out.shape == (16, 16, 3)
    assert red > 200
    assert max(blue, green) < 60


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_rotation_is_applied(kind: str) -> None:
    exif = Pil.Exif()
    exif[0x0112] = 6
    out = image.decode(saved(Pil.fromarray(RAMP), kind, exif=exif), "x")
    assert out.shape == (60, 40, 3)
    assert out[0].mean() < 10 < out[-1].mean()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_counts(kind: str) -> None:
    first, second = Pil.new("RGB", (16, 16), (255, 0, 0)), Pil.new("RGB", (16, 16), (0, 0, 255))
    out = image.decode(saved(first, kind, save_all=True, append_images=[second], duration=100), "x")
    assert out.shape == (16, 16, 3)
    assert out[8, 8, 2] > 240
    assert out[8, 8, 0] < 10


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_cut_file_is_refused(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = saved(Pil.fromarray(noise), kind)
    with pytest.raises(SourceError, match=r"holiday: .*again"):
        image.decode(data[: len(data) // 2], "holiday")


def test_bytes_behind_the_end_do_no_harm() -> None:
    for kind in (".jpg", ".png"):
        data = encoded(RAMP, kind)
        tail = b"\xff\xda a video that a phone appended" * 300
        np.testing.assert_array_equal(image.decode(data + tail, "x"), image.decode(data, "x"))


@pytest.mark.parametrize("data", [b"", b"hello, world", b"\xff\xd8\xff", b"%PDF-1.4" + b"\0" * 99, b"RIFF1234WEBP"])
def test_what_is_no_picture_is_refused_with_advice(data: bytes) -> None:
    with pytest.raises(SourceError, match=r"letter: not a picture .* use a JPEG"):
        image.decode(data, "letter")


def test_every_prefix_of_a_picture_gives_a_source_error() -> None:
    data = encoded(RAMP, ".jpg")
    for end in range(0, len(data) - 2, 7):
        with pytest.raises(SourceError):
            image.decode(data[:end], "x")


def bombs() -> list[bytes]:
    side = 60_000
    jpeg = bytearray(encoded(RAMP, ".jpg"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", side, side)
    png = bytearray(encoded(RAMP, ".png"))
    png[16:24] = struct.pack(">II", side, side)
    bmp = bytearray(encoded(RAMP, ".bmp"))
    bmp[18:26] = struct.pack("<ii", side, -side)
    gif = b"GIF89a" + struct.pack("<HH", side, side) + b"\0" * 20
    webp = b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (b"\x5f\xea\0") * 2 + b"\0" * 10
    tiff = b"II*\0\x08\0\0\0\x02\0" + struct.pack("<HHIIHHII", 256, 4, 1, side, 257, 4, 1, side)
    pnm = b"P6\n# big\n60000 60000\n255\n"
    return [bytes(jpeg), bytes(png), bytes(bmp), gif, webp, tiff, pnm]


@pytest.mark.parametrize("data", bombs(), ids=["jpeg", "png", "bmp", "gif", "webp", "tiff", "pnm"])
def test_a_bomb_is_refused_by_its_header(data: bytes) -> None:
    with pytest.raises(SourceError, match="more than the limit"):
        image.decode(data, "bomb")


def decoys() -> dict[str, bytes]:
    """Pictures whose header says 8 x 8 to a reader that is less strict than the decoder, which finds more pixels."""
    jpeg = encoded(np.full((400, 400), 128, np.uint8), ".jpg")
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
    return found


@pytest.mark.parametrize("name", decoys())
def test_a_header_that_decoders_read_differently_is_refused(name: str) -> None:
    with pytest.raises(SourceError, match=r"not a picture that mien can read|more than the limit"):
        image.decode(decoys()[name], name, max_pixels=1000)


def test_the_limit_is_the_callers_to_set() -> None:
    data = encoded(RAMP, ".png")
    assert image.decode(data, "x", max_pixels=2400).shape == RAMP.shape
    with pytest.raises(SourceError, match="60 x 40"):
        image.decode(data, "x", max_pixels=2399)


@pytest.mark.parametrize(
    "array",
    [
        RAMP, RAMP[:, :, 0], RAMP[:, :, :1], RAMP.astype(np.uint16) * 257, RAMP / 255, (RAMP / 255).astype(np.float32),
        np.dstack([RAMP, np.full(RAMP.shape[:2], 255, np.uint8)]), RAMP[:, ::-1][:, ::-1],
    ],
)  # fmt: skip
def test_arrays_of_many_kinds_become_the_same_picture(array: np.ndarray) -> None:
    out = image.to_bgr(array, "x")
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out, RAMP)


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


def test_gray48_averages_when_it_shrinks() -> None:
    checks = (np.indices((480, 480)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert np.abs(image.gray48(checks).astype(int) - 128).max() <= 1
    assert image.gray48(RAMP).shape == (48, 48)


def test_a_48_pixel_box_is_cut_out_exactly() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (100, 120), dtype=np.uint8)
    out = image.crop(noise, Face((30, 20, 78, 68)))
    np.testing.assert_array_equal(out, noise[20:68, 30:78])


def test_a_large_face_does_not_alias() -> None:
    checks = (np.indices((1000, 1000)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert image.crop(checks, Face((100, 100, 876, 876))).std() < 20


@pytest.mark.parametrize("factor", [3, 5, 8, 17])
def test_a_picture_enlarged_gives_the_same_crop(factor: int) -> None:
    small = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (90, 80), dtype=np.uint8), (0, 0), 2)
    large = np.kron(small, np.ones((factor, factor), np.uint8))[: 90 * factor - 1]  # an odd side, where it is halved
    x, y = 10.3, 15.6
    box, eyes = np.array([x, y, x + 60, y + 58]), np.array([[x + 15, y + 20], [x + 40, y + 29]])
    faces = [Face(tuple(scale * box), 1.0, tuple(map(tuple, scale * eyes))) for scale in (1, factor)]
    off = image.crop(large, faces[1]).astype(int) - image.crop(small, faces[0])
    assert np.abs(off).mean() < 1.5 and abs(off.mean()) < 0.3


def test_margin_widens_the_square() -> None:
    white = np.zeros((200, 200, 3), np.uint8)
    white[76:124, 76:124] = 255
    face = Face((76, 76, 124, 124))
    assert image.crop(white, face).min() == 255
    assert image.crop(white, face, margin=1.0).mean() == pytest.approx(255 / 4, abs=4)


def test_align_levels_the_eyes() -> None:
    picture = np.zeros((200, 200, 3), np.uint8)
    eyes = ((80.0, 80.0), (120.0, 120.0))
    for x, y in eyes:
        cv2.circle(picture, (int(x), int(y)), 6, (255, 255, 255), -1)
    face = Face((60, 60, 140, 140), landmarks=eyes)
    rows = np.flatnonzero(image.crop(picture, face).max(axis=1) > 128)
    assert rows[-1] - rows[0] < 9
    rows = np.flatnonzero(image.crop(picture, face, align=False).max(axis=1) > 128)
    assert rows[-1] - rows[0] > 24


@pytest.mark.parametrize("box", [(-50, -50, 30, 30), (500, 500, 600, 600), (-900, 0, -800, 9), (5, 5, 5, 5)])
def test_boxes_over_the_border_repeat_the_edge(box: tuple[float, float, float, float]) -> None:
    assert (image.crop(np.full((60, 60, 3), 77, np.uint8), Face(box)) == 77).all()


def test_crops_keep_order_and_may_be_none() -> None:
    picture = np.hstack([np.full((50, 50, 3), v, np.uint8) for v in (10, 200)])
    out = image.crops(picture, [Face((60, 10, 90, 40)), Face((10, 10, 40, 40))])
    assert out.mean(axis=(1, 2)).tolist() == [200, 10]
    assert image.crops(picture, []).shape == (0, 48, 48)


@pytest.mark.skipif(not MEDIA.exists(), reason="the real pictures are not there")
@pytest.mark.parametrize("name", ["single_face.jpg", "BWPictureHuman.jpg", "Image_with_alpha.png"])
def test_real_pictures_decode(name: str) -> None:
    out = image.decode((MEDIA / name).read_bytes(), name)
    assert out.dtype == np.uint8
    assert out.shape[2] == 3
    assert out.std() > 10
