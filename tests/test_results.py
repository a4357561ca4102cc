"""Results as values, images, tables and forms of other packages."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from media_files import write_video
from PIL import Image as Pil
from PIL import ImageShow

import mien
from mien import ConfigError, Face, Failure, Frame, OutputError, Result, Results
from mien.media.video import Video
from mien.sinks.base import COLUMNS

PORTRAIT = Path(mien.__file__).parent / "assets" / "portrait.jpg"


def make(name: str = "photo.jpg", ids: bool = False) -> Result:
    """Return a result of two faces, the second one uncertain."""
    image = np.random.default_rng(0).integers(0, 256, (60, 120, 3), np.uint8)
    faces = (
        Face((1.0, 2.0, 41.5, 52.0), 0.9, probabilities={"sad": 0.3, "happy": 0.7}, confidence_threshold=0.5),
        Face((60.0, 5.0, 90.0, 40.0), 0.8, probabilities={"sad": 0.55, "happy": 0.45}, confidence_threshold=0.6),
    )
    if ids:
        faces = tuple(dataclasses.replace(face, id=k + 3) for k, face in enumerate(faces))
    return Result(Frame(image, 4, 1.5, name), faces, np.zeros((2, 48, 48), np.uint8))


NONE = Result(Frame(np.zeros((8, 9, 3), np.uint8), name="empty.png"))


def test_result_is_a_sequence_of_faces() -> None:
    result = make()
    assert list(result) == list(result.faces) and len(result) == 2
    assert result[0] is result.faces[0] and result[-1] is result.faces[1] and result[:1] == result.faces[:1]
    assert (result.name, result.index, result.time) == ("photo.jpg", 4, 1.5)
    assert not NONE and result
    with pytest.raises(IndexError):
        result[2]


def test_results_are_compared_by_value() -> None:
    one, other = make(), make()
    assert one == other and hash(one) == hash(other) and {one: 1}[other] == 1
    assert one.frame == other.frame and one[0] == other[0] and hash(one[0]) == hash(other[0])
    other.frame.image[0, 0, 0] ^= 1
    assert one != other and one.frame != other.frame and hash(one) == hash(other)
    assert one != dataclasses.replace(one, faces=one.faces[:1])
    assert one != dataclasses.replace(one, crops=one.crops + 1)
    assert one != make("other.jpg") and one != "photo.jpg" and one.frame is not None
    assert one.frame != dataclasses.replace(one.frame, index=-1) != dataclasses.replace(one.frame, index=-2)
    assert one[0].probabilities == {"sad": 0.3, "happy": 0.7}


def test_pipeline_gives_equal_results_for_equal_images() -> None:
    pipeline = mien.load(threads=1)
    assert pipeline(PORTRAIT) == pipeline(PORTRAIT)
    assert pipeline(str(PORTRAIT)) == pipeline(PORTRAIT)


@pytest.mark.parametrize(
    "value", [make(), make()[0], make().frame, Failure("a", "b")], ids=lambda value: type(value).__name__
)
def test_values_are_frozen(value: Any) -> None:
    for name in ("emotion", "index", "nothing"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, "x")
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(value, name)


def test_probabilities_are_read_only() -> None:
    given = {"sad": 0.3, "happy": 0.7}
    face = Face((0, 0, 1, 1), probabilities=given)
    given["happy"] = 0.0
    values: Any = face.probabilities
    for change in (
        lambda: values.__setitem__("happy", 1.0), lambda: values.update(happy=1.0), lambda: values.pop("happy"),
        lambda: values.clear(), lambda: values.popitem(), lambda: values.setdefault("x", 1.0),
        lambda: values.__delitem__("happy"), lambda: values.__ior__({"happy": 1.0}),
    ):  # fmt: skip
        with pytest.raises(TypeError, match="read-only"):
            change()
    assert face.probabilities == {"sad": 0.3, "happy": 0.7} and face.emotion == "happy"
    assert json.loads(json.dumps(values)) == dict(values)
    changed = values.copy()
    changed["happy"] = 0.0
    assert type(changed) is dict and face.confidence == 0.7


def test_faces_of_arrays_are_values_too() -> None:
    face = Face(np.array([1, 2, 3, 4], np.float32), landmarks=np.ones((5, 2)))  # type: ignore[arg-type]
    assert face.box == (1.0, 2.0, 3.0, 4.0) and face.landmarks == ((1.0, 1.0),) * 5
    assert face == Face((1.0, 2.0, 3.0, 4.0), landmarks=((1.0, 1.0),) * 5) and isinstance(hash(face), int)


def test_reprs_are_one_line() -> None:
    result = make()
    assert repr(result) == "Result('photo.jpg', 120 x 60, 2 faces: happy 0.70, sad? 0.55)"
    assert repr(result[1]) == "Face(sad? 0.55, box=(60, 5, 90, 40), score=0.80)"
    assert str(make(ids=True)[0]) == "#3 happy 0.70" and str(Face((0, 0, 1, 1))) == "face"
    assert repr(NONE) == "Result('empty.png', 9 x 8, no faces)"
    assert repr(result.frame) == "Frame('photo.jpg', 120 x 60, index=4, time=1.5)"
    crowd = dataclasses.replace(result, faces=result.faces * 10)
    assert repr(crowd).endswith("happy 0.70, and 15 more)") and "\n" not in repr(crowd)
    assert repr(Results([result, NONE])) == f"[{result!r},\n {NONE!r}]"
    assert repr(Results([NONE] * 30)).endswith("... and 10 more]") and repr(Results()) == "[]"


@pytest.mark.parametrize("copied", [lambda value: pickle.loads(pickle.dumps(value)), copy.copy, copy.deepcopy])
def test_results_are_pickled_and_copied(copied: Any) -> None:
    again = copied(make(ids=True))
    assert again == make(ids=True) and type(again[0].probabilities) is type(make()[0].probabilities)
    with pytest.raises(TypeError, match="read-only"):
        again[0].probabilities["sad"] = 1.0


def test_frames_of_videos_are_pickled(tmp_path: Path) -> None:
    frame = next(iter(Video(write_video(tmp_path / "a.mp4", [0.0, 0.1]))))
    assert isinstance(frame, Frame) and not isinstance(frame.pixels, np.ndarray)
    again = pickle.loads(pickle.dumps(frame))
    assert again == frame and isinstance(again.pixels, np.ndarray)


def test_plot_returns_a_new_image() -> None:
    result = make()
    before = result.frame.image.copy()
    drawn = result.plot()
    assert drawn.shape == (60, 120, 3) and drawn.dtype == np.uint8 and (drawn != before).any()
    assert np.array_equal(result.frame.image, before)
    rgb = result.plot(rgb=True)
    assert np.array_equal(rgb[:, :, ::-1], drawn) and rgb.flags["C_CONTIGUOUS"]
    assert NONE.plot().shape == (8, 9, 3)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp"])
def test_save_writes_the_annotated_image(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"out{suffix}"
    for _ in range(2):  # an older copy is replaced
        assert make().save(path) == path
    assert cv2.imread(str(path)).shape == (60, 120, 3)
    assert list(tmp_path.iterdir()) == [path]


def test_save_refuses_the_source_and_other_kinds_of_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "photo.png"
    cv2.imwrite(str(source), make().frame.image)
    before = source.read_bytes()
    (tmp_path / "link.png").symlink_to(source)
    monkeypatch.chdir(tmp_path)
    for name in (str(source), "photo.png"):
        for target in (source, "photo.png", tmp_path / "link.png"):
            with pytest.raises(ConfigError, match="is an input"):
                make(name).save(target)
    with pytest.raises(ConfigError, match=r"\.jpg"):
        make().save(tmp_path / "out.gif")
    with pytest.raises(mien.Error):
        make().save(source / "out.png")
    assert source.read_bytes() == before


def test_show_opens_a_viewer_with_the_annotated_image(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def viewer(image: Pil.Image, title: str = "") -> bool:
        seen.append((np.asarray(image), title))
        return len(seen) == 1

    monkeypatch.setattr(ImageShow, "show", viewer)
    monkeypatch.setitem(sys.modules, "IPython", None)
    make().show()
    assert np.array_equal(seen[0][0], make().plot(rgb=True)) and seen[0][1] == "photo.jpg"
    with pytest.raises(OutputError, match="no image viewer"):
        make().show()


def test_show_displays_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Result] = []
    ipython, display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    display.display = seen.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    make().show()
    assert seen == [make()]


def test_notebook_shows_a_bounded_image_and_a_table() -> None:
    image = np.zeros((1500, 3000, 3), np.uint8)
    result = Result(Frame(image, name="<b>a & b</b>.jpg"), make().faces)
    with Pil.open(io.BytesIO(result._repr_png_())) as shown:
        assert shown.size == (640, 320)
    html = result._repr_html_()
    assert html.count("<tr>") == 3 and "sad?" in html and "70 %" in html and "<b>" not in html
    assert len(html) < 200_000
    with Pil.open(io.BytesIO(NONE._repr_png_())) as shown:
        assert shown.size == (9, 8)
    assert "<table>" not in NONE._repr_html_() and "no faces" in NONE._repr_html_()
    crowd = dataclasses.replace(make(), faces=make().faces * 40)
    assert crowd._repr_html_().count("<tr>") == 52 and "and 30 more" in crowd._repr_html_()


def test_notebook_shows_a_list_of_results() -> None:
    html = Results([make("a.jpg"), make("b.jpg")])._repr_html_()
    assert html.count("<img") == 2 and html.index("a.jpg") < html.index("b.jpg")
    many = Results([NONE] * 25)._repr_html_()
    assert many.count("<img") == 20 and "and 5 more" in many


def test_unclassified_faces_are_shown() -> None:
    result = Result(make().frame, (Face((1, 2, 30, 40)),))
    assert "<table>" in result._repr_html_() and repr(result).endswith("1 face: face)")
    assert result.to_fer() == [{"box": [1, 2, 29, 38], "emotions": {}}] and result.to_hf() == [[]]
    detections = result.to_supervision()
    assert detections.class_id is None and detections.confidence.tolist() == [1.0]


def test_json_is_the_dictionary() -> None:
    result = make("日本\udcff.jpg")
    again = json.loads(result.to_json())
    assert again == json.loads(json.dumps(result.to_dict()))
    assert result.to_json().encode() and "日本" in result.to_json() and "\n" in result.to_json(indent=2)
    results = Results([make(), NONE])
    assert json.loads(results.to_json()) == results.to_dict() == [make().to_dict(), NONE.to_dict()]


def test_pandas_has_a_row_a_face() -> None:
    pytest.importorskip("pandas")
    table = make(ids=True).to_pandas()
    assert list(table.columns) == [*COLUMNS, "sad", "happy"]
    assert table["emotion"].tolist() == ["happy", "sad"] and table["uncertain"].tolist() == [False, True]
    assert (
        table["id"].tolist() == [3, 4] and table["x2"].tolist() == [41.5, 90.0] and table["sad"].tolist() == [0.3, 0.55]
    )
    several = Results([make("a.jpg"), NONE, make("b.jpg")]).to_pandas()
    assert several["name"].tolist() == ["a.jpg"] * 2 + ["b.jpg"] * 2 and several[["id", "shot"]].isna().all(axis=None)
    assert len(NONE.to_pandas()) == 0 and "emotion" in NONE.to_pandas().columns


def test_missing_pandas_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match="to_pandas needs pandas: pip install pandas"):
        make().to_pandas()


def test_fer_form_is_that_of_the_package() -> None:
    # its README: [{'box': [277, 90, 48, 63], 'emotions': {'angry': 0.02, ...}}]
    faces = make().to_fer()
    assert faces[0] == {"box": [1, 2, 40, 50], "emotions": {"sad": 0.3, "happy": 0.7}}
    assert all(type(value) is int for face in faces for value in face["box"])
    assert json.loads(json.dumps(faces)) == faces and NONE.to_fer() == []


def test_hugging_face_form_is_sorted_by_score() -> None:
    # transformers' image-classification pipeline: [{'label': ..., 'score': ...}, ...], the best first
    faces = make().to_hf()
    assert faces[0] == [{"label": "happy", "score": 0.7}, {"label": "sad", "score": 0.3}]
    assert [face[0]["label"] for face in faces] == ["happy", "sad"] and NONE.to_hf() == []


def check_detections(detections: Any, count: int) -> None:
    """Check what supervision documents: arrays of N, and data of N each."""
    assert len(detections) == count
    assert detections.xyxy.shape == (count, 4) and detections.mask is None
    for values in (detections.confidence, detections.class_id, detections.tracker_id):
        assert values is None or (isinstance(values, np.ndarray) and values.shape == (count,))
    assert set(detections.data) == {"class_name", "score", "uncertain"}
    assert all(isinstance(value, np.ndarray) and value.shape == (count,) for value in detections.data.values())
    assert np.issubdtype(detections.class_id.dtype, np.integer) and np.issubdtype(
        detections.confidence.dtype, np.floating
    )
    assert np.issubdtype(detections.data["class_name"].dtype, np.str_)


def test_detections_have_the_attributes_of_supervision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    detections = make(ids=True).to_supervision()
    check_detections(detections, 2)
    assert detections.xyxy[1].tolist() == [60, 5, 90, 40] and detections.class_id.tolist() == [1, 0]
    assert detections.tracker_id.tolist() == [3, 4] and detections.data["class_name"].tolist() == ["happy", "sad"]
    check_detections(NONE.to_supervision(), 0)
    assert make().to_supervision().tracker_id is None


def test_supervision_itself_takes_the_detections() -> None:
    supervision = pytest.importorskip("supervision")
    for result, count in ((make(ids=True), 2), (NONE, 0)):
        detections = result.to_supervision()
        assert isinstance(detections, supervision.Detections)
        check_detections(detections, count)
    happy = make(ids=True).to_supervision()
    assert happy[happy.class_id == 1].data["class_name"].tolist() == ["happy"]
