"""Everything that a pipeline takes for an image, and the errors for all else."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from media_files import serve
from PIL import Image as Pil

import mien
from mien import Face, Pipeline, SourceError
from mien.media import inputs
from mien.media.inputs import read_frame

PORTRAIT = Path(mien.__file__).parent / "assets" / "portrait.jpg"


class Tensor:
    """What PyTorch, TensorFlow and JAX have in common."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.values is None:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        return np.array(self.values, dtype)


@pytest.fixture
def colours() -> np.ndarray:
    """An image whose columns are red, green, blue and gray, uint8 BGR (2, 4, 3)."""
    row = [(0, 0, 255), (0, 255, 0), (255, 0, 0), (100, 100, 100)]
    return np.array([row, row], np.uint8)


@pytest.fixture
def file(colours: np.ndarray, tmp_path: Path) -> Path:
    path = tmp_path / "colours.png"
    cv2.imwrite(str(path), colours)
    return path


def test_files_in_every_form_give_the_same_image(colours: np.ndarray, file: Path) -> None:
    data = file.read_bytes()
    with file.open("rb") as opened, Pil.open(file) as pillow:
        forms = [str(file), file, data, bytearray(data), memoryview(data), io.BytesIO(data), opened, pillow]
        frames = [read_frame(form) for form in forms]
    assert all(np.array_equal(frame.image, colours) for frame in frames)
    assert [frame.name for frame in frames] == [
        str(file), str(file), "bytes", "bytes", "bytes", "file", str(file), str(file),
    ]  # fmt: skip


def test_arrays_are_bgr_unless_told_otherwise(colours: np.ndarray) -> None:
    rgb = colours[:, :, ::-1]
    alpha = np.dstack([rgb, np.full((2, 4), 255, np.uint8)])
    for array in (rgb, alpha, rgb.astype(np.uint16) * 257, (rgb / 255).astype(np.float32), Tensor(rgb)):
        assert np.array_equal(read_frame(array, rgb=True).image, colours)
    assert np.array_equal(read_frame(Tensor(colours)).image, colours)
    assert read_frame(colours).image is colours
    assert np.array_equal(read_frame(np.full((3, 5), 7, np.uint8)).image, np.full((3, 5, 3), 7))
    clear = np.dstack([colours, np.zeros((2, 4), np.uint8)])
    assert (read_frame(clear).image == 255).all()


def test_real_tensors_are_read(colours: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    image = torch.from_numpy(colours)
    assert np.array_equal(read_frame(image).image, colours)
    assert np.array_equal(read_frame(image.float() / 255).image, colours)
    with pytest.raises(SourceError, match="channels to the end"):
        read_frame(torch.zeros((3, 20, 20), dtype=torch.uint8))
    with pytest.raises(SourceError, match="detach"):
        read_frame((image.float() / 255).requires_grad_())


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 2, 3), np.float32) + 2, "floats must lie in 0..1; divide by 255"),
        (np.full((2, 2, 3), np.nan), "floats must lie in 0..1"),
        (np.zeros((2, 2, 3), np.int64), "an array of int64 is not an image"),
        (np.zeros((3, 20, 20), np.uint8), r"shape \(3, 20, 20\) is not an image.*moveaxis"),
        (np.zeros((5, 20, 20, 3), np.uint8), r"list\(batch\)"),
        (np.zeros((0, 4, 3), np.uint8), "shape"),
        (np.zeros(()), "shape"),
    ],
)
def test_arrays_that_are_no_images_are_refused(array: np.ndarray, message: str) -> None:
    for form in (array, Tensor(array)):
        with pytest.raises(SourceError, match=message):
            read_frame(form)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "None"),
        (3, "an int is not an image; for a camera use pipeline.track"),
        (2.5, "a float"),
        ({"a": 1}, "a dict"),
        (object(), "an object"),
        (np.ndarray, "the class ndarray"),
    ],
)
def test_other_types_are_named_with_what_is_accepted(value: object, kind: str) -> None:
    for _ in range(2):
        with pytest.raises(SourceError, match=f"^{kind}.*give a path, an http"):
            read_frame(value)
    with pytest.raises(SourceError, match=f"^image 4: {kind}"):
        read_frame(value, unnamed=" 4")


def test_unreadable_objects_are_source_errors(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="copy it to the CPU"):
        read_frame(Tensor(None))
    with pytest.raises(SourceError, match="'rb'"):
        read_frame(io.StringIO("text"))
    closed = io.BytesIO(PORTRAIT.read_bytes())
    closed.close()
    with pytest.raises(SourceError, match="closed file"):
        read_frame(closed)
    with pytest.raises(SourceError, match="bytes: not an image"):
        read_frame(b"no image at all")
    with pytest.raises(SourceError, match=r"a folder.*mien\.predict"):
        read_frame(tmp_path)
    (tmp_path / "talk.mp4").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"a video.*pipeline\.track"):
        read_frame(tmp_path / "talk.mp4")
    with pytest.raises(SourceError, match="of the kind s3"):
        read_frame("s3://bucket/a.jpg")


def test_file_object_over_the_limit_is_not_read_whole() -> None:
    class Endless:
        def read(self, size: int = -1, /) -> bytes:
            assert 0 < size < 1 << 30
            return bytes(size)

    with pytest.raises(SourceError, match="more than the limit of 256 MB"):
        read_frame(Endless())


MODES = [
    "1",
    "L",
    "P",
    "RGB",
    "RGBA",
    "CMYK",
    "YCbCr",
    "HSV",
    "LA",
    "PA",
    "La",
    "RGBa",
    "RGBX",
    "I",
    "F",
    "I;16",
    "LAB",
]


