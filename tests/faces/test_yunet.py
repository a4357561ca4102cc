"""The detector's file gives the faces of the published network, decoded and suppressed in NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from experiments import yunet as recipe
from mien import runner
from mien.faces.boxes import non_max_suppression
from mien.faces.onnx import ASSETS, Network
from mien.faces.yunet import YuNet
from mien.media.image import decode
from mien.pipeline import Pipeline

Rows = NDArray[np.float64]
SURE, SHARE = 0.8, 0.25
BEST = (100, 100, 200, 220, 0.93)


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def published() -> onnxruntime.InferenceSession:
    return session(onnx.load(recipe.PUBLISHED))


@pytest.fixture(scope="module")
def shipped() -> Network:
    return Network("yunet.onnx", 1)


def part(*names: str) -> onnxruntime.InferenceSession:
    """Return the last parts of the file as a model of their own."""
    graphs = [onnx.parser.parse_graph(getattr(recipe, name)) for name in names]
    nodes = [node for graph in graphs for node in graph.node]
    return session(recipe.make_model("part", nodes, graphs[0].input, graphs[-1].output, graphs))


def reference_rows(outputs: Sequence[NDArray[np.float32]], width: int, score: float) -> Rows:
    """Decode the published outputs: class, object, box, landmarks, each for three strides, to rows (N, 15)."""
    rows = []
    for level, stride in enumerate((8, 16, 32)):
        cls, obj, box, marks = (outputs[3 * k + level][0].astype(np.float64) for k in range(4))
        index = np.arange(len(box))
        cell = np.stack([index % (width // stride), index // (width // stride)], 1)
        centre, half = (cell + box[:, :2]) * stride, np.exp(box[:, 2:]) * stride / 2
        marks = ((marks.reshape(-1, 5, 2) + cell[:, None]) * stride).reshape(-1, 10)
        rows.append(np.hstack([centre - half, centre + half, np.sqrt(cls * obj), marks]))
    found = np.concatenate(rows)
    return found[found[:, 4] >= score]


def reference_drop(rows: Rows) -> Rows:
    """Drop one after the other doubtful rows that overlap a better kept row."""
    kept: list[NDArray[np.float64]] = []
    area = lambda row: (row[2] - row[0]) * (row[3] - row[1])  # noqa: E731
    for row in rows:
        covered = False
        for other in kept:
            width, height = np.minimum(row[2:4], other[2:4]) - np.maximum(row[:2], other[:2])
            common = max(width, 0) * max(height, 0)
            covered |= row[4] < SURE and common > SHARE * min(area(row), area(other))
        if not covered:
            kept.append(row)
    return np.array(kept).reshape(-1, rows.shape[1])


def reference(network: onnxruntime.InferenceSession, image: NDArray[np.uint8], score: float, nms: float) -> Rows:
    bottom, right = (-side % 32 for side in image.shape[:2])
    padded = np.pad(image, ((0, bottom), (0, right), (0, 0)))
    outputs = network.run(None, {"input": padded.transpose(2, 0, 1)[None].astype(np.float32)})
    return reference_drop(non_max_suppression(reference_rows(outputs, padded.shape[1], score), nms))


def crowd(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """Return an image of overlapping portraits of many sizes and brightnesses."""
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    image = cv2.resize(image, (width, height))
    portrait = decode((ASSETS / "portrait.jpg").read_bytes(), "portrait")[20:220, 120:320]
    for _ in range(30):
        side = int(random.integers(16, max(min(height, width) // 2, 17)))
        patch = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_AREA)
        y, x = random.integers(0, height - side + 1), random.integers(0, width - side + 1)
        image[y : y + side, x : x + side] = patch * random.uniform(0.2, 1.0)
    return image


def test_shipped_file_is_made_of_the_published_one() -> None:
    assert onnx.load(ASSETS / "yunet.onnx") == recipe.build(onnx.load(recipe.PUBLISHED))


@pytest.mark.parametrize("size", [(96, 96), (256, 320), (200, 333), (480, 640), (40, 24)])
@pytest.mark.parametrize(("score", "nms"), [(0.7, 0.3), (0.2, 0.6)])
def test_file_equals_published_network_and_numpy(
    published: onnxruntime.InferenceSession, shipped: Network, size: tuple[int, int], score: float, nms: float
) -> None:
    counts = []
    for seed in range(3):
        image = crowd(*size, seed)
        expected = reference(published, image, score, nms)
        (found,) = shipped(image, np.array(score, np.float32), np.array(nms, np.float32))
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=1e-3)
        counts.append(len(found))
    assert max(counts) > 3 or min(size) < 100


def test_image_without_candidates_gives_no_rows(shipped: Network) -> None:
    (found,) = shipped(np.full((70, 50, 3), 127, np.uint8), np.array(0.7, np.float32), np.array(0.3, np.float32))
    assert found.shape == (0, 15)


@pytest.mark.parametrize("nms", [0.3, 0.7])
@pytest.mark.parametrize("seed", range(4))
def test_crowded_heads_are_decoded_and_suppressed_as_in_numpy(seed: int, nms: float) -> None:
    random = np.random.default_rng(seed)
    rows, columns = random.integers(1, 4, 2)
    heads, outputs = {}, [[], [], [], []]
    for stride in (8, 16, 32):
        height, width = rows * 32 // stride, columns * 32 // stride
        logits = random.normal(1.0, 1.5, (2, height * width))
        box, marks = random.normal(0, 0.5, (4, height * width)), random.normal(0, 1, (10, height * width))
        box[2:] += 1  # wide boxes, which overlap
        sides = box[2:] + np.log(stride / 2)
        values = np.concatenate([logits, sides, box[:2] * stride, marks * stride]).astype(np.float32)
        heads[f"head_{stride}"] = values.reshape(1, 16, height, width)
        chances = 1 / (1 + np.exp(-logits))
        for k, each in enumerate((chances[:1], chances[1:], box, marks)):
            outputs[k].append(each.T[None])
    candidates = reference_rows([each for kind in outputs for each in kind], columns * 32, 0.5)
    expected = reference_drop(non_max_suppression(candidates, nms))
    settings = {"score": np.array(0.5, np.float32), "nms": np.array(nms, np.float32)}
    (found,) = part("DECODE", "DROP").run(None, heads | settings)
    assert len(expected) > 3
    np.testing.assert_allclose(found, expected, atol=1e-3)


def kept(*rows: tuple[float, ...]) -> list[int]:
    """Return which rows of box and score are not dropped."""
    boxes = np.zeros((len(rows), 15), np.float32)
    boxes[:, :5] = np.array(rows, np.float32).reshape(-1, 5)
    boxes[:, 5] = np.arange(len(rows))
    (found,) = part("DROP").run(None, {"found": boxes})
    return found[:, 5].astype(int).tolist()


def test_low_score_box_on_a_better_one_is_dropped() -> None:
    assert kept(BEST, (150, 150, 260, 280, 0.75)) == [0]  # a shoulder
    assert kept(BEST, (120, 60, 160, 110, 0.74)) == [0, 1]  # touches only
    assert kept(BEST, (90, 90, 260, 320, 0.71)) == [0]  # around it


def test_two_good_faces_close_together_stay() -> None:
    assert kept(BEST, (150, 150, 260, 280, 0.85)) == [0, 1]
    assert kept(BEST, (300, 100, 360, 170, 0.71)) == [0, 1]


def test_dropped_box_drops_no_other() -> None:
    chain = [BEST, *((100 + 70 * k, 100, 200 + 70 * k, 220, 0.79 - 0.01 * k) for k in range(1, 8))]
    assert kept(*chain) == [0, 2, 4, 6]
    assert kept() == []


@pytest.mark.parametrize("seed", range(6))
def test_doubtful_boxes_of_a_crowd_are_dropped_in_order(seed: int) -> None:
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 300, (80, 2))
    rows = np.hstack([corner, corner + random.uniform(20, 90, (80, 2)), random.uniform(0.6, 0.9, (80, 1))])
    rows = rows[np.argsort(-rows[:, 4])].astype(np.float32).astype(np.float64)
    expected = reference_drop(rows)
    assert 10 < len(expected) < 70
    assert [rows[k].tolist() for k in kept(*map(tuple, rows))] == expected.tolist()


class Watched(YuNet):
    """Notes the widths of the images that the network sees."""

    def __init__(self, **settings: float) -> None:
        super().__init__(threads=1, **settings)
        self.widths: list[int] = []
        network = self._net
        self._net = lambda image, *rest: self.widths.append(image.shape[1]) or network(image, *rest)  # type: ignore


def portrait(side: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a gray image (H, W, 3) of a size with a head of `side` pixels in its middle, a face of about half."""
    image = np.full((*size, 3), 127, np.uint8)
    head = decode((ASSETS / "portrait.jpg").read_bytes(), "portrait")[20:230, 115:325]
    y, x = (size[0] - side) // 2, (size[1] - side) // 2
    image[y : y + side, x : x + side] = cv2.resize(head, (side, side), interpolation=cv2.INTER_AREA)
    return image


