"""VideoPipeline on made clips: cuts, people who cross, and smoothing with frames before and after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from mien import Face, Failure, Frame, Pipeline, Result
from mien.faces.tracker import Tracker
from mien.video_pipeline import VideoPipeline

RATE = 25
PLACE = (60, 20, 110, 70)  # of a face


@dataclass
class Squares:
    """A detector of the squares of some pure colours, drawn by `person`; later ones hide earlier ones."""

    name: str = "squares"

    def __call__(self, image: np.ndarray) -> list[Face]:
        found = []
        for colour in COLOURS:
            rows, columns = np.nonzero((image == colour).all(axis=2))
            if len(rows) > 200:
                found.append(Face((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)))
        return found


@dataclass
class Still:
    """A detector of one face at the same place."""

    name: str = "still"

    def __call__(self, image: np.ndarray) -> list[Face]:
        return [Face(PLACE)]


@dataclass
class Brightness:
    """A classifier by the brightness of the crop."""

    labels: tuple[str, ...] = ("dark", "bright")
    confidence_threshold: float = 0.5

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        bright = crops.mean(axis=(1, 2), dtype=np.float32) / 255
        return np.stack([1 - bright, bright], axis=1).astype(np.float32)


COLOURS = ((200, 60, 0), (0, 60, 200))


def room(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 160, (6, 10, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (160, 90), interpolation=cv2.INTER_CUBIC), np.uint8)


def clip(images: Sequence[np.ndarray]) -> Iterator[Frame]:
    for k, image in enumerate(images):
        yield Frame(image, k, k / RATE, "clip")


def people_at_one_place() -> list[np.ndarray]:
    """Return 20 frames each of three people in three rooms, with a bright, a dark and a bright face."""
    images = []
    for seed, level in enumerate((230, 20, 220)):
        image = room(seed)
        x1, y1, x2, y2 = PLACE
        image[y1:y2, x1:x2] = level
        images += [image] * 20
    return images


def results(pipeline: VideoPipeline, images: Sequence[np.ndarray], live: bool) -> list[Result]:
    if live:
        return [pipeline.process(frame) for frame in clip(images)]
    return [item for item in pipeline.track(clip(images)) if isinstance(item, Result)]


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("every", [1, 4])
def test_two_cuts_make_three_tracks_without_carrying_over(live: bool, every: int) -> None:
    pipeline = VideoPipeline(Pipeline(Still(), Brightness()), detect_every=every)
    seen = results(pipeline, people_at_one_place(), live)
    assert [result.shot for result in seen] == [1] * 20 + [2] * 20 + [3] * 20
    faces = [result.faces[0] for result in seen]
    assert [face.id for face in faces] == [1] * 20 + [2] * 20 + [3] * 20
    for k, level in enumerate((230, 20, 220)):
        for face in faces[20 * k : 20 * k + 20]:
            assert face.probabilities["bright"] == pytest.approx(level / 255, abs=0.02)
    assert [face.emotion for face in faces] == ["bright"] * 20 + ["dark"] * 20 + ["bright"] * 20


@pytest.mark.parametrize("live", [False, True])
def test_person_who_crosses_another_has_an_own_id(live: bool) -> None:
    images = []
    for k in range(50):
        image = room(3) // 2
        image[20:70, 55:105] = COLOURS[0]
        image[30:80, 3 * k - 40 if 3 * k > 40 else 0 : 3 * k + 10] = COLOURS[1]
        images.append(image)
    seen = results(VideoPipeline(Pipeline(Squares(), Brightness())), images, live)
    assert {result.shot for result in seen} == {1}
    assert {face.id for result in seen for face in result.faces} == {1, 2}
    first, last = ({round(face.box[0]): face.id for face in seen[k].faces} for k in (12, -1))
    assert first[55] == last[55]  # the one who stays


def noise(seed: int, count: int) -> list[np.ndarray]:
    """Return frames whose face is dark at first and bright from the middle on, with noise."""
    rng = np.random.default_rng(seed)
    images = []
    for k in range(count):
        image = room(4)
        x1, y1, x2, y2 = PLACE
        image[y1:y2, x1:x2] = np.clip((70 if k < count // 2 else 185) + rng.normal(0, 12), 0, 255)
        images.append(image)
    return images


def test_label_of_a_file_turns_when_the_face_does() -> None:
    images = noise(0, 100)
    file, live = (results(VideoPipeline(Pipeline(Still(), Brightness())), images, live) for live in (False, True))
    turns = [[result.faces[0].emotion for result in seen].index("bright") for seen in (file, live)]
    assert turns[0] in (49, 50) and turns[1] > 52
    assert {result.shot for result in file} == {1}


def test_camera_is_smoothed_by_the_past_alone() -> None:
    class Camera:
        name, kind, ended, skipped, rate = "camera", "camera", False, 0, 25.0

        def __init__(self) -> None:
            self.given = 0
            self.closed = False

        def get(self, timeout: float | None = None) -> Frame | Failure | None:
            return None

        def __iter__(self) -> Iterator[Frame]:
            for frame in clip(noise(0, 60)):
                self.given += 1
                yield frame

        def close(self) -> None:
            self.closed = True

    camera = Camera()
    stream = VideoPipeline(Pipeline(Still(), Brightness())).track(camera)
    found = [item for item in stream if isinstance(item, Result)]
    alone = results(VideoPipeline(Pipeline(Still(), Brightness())), noise(0, 60), live=True)
    assert [result.to_dict() for result in found] == [result.to_dict() for result in alone]


def test_failures_keep_their_places_in_a_smoothed_file() -> None:
    frames = list(clip(noise(0, 40)))
    items = [*frames[:10], Failure("clip", "damaged", 10), *frames[10:]]
    found = list(VideoPipeline(Pipeline(Still(), Brightness())).track(items))
    assert [isinstance(item, Failure) for item in found] == [k == 10 for k in range(41)]


def test_settings_of_the_tracker_count_for_files() -> None:
    tracker = Tracker(smoothing=0, margin=0)
    seen = results(VideoPipeline(Pipeline(Still(), Brightness()), tracker), noise(1, 30), live=False)
    plain = [Pipeline(Still(), Brightness()).process(frame) for frame in clip(noise(1, 30))]
    for result, other in zip(seen, plain, strict=True):
        assert result.faces[0].probabilities == pytest.approx(dict(other.faces[0].probabilities))