@pytest.mark.parametrize("mode", MODES)
def test_pillow_images_of_every_mode_are_read(mode: str) -> None:
    gray = Pil.fromarray(np.tile(np.array([[0, 255]], np.uint8), (4, 4)))
    if mode == "I;16":
        image = Pil.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    elif mode == "LAB":
        planes = (gray, *(Pil.new("L", gray.size, 128) for _ in range(2)))  # 128 is 0
        image = Pil.merge("LAB", planes)
    else:
        through = {"La": "LA", "RGBa": "RGBA", "PA": "LA"}.get(mode)
        image = (gray.convert("RGB").convert(through) if through else gray.convert("RGB")).convert(mode)
    assert image.mode == mode
    pixels = read_frame(image).image
    assert pixels.shape == (4, 8, 3)
    assert np.abs(pixels.astype(int) - np.asarray(gray)[:, :, None]).max() <= 3
    assert image.mode == mode


def test_pillow_values_outside_their_range_are_refused() -> None:
    for values in (np.full((2, 2), -1, np.int32), np.full((2, 2), 70_000, np.int32), np.full((2, 2), 300, np.float32)):
        with pytest.raises(SourceError, match="scale them"):
            read_frame(Pil.fromarray(values))
    halves = Pil.fromarray(np.full((2, 2), 0.5, np.float32))
    assert read_frame(halves).image[0, 0, 0] == 128


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_of_pillow_images_is_applied(orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "turned.png"
    exif = Pil.Exif()
    exif[0x0112] = orientation
    Pil.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6)).save(path, exif=exif)
    with Pil.open(path) as image:
        assert np.array_equal(read_frame(image).image, read_frame(path).image)


def test_huge_and_damaged_pillow_images_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    path.write_bytes(PORTRAIT.read_bytes()[:20_000])
    with Pil.open(path) as image, pytest.raises(SourceError, match=r"cut\.jpg: the image is damaged"):
        read_frame(image)

    with Pil.open(path) as image:
        image._size = (20_000, 20_000)
        with pytest.raises(SourceError, match="more than the limit"):
            read_frame(image)


def test_url_is_downloaded(colours: np.ndarray, file: Path) -> None:
    with serve(file.read_bytes()) as (url, _):
        frame = read_frame(url.replace("//", "//me:secret@"))
    assert np.array_equal(frame.image, colours)
    assert "secret" not in frame.name


def test_download_is_limited(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = file.read_bytes()
    for length in (True, False):
        with serve(data, length=length) as (url, _), pytest.raises(SourceError, match="more than the limit"):
            inputs.download(url, limit=len(data) - 1)
        with serve(data, length=length) as (url, _):
            assert inputs.download(url, limit=len(data)) == data
    monkeypatch.setattr(inputs, "URL_SECONDS", -1.0)
    with serve(data) as (url, _), pytest.raises(SourceError, match="download it first"):
        inputs.download(url)


def test_failed_downloads_say_why(file: Path) -> None:
    data = file.read_bytes()
    with serve(data, stop_at=20) as (url, _), pytest.raises(SourceError, match="broke off"):
        read_frame(url)
    with serve(data, stop_at=20, stall=threading.Event()) as (url, _), pytest.raises(SourceError, match="in time"):
        inputs.download(url, timeout=0.2)
    with serve(b"<!doctype html><p>") as (url, _), pytest.raises(SourceError, match="a web page, not an image"):
        read_frame(url)
    with pytest.raises(SourceError, match=r"http://\*\*\*@127\.0\.0\.1:9/a\.jpg: cannot be downloaded"):
        read_frame("http://me:secret@127.0.0.1:9/a.jpg")
    with pytest.raises(SourceError, match="cannot be downloaded"):
        read_frame("http://")


class Bright:
    """A detector of one face, and a classifier by brightness that counts its calls."""

    name, labels, confidence_threshold = "bright", ("dark", "bright"), 0.7

    def __init__(self) -> None:
        self.calls: list[int] = []

    def detect(self, image: np.ndarray) -> list[Face]:
        return [Face((0, 0, 4, 2))]

    def __call__(self, crops: np.ndarray) -> list[list[float]]:
        self.calls.append(len(crops))
        return [[1 - crop.mean() / 255, crop.mean() / 255] for crop in crops]


def test_list_gives_a_list_with_one_call_of_the_classifier(colours: np.ndarray, file: Path) -> None:
    classifier = Bright()
    pipeline = Pipeline(classifier.detect, classifier)  # type: ignore[arg-type]
    items = [file, str(file), colours, Pil.open(file), file.read_bytes()]
    results = pipeline(items)
    assert isinstance(results, mien.Results) and len(results) == 5
    assert classifier.calls == [5]
    assert [result.index for result in results] == [0, 1, 2, 3, 4]
    assert [result.name for result in results[2:]] == ["array 2", str(file), "bytes 4"]
    assert len({result.faces for result in results}) == 1
    for source in (tuple(items[:2]), iter(items[:2]), {file}, np.array([str(file)], object)):
        assert isinstance(pipeline(source), mien.Results)
    assert pipeline([]) == []
    with pytest.raises(SourceError, match="image 1: None"):
        pipeline([file, None])


def test_column_of_a_table_is_a_list(file: Path) -> None:
    pandas = pytest.importorskip("pandas")
    classifier = Bright()
    table = pandas.DataFrame({"path": [os.fspath(file)] * 2})
    assert len(Pipeline(classifier.detect, classifier)(table["path"])) == 2  # type: ignore[arg-type]
