"""`mien.compat.fer` beside what the package fer documents."""

from __future__ import annotations

import base64
import inspect
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from media_files import write_video

import mien
from mien.compat.fer import FER, Video

PORTRAIT = Path(mien.__file__).parent / "assets" / "portrait.jpg"
SEVEN = {"angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"}

IMAGE = """
from fer import FER
import cv2

img = cv2.imread("justin.jpg")
detector = FER()
result = detector.detect_emotions(img)
emotion, score = detector.top_emotion(img)
"""

VIDEO = """
from fer import Video
from fer import FER

video = Video("talk.mp4")
detector = FER(mtcnn=True)
raw_data = video.analyze(detector, display=True)
df = video.to_pandas(raw_data)
"""


@pytest.fixture(scope="module")
def detector() -> FER:
    return FER()


def run(code: str) -> dict[str, Any]:
    """Run an example of fer with nothing changed but the import."""
    names: dict[str, Any] = {}
    exec(code.replace("from fer import", "from mien.compat.fer import"), names)
    return names


def check(faces: list[dict[str, Any]]) -> None:
    for face in faces:
        assert set(face) == {"box", "emotions"} and set(face["emotions"]) == SEVEN
        assert len(face["box"]) == 4 and all(type(value) is int for value in face["box"])
        assert all(type(value) is float and value == round(value, 2) for value in face["emotions"].values())
        assert sum(face["emotions"].values()) == pytest.approx(1, abs=0.04)
    assert json.loads(json.dumps(faces)) == faces


def test_example_for_images_runs_with_the_import_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "justin.jpg").write_bytes(PORTRAIT.read_bytes())
    names = run(IMAGE)
    assert len(names["result"]) == 1
    check(names["result"])
    assert names["emotion"] == "happy" and 0.8 < names["score"] <= 1
    x, y, width, height = names["result"][0]["box"]
    assert x < 222 < x + width and y < 120 < y + height


def test_example_for_videos_runs_with_the_import_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    write_portrait(tmp_path / "talk.mp4", 3)
    names = run(VIDEO)
    assert len(names["raw_data"]) == 3
    assert set(names["raw_data"][0]) == {"box0"} | {f"{name}0" for name in SEVEN}
    assert list(names["df"].columns) == ["box", *mien.types.EMOTIONS7]
    assert (names["df"]["happy"] > 0.8).all()


def write_portrait(path: Path, frames: int) -> None:
    image = cv2.resize(cv2.imread(str(PORTRAIT)), (320, 320), interpolation=cv2.INTER_AREA)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (320, 320))
    for _ in range(frames):
        writer.write(image)
    writer.release()


def test_videos_are_thinned_and_bounded(detector: FER, tmp_path: Path) -> None:
    path = write_video(tmp_path / "empty.mp4", [k / 25 for k in range(10)])
    video = Video(path, first_face_only=False)
    assert video.analyze(detector, frequency=4) == [{}, {}, {}]
    assert video.analyze(detector, max_results=2, save_video=False) == [{}, {}]
    pytest.importorskip("pandas")
    assert len(video.analyze(detector, output="pandas")) == 10


def test_no_face_gives_none(detector: FER) -> None:
    blank = np.zeros((100, 100, 3), np.uint8)
    assert detector.detect_emotions(blank) == [] and detector.top_emotion(blank) == (None, None)


def test_inputs_of_fer_give_the_same_faces(detector: FER) -> None:
    url = "data:image/jpeg;base64," + base64.b64encode(PORTRAIT.read_bytes()).decode()
    inputs = [cv2.imread(str(PORTRAIT)), str(PORTRAIT), url]
    faces = detector.batch_detect_emotions(inputs)
    assert faces[0] == faces[1] == faces[2]
    with pytest.raises(mien.SourceError, match="damaged"):
        detector.detect_emotions("data:image/png;base64,*")


def test_known_faces_are_not_detected_again(detector: FER) -> None:
    (face,) = detector.detect_emotions(str(PORTRAIT))
    (again,) = detector.detect_emotions(str(PORTRAIT), [face["box"]])
    assert again["box"] == face["box"] and again["emotions"]["happy"] > 0.5
    assert len(detector.detect_emotions(str(PORTRAIT), [(200, 90, 20, 20)])) == 1


def test_small_faces_are_left_out() -> None:
    assert FER(min_face_size=200).detect_emotions(str(PORTRAIT)) == []


def test_arguments_are_those_of_fer() -> None:
    parameters = inspect.signature(FER).parameters
    assert list(parameters)[:8] == [
        "cascade_file", "mtcnn", "tfserving", "use_tflite", "scale_factor", "min_face_size", "min_neighbors", "offsets",
    ]  # fmt: skip
    with pytest.raises(mien.ConfigError, match="cascade_file"):
        FER("cascade.xml")
    with pytest.raises(mien.ConfigError, match="tfserving"):
        FER(tfserving=True)
    for wrong in ({"scale_factor": 1.0}, {"min_face_size": 0}, {"min_neighbors": -1}):
        with pytest.raises(ValueError, match="must be"):
            FER(**wrong)  # type: ignore[arg-type]


def test_other_models_have_their_own_keys() -> None:
    (face,) = FER(model="mien-s").detect_emotions(str(PORTRAIT))
    assert set(face["emotions"]) == set(mien.EMOTIONS)
