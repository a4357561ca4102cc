"""What the pipeline promises, with fakes for its parts; the portrait goes through a real detector."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest

import mien
from mien import Face, Frame, Pipeline
from mien.track import Tracker

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
    uncertain_below: float = 0.7
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


def test_every_face_gets_its_own_probabilities_from_one_call(halves: np.ndarray) -> None:
    classifier = Brightness()
    result = Pipeline(Boxes([(70, 10, 110, 50), (10, 10, 50, 50)]), classifier).process(Frame(halves, 3, 1.5, "x"))
    assert [face.emotion for face in result.faces] == ["bright", "dark"]
    assert [face.uncertain_below for face in result.faces] == [0.7, 0.7]
    assert classifier.calls == [2]
    assert result.crops.shape == (2, 48, 48)
    assert (result.frame.index, result.frame.time) == (3, 1.5)
    json.dumps(result.to_dict())


@dataclass
class Blobs:
    """A detector whose number of boxes is the first pixel's value."""

    name: str = "blobs"

    def __call__(self, image: np.ndarray) -> list[Face]:
        return [Face((20.0 * k, 10, 20.0 * k + 20, 40)) for k in range(image[0, 0, 0])]


def numbered(counts: list[int]) -> list[Frame]:
    """Frames a tenth of a second apart that hold so many faces, brighter from left to right."""
    picture = np.repeat(np.linspace(0, 255, 120).astype(np.uint8)[None, :, None], 60, axis=0).repeat(3, axis=2)
    frames = [Frame(picture.copy(), k, k / 10) for k in range(len(counts))]
    for frame, count in zip(frames, counts, strict=True):
        frame.image[0, 0, 0] = count
    return frames


def test_many_frames_go_through_the_classifier_in_one_call() -> None:
    classifier = Brightness()
    pipeline = Pipeline(Blobs(), classifier)
    frames = numbered([2, 0, 3, 1])
    together = pipeline.process_many(frames)
    assert classifier.calls == [6]
    assert [len(result.faces) for result in together] == [2, 0, 3, 1]
    for result, alone in zip(together, map(pipeline.process, frames), strict=True):
        assert result.to_dict() == alone.to_dict()
        assert np.array_equal(result.crops, alone.crops)
    assert pipeline.process_many([]) == []
    calls = len(classifier.calls)
    assert [result.faces for result in pipeline.process_many(numbered([0, 0]))] == [(), ()]
    assert len(classifier.calls) == calls


def test_a_stream_adds_ids_and_smooths_and_stills_stay_as_they_are() -> None:
    pipeline = Pipeline(Blobs(), Brightness())
    stream, frames = pipeline.stream(), numbered([2, 2, 0, 3])
    frames[1].image[5:] = 255
    seen = [stream.process(frame) for frame in frames]
    plain = [pipeline.process(frame) for frame in frames]
    assert [[face.id for face in result.faces] for result in seen] == [[1, 2], [1, 2], [], [1, 2, 3]]
    assert stream.tracker.alive == {1, 2, 3}
    assert all(face.id is None for result in plain for face in result.faces)
    assert seen[0].faces[0].probabilities == plain[0].faces[0].probabilities
    before, raw, smooth = (result.faces[0].probabilities["bright"] for result in (plain[0], plain[1], seen[1]))
    assert before < smooth < raw
    assert np.array_equal(seen[1].crops, plain[1].crops)


def test_streams_share_a_pipeline_and_nothing_else() -> None:
    pipeline = Pipeline(Blobs(), Brightness())
    one, other = pipeline.stream(), pipeline.stream(Tracker(half_life=0))
    one.process_many(numbered([3, 3]))
    (first, second) = other.process_many(numbered([1, 2]))
    assert [face.id for face in first.faces + second.faces] == [1, 1, 2]
    assert one.tracker.alive == {1, 2, 3}
    assert second.faces[0].probabilities == pipeline.process(second.frame).faces[0].probabilities


def test_frames_in_bundles_give_what_single_frames_give() -> None:
    pipeline = Pipeline(Blobs(), Brightness())
    frames, one, other = numbered([1, 2, 0, 2, 3]), pipeline.stream(), pipeline.stream()
    bundled = one.process_many(frames[:3]) + one.process_many(frames[3:])
    assert [r.to_dict() for r in bundled] == [other.process(frame).to_dict() for frame in frames]