def test_large_face_alone_is_searched_at_half_size_only() -> None:
    detector, image = Watched(), portrait(300, (360, 480))
    (face,), (whole,) = detector.quick(image), YuNet()(image)
    assert detector.widths == [240]
    np.testing.assert_allclose(face.box, whole.box, atol=0.12 * (whole.box[2] - whole.box[0]))


@pytest.mark.parametrize(
    ("image", "settings"),
    [
        (portrait(100, (360, 480)), {}),  # a small face
        (np.hstack([portrait(300, (360, 320))] * 2), {}),  # two faces
        (np.full((360, 480, 3), 127, np.uint8), {}),  # none
        (portrait(300, (360, 480)), {"score": 0.95}),
    ],
    ids=["small", "two", "none", "sure"],
)
def test_other_images_are_searched_at_full_size_too(image: NDArray[np.uint8], settings: dict[str, float]) -> None:
    detector = Watched(**settings)
    assert detector.quick(image) == YuNet(**settings)(image)
    assert detector.widths == [image.shape[1] // 2, image.shape[1]]


def test_small_images_and_min_face_are_searched_once() -> None:
    for image, settings in ((portrait(80, (100, 120)), {}), (portrait(300, (360, 480)), {"min_face": 24})):
        detector = Watched(**settings)
        assert detector.quick(image) == YuNet(**settings)(image)
        assert detector.widths == [image.shape[1]]


def test_folders_are_searched_quickly_unless_told() -> None:
    image = portrait(300, (360, 480))
    for whole, width in ((True, 480), (False, 240)):
        detector = Watched()
        (result,) = runner.images([image], Pipeline(detector), 0, whole_search=whole)
        assert len(result) == 1 and detector.widths == [width]
        detector = Watched()
        runner.predict([image, image], pipeline=Pipeline(detector), whole_search=whole)
        assert detector.widths == [width] * 2
    detector = Watched()
    runner.predict(image, pipeline=Pipeline(detector))
    assert detector.widths == [480]  # a single image is always searched whole
