"""Pipeline and VideoPipeline with fake parts, and the portrait with the real detector."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import mien
from mien import Face, Frame, Pipeline
from mien.faces.tracker import Tracker
from mien.media.video_frame import VideoFrame
from mien.video_pipeline import VideoPipeline

PORTRAIT = Path(mien.__file__).parent / "assets" / "portrait.jpg"
MEDIA = Path(__file__).parents[2] / "shared" / "media"


@dataclass
class Boxes:
    """A detector that always finds the same boxes."""

    boxes: list[tuple[float, float, float, float]]
    name: str = "boxes"

    def __call__(self, image: np.ndarray) -> list[Face]:
        return [Face(box) for box in self.boxes]


@dataclass
class Brightness:
    """A classifier of two classes that counts its calls."""

    labels: tuple[str, ...] = ("dark", "bright")
    confidence_threshold: float = 0.7
    calls: list[int] = field(default_factory=list)

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        self.calls.append(len(crops))
        bright = crops.mean(axis=(1, 2), dtype=np.float32) / 255
        return np.stack([1 - bright, bright], axis=1).astype(np.float32)


@pytest.fixture
def halves() -> np.ndarray:
    """Black on the left, white on the right."""
    picture = np.zeros((60, 120, 3), np.uint8)
    picture[:, 60:] = 255
    return picture


def test_all_faces_of_an_image_are_classified_in_one_call(halves: np.ndarray) -> None:
    classifier = Brightness()
    result = Pipeline(Boxes([(70, 10, 110, 50), (10, 10, 50, 50)]), classifier).process(Frame(halves, 3, 1.5, "x"))
    assert [face.emotion for face in result.faces] == ["bright", "dark"]
    assert [face.confidence_threshold for face in result.faces] == [0.7, 0.7]
    assert classifier.calls == [2]
    assert result.crops.shape == (2, 48, 48)
    assert (result.frame.index, result.frame.time) == (3, 1.5)
    json.dumps(result.to_dict())


@dataclass
class Blobs:
    """A detector that finds as many faces as the value of the first pixel."""

    name: str = "blobs"

    def __call__(self, image: np.ndarray) -> list[Face]:
        return [Face((20.0 * k, 10, 20.0 * k + 20, 40)) for k in range(image[0, 0, 0])]


def numbered(counts: list[int]) -> list[Frame]:
    """Return frames 0.1 s apart with these numbers of faces, brighter from left to right."""
    picture = np.repeat(np.linspace(0, 255, 120).astype(np.uint8)[None, :, None], 60, axis=0).repeat(3, axis=2)
    frames = [Frame(picture.copy(), k, k / 10) for k in range(len(counts))]
    for frame, count in zip(frames, counts, strict=True):
        frame.image[0, 0, 0] = count
    return frames


def test_process_batch_calls_the_classifier_once() -> None:
    classifier = Brightness()
    pipeline = Pipeline(Blobs(), classifier)
    frames = numbered([2, 0, 3, 1])
    together = pipeline.process_batch(frames)
    assert classifier.calls == [6]
    assert [len(result.faces) for result in together] == [2, 0, 3, 1]
    for result, alone in zip(together, map(pipeline.process, frames), strict=True):
        assert result.to_dict() == alone.to_dict()
        assert np.array_equal(result.crops, alone.crops)
    assert pipeline.process_batch([]) == []
    calls = len(classifier.calls)
    assert [result.faces for result in pipeline.process_batch(numbered([0, 0]))] == [(), ()]
    assert len(classifier.calls) == calls


def test_video_results_have_ids_and_smoothing() -> None:
    pipeline = Pipeline(Blobs(), Brightness())
    stream, frames = VideoPipeline(pipeline), numbered([2, 2, 0, 3])
    frames[1].image[5:] = 255
    seen = [stream.process(frame) for frame in frames]
    plain = [pipeline.process(frame) for frame in frames]
    assert [[face.id for face in result.faces] for result in seen] == [[1, 2], [1, 2], [], [1, 2, 3]]
    assert stream.tracker.active_ids == {1, 2, 3}
    assert all(face.id is None for result in plain for face in result.faces)
    assert seen[0].faces[0].probabilities == plain[0].faces[0].probabilities
    before, raw, smooth = (result.faces[0].probabilities["bright"] for result in (plain[0], plain[1], seen[1]))
    assert before < smooth < raw
    assert np.array_equal(seen[1].crops, plain[1].crops)


def test_video_pipelines_share_no_state() -> None:
    pipeline = Pipeline(Blobs(), Brightness())
    one, other = VideoPipeline(pipeline), VideoPipeline(pipeline, Tracker(smoothing=0))
    one.process_batch(numbered([3, 3]))
    (first, second) = other.process_batch(numbered([1, 2]))
    assert [face.id for face in first.faces + second.faces] == [1, 1, 2]
    assert one.tracker.active_ids == {1, 2, 3}
    assert second.faces[0].probabilities == pipeline.process(second.frame).faces[0].probabilities


def test_batches_equal_single_frames() -> None:
    pipeline = Pipeline(Blobs(), Brightness())
    frames, one, other = numbered([1, 2, 0, 2, 3]), VideoPipeline(pipeline), VideoPipeline(pipeline)
    bundled = one.process_batch(frames[:3]) + one.process_batch(frames[3:])
    assert [r.to_dict() for r in bundled] == [other.process(frame).to_dict() for frame in frames]


@dataclass
class Moving:
    """A detector of one bright square that counts its calls."""

    name: str = "moving"
    searched: int = 0

    def __call__(self, image: np.ndarray) -> list[Face]:
        self.searched += 1
        rows, columns = np.nonzero(image[:, :, 0])
        return [Face((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))] if len(rows) else []


def walk(count: int) -> list[Frame]:
    """Return frames, 30 a second, of a 40-pixel white square that moves 2 pixels to the right a frame."""
    frames = [Frame(np.zeros((60, 240, 3), np.uint8), k, k / 30) for k in range(count)]
    for k, frame in enumerate(frames):
        frame.image[10:50, 10 + 2 * k : 50 + 2 * k] = 255
    return frames


def test_faces_are_predicted_and_classified_between_detections() -> None:
    detector, classifier = Moving(), Brightness()
    stream = VideoPipeline(Pipeline(detector, classifier), detect_every=3)
    seen = stream.process_batch(walk(60))
    assert detector.searched == 20
    assert sum(classifier.calls) == 60
    assert {face.id for result in seen for face in result.faces} == {1}
    assert all(len(result.faces) == 1 for result in seen)
    found = np.array([result.faces[0].box for result in seen])
    truth = np.array([(10 + 2 * k, 10, 50 + 2 * k, 50) for k in range(60)])
    assert np.abs(found - truth)[::3].max() == 0
    assert np.abs(found - truth)[10:].max() < 3
    assert all(result.faces[0].probabilities["bright"] > 0.85 for result in seen[10:])


def test_batches_equal_single_frames_with_detect_every() -> None:
    pipeline, frames = Pipeline(Moving(), Brightness()), walk(24)
    one, other = VideoPipeline(pipeline, detect_every=3), VideoPipeline(pipeline, detect_every=3)
    bundled = one.process_batch(frames[:5]) + one.process_batch(frames[5:16]) + one.process_batch(frames[16:])
    single = [other.process(frame) for frame in frames]
    assert [result.to_dict() for result in bundled] == [result.to_dict() for result in single]


def test_entry_and_exit_are_noticed_at_the_next_detection() -> None:
    frames, wall = walk(12), np.random.default_rng(0).integers(0, 255, (60, 240), np.uint8)
    for k, frame in enumerate(frames):
        frame.image[:, :, 2] = wall  # an empty image would be a black frame of a fade
        if k in (0, 1, 5, 6, 7, 8):  # away
            frame.image[:, :, :2] = 0
    seen = VideoPipeline(Pipeline(Moving(), Brightness()), detect_every=4).process_batch(frames)
    assert [len(result.faces) for result in seen] == [0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0]


@dataclass
class Scaled(Moving):
    """The same with `find`, which ignores squares below `min_face` and records it."""

    asked: list[float] = field(default_factory=list)

    def find(self, image: np.ndarray, min_face: float) -> list[Face]:
        self.asked.append(min_face)
        found = self(image)
        self.searched -= 1
        return [face for face in found if face.box[2] - face.box[0] >= min_face]


def test_faces_of_known_size_are_detected_between_full_detections() -> None:
    detector = Scaled()
    seen = VideoPipeline(Pipeline(detector, Brightness()), redetect_every=0.2).process_batch(
        walk(24)
    )  # 30 frames a second
    assert all(len(result.faces) == 1 for result in seen)
    assert detector.searched == 4
    assert detector.asked == [24.0] * 20
    assert [result.to_dict() for result in seen] == [
        result.to_dict() for result in VideoPipeline(Pipeline(Moving(), Brightness())).process_batch(walk(24))
    ]


def test_missing_face_triggers_a_full_detection() -> None:
    frames, detector = walk(6), Scaled()
    frames[2].image[:] = 0  # gone
    frames[3].image[:] = 0
    frames[5].image[:], frames[5].image[20:30, 30:40] = 0, 255  # a quarter of the size
    seen = VideoPipeline(Pipeline(detector, Brightness()), redetect_every=10).process_batch(frames)
    assert [len(result.faces) for result in seen] == [1, 1, 0, 0, 1, 1]
    assert detector.searched == 5  # the first, where it is missing, while there is none, and where it is small
    assert detector.asked == [24.0, 24.0, 24.0]


def test_redetect_every_0_makes_each_detection_full() -> None:
    detector = Scaled()
    VideoPipeline(Pipeline(detector, Brightness()), redetect_every=0).process_batch(walk(5))
    assert (detector.searched, detector.asked) == (5, [])


def test_invalid_settings_are_refused() -> None:
    with pytest.raises(mien.ConfigError, match="redetect_every is nan"):
        VideoPipeline(Pipeline(Moving(), Brightness()), redetect_every=float("nan"))
    with pytest.raises(mien.ConfigError, match="detect_every is 0"):
        VideoPipeline(Pipeline(Moving(), Brightness()), detect_every=0)
    with pytest.raises(mien.ConfigError, match="min_face"):
        Pipeline(Moving(), Brightness(), min_face=40)
    with pytest.raises(mien.ConfigError, match="smallest face"):
        Pipeline("yunet", Brightness(), min_face=0)


def test_known_faces_are_not_detected_again(halves: np.ndarray) -> None:
    detector = Moving()
    known = [Face((10, 10, 50, 50))]
    [result] = Pipeline(detector, Brightness()).process_batch([Frame(halves)], [known])
    assert (result.faces[0].box, result.faces[0].emotion, detector.searched) == (known[0].box, "dark", 0)


def test_steps_on_their_own_give_the_result_of_the_pipeline(halves: np.ndarray) -> None:
    pipeline = Pipeline(Boxes([(0, 0, 60, 60), (60, 0, 120, 60)]), Brightness())
    faces = pipeline.detect(halves)
    crops = pipeline.crop(halves, faces)
    result = pipeline(halves)
    assert np.array_equal(crops, result.crops)
    assert pipeline.label(faces, pipeline.classify(crops), crops, halves.shape) == result.faces


def test_classifying_no_crops_gives_no_rows() -> None:
    pipeline = Pipeline(Boxes([]), Brightness())
    assert pipeline.classify(np.zeros((0, 48, 48), np.uint8)).shape == (0, len(Brightness().labels))


def test_classifier_is_not_called_without_faces(halves: np.ndarray) -> None:
    classifier = Brightness()
    result = Pipeline(Boxes([]), classifier)(halves)
    assert (result.faces, result.crops.shape, classifier.calls) == ((), (0, 48, 48), [])


def test_margin_enlarges_the_crops(halves: np.ndarray) -> None:
    boxes = Boxes([(65, 20, 85, 40)])
    assert Pipeline(boxes, Brightness())(halves).crops.min() == 255
    assert Pipeline(boxes, Brightness(), margin=1.0)(halves).crops.min() == 0


def test_path_and_array_give_the_same_faces(halves: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "halves.png"
    cv2.imwrite(str(path), halves)
    pipeline = Pipeline(Boxes([(30, 10, 80, 50)]), Brightness())
    by_path = pipeline(path)
    assert by_path.frame.name == str(path)
    assert by_path.faces == pipeline(halves).faces == pipeline(str(path)).faces


def test_unreadable_image_is_a_source_error(tmp_path: Path) -> None:
    pipeline = Pipeline(Boxes([]), Brightness())
    (tmp_path / "text.jpg").write_text("hello")
    for path in (tmp_path / "none.jpg", tmp_path, tmp_path / "text.jpg"):
        with pytest.raises(mien.SourceError, match=path.name):
            pipeline(path)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(mien.ConfigError, match="yunet"):
        mien.load("none.onnx", detector="best")
    with pytest.raises(mien.ModelError, match=r"none\.onnx"):
        mien.load("none.onnx")


@pytest.mark.skipif(not PORTRAIT.exists(), reason="the portrait is not shipped")
def test_portrait_has_one_face() -> None:
    (face,) = Pipeline(classifier=Brightness())(PORTRAIT).faces
    x1, y1, x2, y2 = face.box
    assert x1 < 222 < x2
    assert y1 < 120 < y2
    assert sum(face.probabilities.values()) == pytest.approx(1, abs=1e-6)


@pytest.mark.skipif(not PORTRAIT.exists(), reason="the portrait is not shipped")
def test_eight_threads_give_the_results_of_one() -> None:
    pipeline = Pipeline(classifier=Brightness())
    portrait = mien.Pipeline(Boxes([]), Brightness())(PORTRAIT).frame.image
    frames = [Frame(np.ascontiguousarray(portrait[: 512 - 20 * (i % 8)]), i) for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        together = [result.to_dict() for result in pool.map(pipeline.process, frames)]
    assert together == [pipeline.process(frame).to_dict() for frame in frames]
    assert all(result["faces"] for result in together)


@pytest.mark.skipif(not MEDIA.exists(), reason="the real pictures are not there")
@pytest.mark.parametrize(
    ("name", "count"), [("single_face.jpg", 1), ("multi_face.jpg", 5), ("free-mountain-vector-01.jpg", 0)]
)
def test_real_images_have_the_right_number_of_faces(name: str, count: int) -> None:
    result = Pipeline(classifier=Brightness())(MEDIA / name)
    assert len(result.faces) == len(result.crops) == count


@pytest.mark.parametrize("detector", ["yunet", "mtcnn"])
def test_large_video_frame_is_not_converted_as_a_whole(detector: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = cv2.resize(cv2.imread(str(PORTRAIT)), (1200, 1200))
    pipeline = Pipeline(detector, Brightness())
    expected = pipeline(image)
    pixels = VideoFrame(av.VideoFrame.from_ndarray(image, "bgr24").reformat(format="yuv420p"))
    monkeypatch.setattr(VideoFrame, "bgr", lambda _: pytest.fail("the whole frame is converted"))
    result = VideoPipeline(pipeline).process(Frame(pixels))
    assert result.faces[0].box == pytest.approx(expected.faces[0].box, abs=8)
    assert np.abs(result.crops.astype(int) - expected.crops).mean() < 6
    assert (result.to_dict()["width"], result.to_dict()["height"]) == image.shape[1::-1]