@dataclass
class Moving:
    """A detector of one bright square that counts the pictures it searched."""

    name: str = "moving"
    searched: int = 0

    def __call__(self, image: np.ndarray) -> list[Face]:
        self.searched += 1
        rows, columns = np.nonzero(image[:, :, 0])
        return [Face((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))] if len(rows) else []


def walk(count: int) -> list[Frame]:
    """A white square of 40 pixels that goes 2 pixels to the right a frame, 30 frames a second."""
    frames = [Frame(np.zeros((60, 240, 3), np.uint8), k, k / 30) for k in range(count)]
    for k, frame in enumerate(frames):
        frame.image[10:50, 10 + 2 * k : 50 + 2 * k] = 255
    return frames


def test_between_searches_faces_are_followed_and_classified() -> None:
    detector, classifier = Moving(), Brightness()
    stream = Pipeline(detector, classifier).stream(every=3)
    seen = stream.process_many(walk(60))
    assert detector.searched == 20
    assert sum(classifier.calls) == 60
    assert {face.id for result in seen for face in result.faces} == {1}
    assert all(len(result.faces) == 1 for result in seen)
    found = np.array([result.faces[0].box for result in seen])
    truth = np.array([(10 + 2 * k, 10, 50 + 2 * k, 50) for k in range(60)])
    assert np.abs(found - truth)[::3].max() == 0
    assert np.abs(found - truth)[10:].max() < 3
    assert all(result.faces[0].probabilities["bright"] > 0.85 for result in seen[10:])


def test_bundles_do_not_change_what_every_third_search_gives() -> None:
    pipeline, frames = Pipeline(Moving(), Brightness()), walk(24)
    one, other = pipeline.stream(every=3), pipeline.stream(every=3)
    bundled = one.process_many(frames[:5]) + one.process_many(frames[5:16]) + one.process_many(frames[16:])
    single = [other.process(frame) for frame in frames]
    assert [result.to_dict() for result in bundled] == [result.to_dict() for result in single]


def test_who_comes_and_goes_is_noticed_at_the_next_search() -> None:
    frames = walk(12)
    for k in (0, 1, 5, 6, 7, 8):  # away
        frames[k].image[:] = 0
    seen = Pipeline(Moving(), Brightness()).stream(every=4).process_many(frames)
    assert [len(result.faces) for result in seen] == [0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0]


@dataclass
class Scaled(Moving):
    """The same with `find`, which sees squares that are large enough, and notes what it was asked for."""

    asked: list[float] = field(default_factory=list)

    def find(self, image: np.ndarray, min_face: float) -> list[Face]:
        self.asked.append(min_face)
        found = self(image)
        self.searched -= 1
        return [face for face in found if face.box[2] - face.box[0] >= min_face]


def test_between_whole_searches_only_faces_of_the_known_size_are_looked_for() -> None:
    detector = Scaled()
    seen = Pipeline(detector, Brightness()).stream(whole=0.2).process_many(walk(24))  # 30 frames a second
    assert all(len(result.faces) == 1 for result in seen)
    assert detector.searched == 4
    assert detector.asked == [24.0] * 20
    assert [result.to_dict() for result in seen] == [
        result.to_dict() for result in Pipeline(Moving(), Brightness()).stream().process_many(walk(24))
    ]


def test_a_face_that_is_missing_or_too_small_is_searched_for_in_the_same_frame() -> None:
    frames, detector = walk(6), Scaled()
    frames[2].image[:] = 0  # gone
    frames[3].image[:] = 0
    frames[5].image[:], frames[5].image[20:30, 30:40] = 0, 255  # a quarter of the size
    seen = Pipeline(detector, Brightness()).stream(whole=10).process_many(frames)
    assert [len(result.faces) for result in seen] == [1, 1, 0, 0, 1, 1]
    assert detector.searched == 5  # the first, where it is missing, while there is none, and where it is small
    assert detector.asked == [24.0, 24.0, 24.0]


def test_without_pause_between_whole_searches_each_frame_is_searched_whole() -> None:
    detector = Scaled()
    Pipeline(detector, Brightness()).stream(whole=0).process_many(walk(5))
    assert (detector.searched, detector.asked) == (5, [])


