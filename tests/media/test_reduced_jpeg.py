"""Large JPEG files are decoded only as far as the search and the crops need."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pil

import mien
from mien import runner
from mien.errors import SourceError
from mien.faces.onnx import ASSETS
from mien.media.image import decode
from mien.media.reduced_jpeg import ReducedJpeg, decode_for_search
from mien.types import Image, Result


def jpeg(image: Image, orientation: int = 1) -> bytes:
    exif = Pil.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    Pil.fromarray(image[:, :, ::-1]).save(stream, "jpeg", quality=95, exif=exif)
    return stream.getvalue()


def portrait(width: int) -> Image:
    image = cv2.imread(str(ASSETS / "portrait.jpg"))
    height = round(width * image.shape[0] / image.shape[1])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


@pytest.fixture(scope="module")
def scene() -> Image:
    return portrait(1600)[:1200]


def test_as_few_pixels_are_decoded_as_the_search_needs(scene: Image) -> None:
    reduced = decode_for_search(jpeg(scene), "a.jpg", lambda longest: min(640, longest))
    assert isinstance(reduced, ReducedJpeg)
    assert reduced.shape == scene.shape
    assert reduced.reduced.shape == (600, 800, 3)
    assert reduced.nbytes < scene.nbytes / 2
    eighth = decode_for_search(jpeg(scene), "a.jpg", lambda longest: 10)
    assert isinstance(eighth, ReducedJpeg)
    assert eighth.reduced.shape == (150, 200, 3)


def test_other_images_are_decoded_whole(scene: Image) -> None:
    png = cv2.imencode(".png", scene)[1].tobytes()
    assert np.array_equal(decode_for_search(png, "a.png", lambda longest: 640), scene)
    assert isinstance(decode_for_search(jpeg(scene), "a.jpg", lambda longest: 801), np.ndarray)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_reduced_parts_are_those_of_the_upright_image(scene: Image, orientation: int) -> None:
    data = jpeg(scene, orientation)
    whole = decode(data, "a.jpg")
    reduced = decode_for_search(data, "a.jpg", lambda longest: 400)
    assert isinstance(reduced, ReducedJpeg)
    assert reduced.shape == whole.shape
    height, width = whole.shape[0] // 4, whole.shape[1] // 4
    expected = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
    assert np.abs(reduced.small(width, height).astype(int) - expected).mean() < 1.5
    box = 400, 200, 720, 520
    gray = cv2.cvtColor(whole[200:520, 400:720], cv2.COLOR_BGR2GRAY)
    expected = cv2.resize(gray, (80, 80), interpolation=cv2.INTER_AREA)
    assert np.abs(reduced.gray(box, 2).astype(int) - expected).mean() < 1.5
    assert reduced.reduced.shape[:2] == (height, width)  # nothing was decoded again
    assert np.array_equal(reduced.gray(box), gray)
    assert np.array_equal(reduced.bgr(), whole)


def test_odd_sides_are_rounded_up_without_a_shift() -> None:
    image = portrait(1603)[:1201]
    reduced = decode_for_search(jpeg(image), "a.jpg", lambda longest: 400)
    assert isinstance(reduced, ReducedJpeg)
    assert reduced.reduced.shape == (301, 401, 3)
    box = 800, 400, 1120, 720
    expected = cv2.resize(
        cv2.cvtColor(image[400:720, 800:1120], cv2.COLOR_BGR2GRAY), (80, 80), interpolation=cv2.INTER_AREA
    )
    assert np.abs(reduced.gray(box, 2).astype(int) - expected).mean() < 1.5


def test_odd_sides_of_a_turned_image_are_decoded_whole() -> None:
    """The row that rounding adds would lie at the beginning of the upright image."""
    assert isinstance(decode_for_search(jpeg(portrait(1603)[:1201], 3), "a.jpg", lambda longest: 400), np.ndarray)


def test_file_that_is_cut_short_is_refused(scene: Image) -> None:
    data = jpeg(scene)
    for cut in (data[: len(data) // 2], data[: len(data) // 2] + bytes(1000)):
        with pytest.raises(SourceError, match=r"a\.jpg: the file is cut short"):
            decode_for_search(cut, "a.jpg", lambda longest: 640)


def test_damaged_exif_block_says_nothing(scene: Image) -> None:
    data = bytearray(jpeg(scene, 6))
    at = data.index(b"Exif\0\0") + 6
    data[at + 14 : at + 18] = b"\x00\x10\x10\x00"  # the number of values of the orientation
    reduced = decode_for_search(bytes(data), "a.jpg", lambda longest: 640)  # a warning would be an error
    assert isinstance(reduced, ReducedJpeg)
    assert reduced.reduced.size == 800 * 600 * 3


def test_gray_and_cmyk_files_are_reduced(scene: Image) -> None:
    for mode in ("L", "CMYK"):
        stream = io.BytesIO()
        Pil.fromarray(scene[:, :, ::-1]).convert(mode).save(stream, "jpeg", quality=95)
        reduced = decode_for_search(stream.getvalue(), "a.jpg", lambda longest: 640)
        assert isinstance(reduced, ReducedJpeg)
        whole = decode(stream.getvalue(), "a.jpg")
        expected = cv2.resize(whole, (800, 600), interpolation=cv2.INTER_AREA)
        assert np.abs(reduced.reduced.astype(int) - expected).mean() < 2


def test_faces_of_large_files_are_those_of_the_whole_image(tmp_path: Path) -> None:
    pipeline = mien.load(threads=1)
    sky = np.full((1500, 2000, 3), 200, np.uint8)
    sky[100:500, 200:500] = cv2.resize(portrait(400), (300, 400))  # its face fills 120 pixels: decoded whole
    for name, image in (("large", portrait(2000)), ("small", sky)):
        (tmp_path / f"{name}.jpg").write_bytes(jpeg(image))
    whole, reduced = (
        {
            Path(item.frame.name).stem: item
            for item in runner.images(tmp_path, pipeline, keep_pixels=keep)
            if isinstance(item, Result)
        }
        for keep in (True, False)
    )
    decoded = {name: item.frame.pixels for name, item in reduced.items()}
    assert isinstance(decoded["large"], ReducedJpeg)
    assert max(decoded["large"].reduced.shape) < 1400
    for name, item in whole.items():
        (face,), (same,) = item.faces, reduced[name].faces
        assert same.box == pytest.approx(face.box, abs=4)
        assert same.emotion == face.emotion
        assert max(abs(same.probabilities[k] - face.probabilities[k]) for k in face.probabilities) < 0.05
    assert np.array_equal(reduced["large"].frame.image, whole["large"].frame.image)
