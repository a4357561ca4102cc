"""Each script in examples/ does what it says, run as a user runs it, and documents show what models answer."""

from __future__ import annotations

import csv
import re
import runpy
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import ImageShow
from test_server import Served, serving

import mien

EXAMPLES = Path(__file__).parents[1] / "examples"
PORTRAIT = Path(mien.__file__).parent / "assets" / "portrait.jpg"


def run(name: str, *words: str | Path) -> list[str]:
    command = [sys.executable, "-W", "error", EXAMPLES / name, *words]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """A video of a second that shows the portrait."""
    path = tmp_path / "talk.mp4"
    picture = cv2.resize(cv2.imread(str(PORTRAIT)), (256, 256), interpolation=cv2.INTER_AREA)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (256, 256))
    for _ in range(25):
        writer.write(picture)
    writer.release()
    return path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("serve") / "log.txt", token=None) as made:
        yield made


def test_photo_prints_the_face_and_marks_it(tmp_path: Path) -> None:
    (line,) = run("photo.py", PORTRAIT, tmp_path / "marked.png")
    assert line.startswith("happy ")
    assert (cv2.imread(str(tmp_path / "marked.png")) != cv2.imread(str(PORTRAIT))).any()


def test_folder_counts_emotions_and_goes_on_past_a_bad_file(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(PORTRAIT.read_bytes())
    (tmp_path / "pictures" / "b.jpg").write_bytes(b"no picture")
    bad, counts = run("folder.py", tmp_path / "pictures", tmp_path / "faces.csv")
    assert bad.startswith("left out: ") and "b.jpg" in bad
    assert counts == "happy: 1"
    with (tmp_path / "faces.csv").open(newline="") as file:
        assert [row["emotion"] for row in csv.DictReader(file)] == ["happy", ""]


def test_results_run_as_written(talk: Path, tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(PORTRAIT.read_bytes())
    lines = run("results.py", tmp_path / "out", talk, tmp_path / "a.jpg", tmp_path / "b.jpg")
    assert lines[0].startswith("[Result(") and lines[2].endswith("a.jpg: happy 98%, 91 x 113 pixels")
    assert any(line.split() == ["happy", "2", "0.98"] for line in lines)
    assert lines[-1] == "person 1: happy in most of 25 frames"
    names = {"a_faces.jpg", "b_faces.jpg", "small.png", "first.json", "faces.csv"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names


def test_results_are_in_the_strict_type_check() -> None:
    settings = tomllib.loads((EXAMPLES.parent / "pyproject.toml").read_text("utf-8"))["tool"]["mypy"]
    assert settings["strict"] and "examples/results.py" in settings["files"]


def test_code_of_the_python_guide_runs(talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    monkeypatch.setattr(ImageShow, "show", lambda *_, **__: True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "holiday").mkdir()
    for name in ("photo.jpg", "a.jpg", "b.jpg", "holiday/c.jpg"):
        (tmp_path / name).write_bytes(PORTRAIT.read_bytes())
    text = (EXAMPLES.parent / "docs/howto/python.md").read_text("utf-8")
    *blocks, processes = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    assert names["result"].time > 0.9 and str(names["summary"]).startswith("1 image, 1 face (1 happy), ")
    assert (tmp_path / "annotated.jpg").exists() and (tmp_path / "annotated" / "c.jpg").exists()
    (tmp_path / "pool.py").write_text("import mien\n\n" + processes)
    done = subprocess.run([sys.executable, "pool.py"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"Result('{k}.jpg', 512 x 512, 1 face: happy 0.98)" for k in "ab"]


def test_code_of_the_guide_to_own_parts_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "holiday").mkdir()
    for name in ("photo.jpg", "holiday/a.jpg"):
        (tmp_path / name).write_bytes(PORTRAIT.read_bytes())
    text = (EXAMPLES.parent / "docs/howto/own-parts.md").read_text("utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("Result('photo.jpg', 512 x 512, 1 face: ") and last == "faces: 1 failures: 0"


def test_people_tells_what_each_showed(talk: Path) -> None:
    (line,) = run("people.py", talk)
    assert line == "person 1, from 0.0 to 1.0 s: happy 100%"


def test_changes_prints_a_line_for_a_new_emotion(talk: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "changes.py"), talk.as_uri()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
    assert "person 1 looks happy" in line


def test_client_prints_what_the_server_saw(served: Served) -> None:
    (line,) = run("client.py", PORTRAIT, f"http://127.0.0.1:{served.port}")
    assert line.startswith("happy ")


def test_own_labels_measures_a_folder_of_crops(tmp_path: Path) -> None:
    face = mien.load()(PORTRAIT)
    assert face.crops is not None
    for label in ("happy", "sad"):
        (tmp_path / label).mkdir()
        cv2.imwrite(str(tmp_path / label / "a.png"), np.asarray(face.crops[0]))
    lines = run("own_labels.py", tmp_path)
    assert lines[0].startswith("2 faces: 50.0% right")
    assert "happy: 100.0% of 1" in lines and "sad: 0.0% of 1" in lines


def faces_and_no_picture(folder: Path) -> Path:
    """Return a folder with a face crop and a file that is no picture."""
    folder.mkdir()
    image = cv2.imread(str(PORTRAIT))
    cv2.imwrite(str(folder / "a.png"), image[60:180, 165:285])
    (folder / "b.png").write_bytes(b"no picture")
    return folder


def test_own_parts_answer_with_classes_of_their_own(tmp_path: Path) -> None:
    (line,) = run("own_parts.py", faces_and_no_picture(tmp_path / "crops"))
    assert line.startswith("1 image, 1 face (1 positive), 1 failed, ")


def test_own_sink_fills_a_database(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(PORTRAIT.read_bytes())
    (tmp_path / "photos" / "b.jpg").write_bytes(b"no picture")
    bad, summary = run("own_sink.py", tmp_path / "photos", tmp_path / "faces.db")
    assert bad.startswith("left out: ") and summary.startswith("1 image, 1 face (1 happy), 1 failed, ")
    with closing(sqlite3.connect(tmp_path / "faces.db")) as table:
        ((name, emotion, confidence),) = table.execute("SELECT * FROM faces")
    assert (Path(name).name, emotion) == ("a.jpg", "happy") and confidence > 0.9


def covered_and_open_faces(folder: Path, count: int) -> None:
    """Write photographs of the portrait that a shaking camera took, in one half with paper over the mouth."""
    portrait, rng = cv2.imread(str(PORTRAIT)), np.random.default_rng(0)
    for label in ("covered", "open"):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            image = portrait.copy()
            if label == "covered":
                image[128 + rng.integers(-6, 7) :, 150:300] = rng.integers(100, 250)
            matrix = cv2.getRotationMatrix2D((223, 120), rng.uniform(-10, 10), rng.uniform(0.8, 1.2))
            matrix[:, 2] -= (95, 20)
            image = cv2.warpAffine(image, matrix, (256, 256), borderMode=cv2.BORDER_REFLECT)
            cv2.imwrite(str(folder / label / f"{number}.jpg"), cv2.convertScaleAbs(image, alpha=rng.uniform(0.7, 1.2)))


def test_own_data_become_a_model_that_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finetune = pytest.importorskip("mien.train.finetune")
    monkeypatch.setattr(finetune, "PASS", 48)  # images an epoch: seconds instead of a minute
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    covered_and_open_faces(tmp_path / "mine", 20)
    photo = tmp_path / "mine" / "covered" / "0.jpg"
    monkeypatch.setattr(sys, "argv", ["own_data.py", str(tmp_path / "mine"), str(tmp_path / "run"), str(photo)])
    runpy.run_path(str(EXAMPLES / "own_data.py"))
    counts, *epochs, answer = capsys.readouterr().out.splitlines()
    assert counts == "{'covered': 20, 'open': 20}"
    assert epochs[-1].endswith("100% of the validation images right")
    assert "1 face: covered" in answer
    assert (tmp_path / "run" / "mine.onnx").exists()


@pytest.mark.parametrize("name", ["outputs.md", "serve.md"])
def test_the_answer_shown_in_a_document_is_the_shipped_models(name: str) -> None:
    text = (EXAMPLES.parent / "docs" / name).read_text(encoding="utf-8")
    shown = re.search(r'"box": \[([\d., ]+)\].*?"confidence": ([\d.]+)', text, re.DOTALL)
    assert shown
    (face,) = mien.load()(PORTRAIT).faces
    assert [float(value) for value in shown[1].split(",")] == pytest.approx(list(face.box), abs=0.5)
    assert float(shown[2]) == pytest.approx(face.confidence, abs=0.005)  # int8 rounds otherwise on other processors


def test_examples_are_short_and_all_run_here() -> None:
    told = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text().splitlines()) <= 40, path.name
        assert path.name in told
    listed = re.findall(r"^- `([\w.]+)`:", (EXAMPLES / "README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb"))
