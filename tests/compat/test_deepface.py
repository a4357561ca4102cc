"""`mien.compat.deepface` beside what the package deepface documents."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import mien
from mien.compat import deepface
from mien.compat.deepface import DeepFace, analyze

PORTRAIT = Path(mien.__file__).parent / "assets" / "portrait.jpg"
SEVEN = {"angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"}

EXAMPLE = """
from deepface import DeepFace

objs = DeepFace.analyze(img_path = "img4.jpg", actions = ['emotion'])
demographies = DeepFace.analyze(img_path = "img4.jpg", detector_backend = "retinaface", align = True)
"""


def check(faces: Any) -> None:
    assert json.loads(json.dumps(faces)) and faces
    for face in faces:
        assert set(face) == {"emotion", "dominant_emotion", "region", "face_confidence"}
        assert set(face["emotion"]) == SEVEN and sum(face["emotion"].values()) == pytest.approx(100, abs=0.01)
        assert face["dominant_emotion"] == max(face["emotion"], key=face["emotion"].get)
        assert set(face["region"]) == {"x", "y", "w", "h", "left_eye", "right_eye"}
        assert all(type(face["region"][side]) is int for side in "xywh")
        assert 0 <= face["face_confidence"] <= 1


def test_example_runs_with_the_import_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "img4.jpg").write_bytes(PORTRAIT.read_bytes())
    names: dict[str, Any] = {}
    exec(EXAMPLE.replace("from deepface import", "from mien.compat.deepface import"), names)
    assert names["objs"] == names["demographies"] and len(names["objs"]) == 1
    check(names["objs"])
    (face,) = names["objs"]
    assert face["dominant_emotion"] == "happy" and face["emotion"]["happy"] > 80
    region = face["region"]
    assert region["x"] < region["right_eye"][0] < region["left_eye"][0] < region["x"] + region["w"]


def test_arguments_are_those_of_deepface() -> None:
    assert list(inspect.signature(DeepFace.analyze).parameters) == [
        "img_path", "actions", "enforce_detection", "detector_backend", "align", "expand_percentage", "silent",
        "anti_spoofing",
    ]  # fmt: skip


def test_several_images_give_a_list_of_lists() -> None:
    one = analyze(str(PORTRAIT))
    image = cv2.imread(str(PORTRAIT))
    with PORTRAIT.open("rb") as file:
        assert analyze([str(PORTRAIT), image, file]) == [one, one, one]
    assert analyze(np.stack([image, image])) == [one, one]


def test_image_without_a_face_is_a_value_error_unless_allowed() -> None:
    blank = np.zeros((50, 70, 3), np.uint8)
    with pytest.raises(ValueError, match="enforce_detection=False") as caught:
        analyze(blank)
    assert isinstance(caught.value, mien.Error)
    faces: Any = analyze(blank, enforce_detection=False)
    check(faces)
    assert faces[0]["face_confidence"] == 0
    assert faces[0]["region"] == {"x": 0, "y": 0, "w": 70, "h": 50, "left_eye": None, "right_eye": None}
    assert analyze(blank, detector_backend="skip") == faces


@pytest.mark.parametrize("actions", ["age", ["emotion", "age"], ("gender", "race"), ["mood"]])
def test_other_actions_are_refused(actions: Any) -> None:
    with pytest.raises(mien.ConfigError, match=r"give actions=\['emotion'\]"):
        analyze(str(PORTRAIT), actions)


def test_settings_are_followed_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(deepface, "_pipeline", lambda *options: made.append(options) or deepface._load(*options))
    assert analyze(str(PORTRAIT), "emotion") == analyze(str(PORTRAIT), detector_backend="yunet")
    analyze(str(PORTRAIT), detector_backend="mtcnn", align=False, expand_percentage=20)
    assert made == [("yunet", True, 0.0), ("yunet", True, 0.0), ("mtcnn", False, 0.2)]
    with pytest.raises(mien.ConfigError, match="anti_spoofing"):
        analyze(str(PORTRAIT), anti_spoofing=True)
    with pytest.raises(ValueError, match="actions is empty"):
        analyze(str(PORTRAIT), [])
