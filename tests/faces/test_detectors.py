"""The detectors and their downscaling."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

import mien
from experiments import yunet as recipe
from mien.errors import ConfigError, ModelError
from mien.faces import base, detectors, haar, mtcnn, resize, yunet
from mien.faces import onnx as sessions
from mien.media.image import decode
from mien.types import Detector, ScaledDetector

MEDIA = Path(__file__).parents[3] / "shared" / "media"
PORTRAIT = Path(mien.__file__).parent / "assets" / "portrait.jpg"
NAMES = ("yunet", "haar", "mtcnn")
real = pytest.mark.skipif(not MEDIA.exists(), reason="the real images are missing")
portrait = pytest.mark.skipif(not PORTRAIT.exists(), reason="the portrait is not shipped")


def read(path: Path) -> np.ndarray:
    return decode(path.read_bytes(), path.name)


def inside(box: tuple[float, float, float, float], x: float, y: float) -> bool:
    return box[0] < x < box[2] and box[1] < y < box[3]


def test_unknown_detector_lists_known_ones() -> None:
    with pytest.raises(ConfigError, match="yunet, haar, mtcnn"):
        detectors.load_detector("dlib")


def test_haar_without_cascades_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(ModelError, match=r"opencv-python-headless<5.*yunet"):
        haar.Haar()


def test_missing_weights_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sessions, "ASSETS", tmp_path)
    with pytest.raises(ModelError, match=r"yunet\.onnx"):
        yunet.YuNet()


def test_damaged_weights_raise_model_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mtcnn_pnet.onnx").write_bytes(b"no onnx")
    monkeypatch.setattr(sessions, "ASSETS", tmp_path)
    with pytest.raises(ModelError, match="damaged"):
        mtcnn.Mtcnn()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 300, 3), (32, 320, 3), (120, 120, 3)])
def test_blank_image_of_any_size_has_no_face(name: str, shape: tuple[int, int, int]) -> None:
    detector = detectors.load_detector(name)
    assert isinstance(detector, Detector)
    assert detector.name == name
    assert detector(np.full(shape, 127, np.uint8)) == []


@pytest.mark.parametrize("size", [(900, 700), (1333, 901), (2561, 1003)])
def test_downscale_averages_pixels(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    image = np.asarray(cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    small, (across, down) = resize.downscale(image, 320, None)
    width, height = round(small.shape[1] * across), round(small.shape[0] * down)
    assert size[0] - 8 < width <= size[0] and size[1] - 8 < height <= size[1]
    goal = cv2.resize(image[:height, :width], (small.shape[1], small.shape[0]), interpolation=cv2.INTER_AREA)
    assert np.abs(small - goal.astype(int)).mean() < 1.0


@portrait
@pytest.mark.parametrize("name", NAMES)
def test_portrait_face_contains_the_nose(name: str) -> None:
    face = detectors.load_detector(name)(read(PORTRAIT))[0]
    assert inside(face.box, 222, 120)
    if face.landmarks:
        (left, _), (right, _), nose, *_ = face.landmarks
        assert left < nose[0] < right
        assert all(inside(face.box, *point) for point in face.landmarks)


@portrait
@pytest.mark.parametrize("name", NAMES)
def test_boxes_are_in_pixels_of_the_original(name: str) -> None:
    small = read(PORTRAIT)
    large = cv2.resize(small, None, fx=2.5, fy=2)
    box = detectors.load_detector(name)(large)[0].box
    assert inside(box, 222 * 2.5, 120 * 2)


@real
@pytest.mark.parametrize("name", ["yunet", "mtcnn"])
def test_five_people_are_sorted_by_area(name: str) -> None:
    faces = detectors.load_detector(name)(read(MEDIA / "multi_face.jpg"))
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (face.box for face in faces)]
    assert len(faces) == 5
    assert areas == sorted(areas, reverse=True)
    assert all(0.6 < face.score <= 1 for face in faces)


@real
@pytest.mark.parametrize("name", NAMES)
def test_mountain_has_no_face(name: str) -> None:
    assert detectors.load_detector(name)(read(MEDIA / "free-mountain-vector-01.jpg")) == []


@portrait
@pytest.mark.parametrize("name", NAMES)
def test_min_face_detects_large_faces_in_a_smaller_image(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, int]] = []

    def watched(*args: object) -> object:
        small, ratio = resize.downscale(*args)  # type: ignore[arg-type]
        sizes.append(small.shape[:2])
        return small, ratio

    monkeypatch.setattr(base, "downscale", watched)
    large = cv2.resize(read(PORTRAIT), None, fx=3, fy=3)  # its face is about 500 pixels wide
    face = detectors.load_detector(name, 240)(large)[0]
    assert inside(face.box, 222 * 3, 120 * 3)
    assert 250 < face.box[2] - face.box[0] < 800
    assert sizes == [(154, 154)] if name != "mtcnn" else [(128, 128)]


@pytest.mark.parametrize("name", NAMES)
def test_min_face_replaces_max_side(name: str) -> None:
    assert isinstance(detectors.load_detector(name, 12.5), Detector)
    image = np.zeros((10, 3000, 3), np.uint8)
    assert resize.downscale(image, 640, resize.scale_for(48, 24))[0].shape == (5, 1500, 3)
    assert resize.downscale(image, 640, resize.scale_for(12, 24))[0].shape == image.shape  # it is never enlarged
    assert resize.downscale(image, 640, None)[0].shape == (2, 640, 3)
    for impossible in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="smallest face"):
            detectors.load_detector(name, impossible)


@portrait
@pytest.mark.parametrize("name", NAMES)
def test_threads_detect_equal_faces(name: str) -> None:
    detector, area = detectors.load_detector(name), read(PORTRAIT)[:256, 100:356]
    images = [np.ascontiguousarray(area[: 256 - 8 * i]) for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(detector, images))
    assert together == [detector(image) for image in images]


def opencv_yunet(folder: Path, image: np.ndarray) -> np.ndarray:
    """Return the rows of OpenCV's `FaceDetectorYN`, (N, 15): x, y, width, height, landmarks, score."""
    model = onnx.load(recipe.PUBLISHED)
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 640
    onnx.save(model, folder / "yunet.onnx")
    height, width = image.shape[:2]
    net = cv2.FaceDetectorYN.create(str(folder / "yunet.onnx"), "", (width, height), 0.7, 0.3, 5000)
    return np.asarray(net.detect(image)[1])