def test_impossible_settings_are_told() -> None:
    with pytest.raises(mien.ConfigError, match="whole is nan"):
        Pipeline(Moving(), Brightness()).stream(whole=float("nan"))
    with pytest.raises(mien.ConfigError, match="every 0th"):
        Pipeline(Moving(), Brightness()).stream(every=0)
    with pytest.raises(mien.ConfigError, match="min_face"):
        Pipeline(Moving(), Brightness(), min_face=40)
    with pytest.raises(mien.ConfigError, match="smallest face"):
        Pipeline("yunet", Brightness(), min_face=0)


def test_known_faces_are_not_searched(halves: np.ndarray) -> None:
    detector = Moving()
    known = [Face((10, 10, 50, 50))]
    first, second = Pipeline(detector, Brightness()).process_many([Frame(halves), Frame(halves)], [known, None])
    assert (first.faces[0].box, first.faces[0].emotion, detector.searched) == (known[0].box, "dark", 1)
    assert second.faces[0].box == (60, 0, 120, 60)


def test_without_a_face_the_classifier_is_not_asked(halves: np.ndarray) -> None:
    classifier = Brightness()
    result = Pipeline(Boxes([]), classifier)(halves)
    assert (result.faces, result.crops.shape, classifier.calls) == ((), (0, 48, 48), [])


def test_margin_reaches_the_crops(halves: np.ndarray) -> None:
    boxes = Boxes([(65, 20, 85, 40)])
    assert Pipeline(boxes, Brightness())(halves).crops.min() == 255
    assert Pipeline(boxes, Brightness(), margin=1.0)(halves).crops.min() == 0


def test_a_path_and_its_array_give_the_same(halves: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "halves.png"
    cv2.imwrite(str(path), halves)
    pipeline = Pipeline(Boxes([(30, 10, 80, 50)]), Brightness())
    by_path = pipeline(path)
    assert by_path.frame.name == str(path)
    assert by_path.faces == pipeline(halves).faces == pipeline(str(path)).faces


def test_what_cannot_be_read_is_a_source_error(tmp_path: Path) -> None:
    pipeline = Pipeline(Boxes([]), Brightness())
    (tmp_path / "text.jpg").write_text("hello")
    for path in (tmp_path / "none.jpg", tmp_path, tmp_path / "text.jpg"):
        with pytest.raises(mien.SourceError, match=path.name):
            pipeline(path)


def test_unknown_names_fail_at_construction() -> None:
    with pytest.raises(mien.ConfigError, match="yunet"):
        mien.load("none.onnx", detector="best")
    with pytest.raises(mien.ModelError, match=r"none\.onnx"):
        mien.load("none.onnx")


@pytest.mark.skipif(not PORTRAIT.exists(), reason="the portrait is not shipped")
def test_the_shipped_portrait_has_one_face() -> None:
    (face,) = Pipeline(classifier=Brightness())(PORTRAIT).faces
    x1, y1, x2, y2 = face.box
    assert x1 < 222 < x2
    assert y1 < 120 < y2
    assert sum(face.probabilities.values()) == pytest.approx(1, abs=1e-6)


@pytest.mark.skipif(not PORTRAIT.exists(), reason="the portrait is not shipped")
def test_eight_threads_see_what_one_sees() -> None:
    pipeline = Pipeline(classifier=Brightness())
    whole = mien.Pipeline(Boxes([]), Brightness())(PORTRAIT).frame.image
    frames = [Frame(np.ascontiguousarray(whole[: 512 - 20 * (i % 8)]), i) for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        together = [result.to_dict() for result in pool.map(pipeline.process, frames)]
    assert together == [pipeline.process(frame).to_dict() for frame in frames]
    assert all(result["faces"] for result in together)


@pytest.mark.skipif(not MEDIA.exists(), reason="the real pictures are not there")
@pytest.mark.parametrize(
    ("name", "count"), [("single_face.jpg", 1), ("multi_face.jpg", 5), ("free-mountain-vector-01.jpg", 0)]
)
def test_real_pictures_have_the_right_number_of_faces(name: str, count: int) -> None:
    result = Pipeline(classifier=Brightness())(MEDIA / name)
    assert len(result.faces) == len(result.crops) == count