@real
@pytest.mark.parametrize("width", [640, 333])
def test_yunet_agrees_with_opencv(width: int, tmp_path: Path) -> None:
    image = read(MEDIA / "multi_face.jpg")
    image = cv2.resize(image, (width, image.shape[0] * width // image.shape[1]), interpolation=cv2.INTER_AREA)
    rows = opencv_yunet(tmp_path, image)
    faces = yunet.YuNet()(image)
    assert len(faces) == len(rows) >= 4
    for face in faces:
        corner = np.abs(rows[:, :2] - face.box[:2]).sum(1)
        row = rows[corner.argmin()]
        np.testing.assert_allclose([*face.box[:2], face.box[2] - face.box[0], face.box[3] - face.box[1]], row[:4],
                                   atol=0.2)  # fmt: skip
        np.testing.assert_allclose(np.ravel(face.landmarks), row[4:14], atol=0.2)
        assert face.score == pytest.approx(row[14], abs=1e-3)


@portrait
@pytest.mark.parametrize("name", NAMES)
def test_find_agrees_with_min_face(name: str) -> None:
    large = cv2.resize(read(PORTRAIT), None, fx=3, fy=3)
    detector = detectors.load_detector(name)
    assert isinstance(detector, ScaledDetector)
    ours, plain = detector.find(large, 240)[0], detectors.load_detector(name, 240)(large)[0]
    np.testing.assert_allclose(ours.box, plain.box, atol=0.1 * (plain.box[2] - plain.box[0]))
    small = read(PORTRAIT)
    assert detector.find(small, 1) == detector(small)  # never enlarged
    with pytest.raises(ConfigError, match="above 0"):
        detector.find(large, 0)
