"""`mien video` and `mien live` as a user types them."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

import mien
from mien.cli import main
from mien.cli.video import annotated_paths
from mien.errors import ConfigError, SourceError
from mien.faces.yunet import YuNet
from mien.live import window
from mien.media.output_paths import OutputPaths
from mien.media.video_reader import VideoReader

Film = Callable[..., Path]
PORTRAIT = Path(mien.__file__).parent / "assets" / "portrait.jpg"


def run(*words: str | Path) -> int:
    code = main.app([*map(str, words)], result_action="return_value")
    assert isinstance(code, int)
    return code


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def portraits(tmp_path: Path) -> Path:
    """Return a folder of four images with one face, to be read as a video."""
    folder = tmp_path / "portraits"
    folder.mkdir()
    small = cv2.resize(cv2.imread(str(PORTRAIT)), (256, 256), interpolation=cv2.INTER_AREA)
    for k in range(4):
        cv2.imwrite(str(folder / f"{k}.png"), np.roll(small, 2 * k, axis=1))
    return folder


def test_video_writes_all_outputs(portraits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {"save": "out.mp4", "csv": "out.csv", "jsonl": "out.jsonl", "parquet": "out.parquet", "timeline": "out.svg"}
    code = run("video", portraits, *(word for key, name in names.items() for word in (f"--{key}", tmp_path / name)))
    assert code == 0
    assert [float(row["time"]) for row in rows(tmp_path / "out.csv")] == [0.0, 0.04, 0.08, 0.12]
    assert {(row["id"], row["emotion"]) for row in rows(tmp_path / "out.csv")} == {("1", "happy")}
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 4
    assert len(list(VideoReader(tmp_path / "out.mp4"))) == 4
    assert (tmp_path / "out.svg").read_text().startswith("<?xml")
    assert not list(tmp_path.glob("*.mien*"))
    text = capsys.readouterr().out
    assert f"{portraits}: 4 frames, 0.16 s" in " ".join(text.split())
    assert "1: from 0.00, seen 0.16, angry 0, happy 9" in text and "shown as happy 100, longest happy 0.16" in text
    assert text.splitlines()[-1].startswith("1 video, 4 frames, 1 person, 0 failed, ")


def test_timeline_page_shows_the_annotated_copy(portraits: Path, tmp_path: Path) -> None:
    assert run("video", portraits, "--save", tmp_path / "copy.mp4", "--timeline", tmp_path / "t.html") == 0
    text = (tmp_path / "t.html").read_text("utf-8")
    assert 'src="copy.mp4"' in text and "data:image/jpeg" in text
    assert run("video", portraits, "--timeline", tmp_path / "t2.html") == 0
    assert "<video" not in (tmp_path / "t2.html").read_text("utf-8")  # a folder of images


def test_several_videos_share_tables_and_continue_after_a_bad_one(
    portraits: Path, film: Film, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    empty = film(tmp_path / "empty.mp4", [0.0, 0.1])
    code = run("video", bad, portraits, empty, "--save", tmp_path / "copies", "--jsonl", tmp_path / "out.jsonl",
               "--timeline", tmp_path / "plots" / "t.png")  # fmt: skip
    assert code == 1
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["name"] for line in lines] == [str(bad), *[str(portraits / f"{k}.png") for k in range(4)],
                                                str(empty), str(empty)]  # fmt: skip
    assert "error" in lines[0] and lines[-1]["faces"] == []
    assert sorted(path.name for path in (tmp_path / "copies").iterdir()) == ["empty.mp4", "portraits.mp4"]
    assert [path.name for path in (tmp_path / "plots").iterdir()] == ["t-portraits.png"]
    output = capsys.readouterr()
    assert "bad.mp4: not a video" in output.err and "no face found, so there is no timeline" in output.err
    assert "no face found" in output.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--save", "out.gif"], r"must end in \.mp4"),
        (["--save", "out.avi"], r"must end in \.mp4"),
        (["--timeline", "out.pdf"], r"must end in \.png, \.svg"),
        (["--detector", "magic"], "yunet"),
        (["--smoothing", "-1"], "smoothing"),
    ],
)
def test_invalid_options_are_refused(
    words: list[str], message: str, film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = film(tmp_path / "a.mp4", [0.0, 0.1])
    with pytest.raises(ConfigError, match=message):
        run("video", path, *words)


def test_annotated_copies_have_unique_names(tmp_path: Path) -> None:
    def names(videos: list[str], save: Path) -> list[Path]:
        return annotated_paths(videos, save, OutputPaths(videos))

    assert names(["in/a.mp4"], tmp_path / "out.mkv") == [tmp_path / "out.mkv"]
    videos = ["x/a.mp4", "y/A.mov", "z/b.avi"]
    assert [path.name for path in names(videos, tmp_path)] == ["a.mp4", "A_2.mp4", "b.mp4"]
    here = [tmp_path / "a.mp4", tmp_path / "a_mien.mp4"]
    for path in here:
        path.touch()
    copies = names([str(path) for path in here], tmp_path)
    assert [path.name for path in copies] == ["a_mien_mien.mp4", "a_mien_mien_mien.mp4"]
    with pytest.raises(ConfigError, match="give a folder"):
        names(["a.mp4", "b.mp4"], tmp_path / "out.mp4")


def test_former_flags_commands_and_models_work_with_one_note_each(film: Film, tmp_path: Path) -> None:
    def run_process(*words: str | Path) -> tuple[int, str]:
        command = [sys.executable, "-m", "mien", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        return done.returncode, done.stderr

    path = film(tmp_path / "a.mp4", [0.0, 0.1])
    flags = ["--whole", "0", "--every=2", "--smooth", "0", "--model", "rep"]
    code, notes = run_process("video", path, *flags, "--csv", tmp_path / "a.csv")
    assert code == 0 and len(rows(tmp_path / "a.csv")) == 2
    assert [line.split(";")[0] for line in notes.splitlines()] == [
        "note: --whole is now called --redetect-every",
        "note: --every is now called --detect-every",
        "note: --smooth is now called --smoothing",
        "the model rep is now called mien-s",
    ]
    code, notes = run_process("video", path, "--calibration", "none.json")
    assert code == 2 and notes.startswith("note: --calibration is now called --profile") and "none.json" in notes
    code, notes = run_process("calibrate", "none.mp4", "--headless")
    assert code == 2 and notes.startswith("note: calibrate is now called personalize") and "none.mp4" in notes


def test_predict_accepts_jsonl_as_a_name_of_json(tmp_path: Path) -> None:
    assert run("predict", PORTRAIT, "--jsonl", tmp_path / "a.jsonl") == 0
    assert json.loads((tmp_path / "a.jsonl").read_text())["faces"][0]["emotion"] == "happy"


def test_live_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    if sys.platform == "linux":
        with pytest.raises(ConfigError, match="use --headless"):
            run("live", "nowhere.mp4")
    with pytest.raises(SourceError, match=r"nowhere\.mp4: does not exist"):
        run("live", "nowhere.mp4", "--headless")
    with pytest.raises(SourceError, match="camera 97"):
        run("live", "97", "--headless")


def test_live_headless_prints_a_line_a_second(film: Film, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("live", film(tmp_path / "a.mp4", [0.0, 0.1, 1.05, 1.1]), "--headless") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) in (2, 3)  # a busy machine skips frames
    assert "no face" in lines[0] and "file" in lines[0] and "yunet" in lines[0]


class Presser:
    """A window that presses d at first and q in the end."""

    size = None

    def __init__(self, title: str) -> None:
        self.turns = deque(["", "d", "q"])

    def __enter__(self) -> Presser:
        return self

    def __exit__(self, *_: object) -> None: ...

    def show(self, image: np.ndarray, lines: Sequence[str] = ()) -> None: ...

    def keys(self) -> list[str]:
        return [key for key in [self.turns.popleft()] if key]


def test_live_keeps_min_face_and_min_score_with_the_next_detector(
    film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: list[dict[str, object]] = []

    def spy(**given: object) -> YuNet:
        settings.append(given)
        return YuNet()

    monkeypatch.setattr(window, "Window", Presser)
    monkeypatch.setattr("mien.faces.detectors.DETECTORS", {"yunet": YuNet, "mtcnn": spy})
    monkeypatch.setattr("mien.live.viewer.DETECTORS", {"yunet": YuNet, "mtcnn": spy})
    path = film(tmp_path / "a.mp4", [k / 10 for k in range(20)])
    assert run("live", path, "--min-face", "50", "--min-score", "0.9") == 0
    assert settings == [{"min_face": 50.0, "thresholds": (0.6, 0.7, 0.9)}]


def test_live_headless_writes_files(film: Film, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = film(tmp_path / "a.mp4", [0.0, 0.1, 0.2])
    code = run("live", path, "--headless", "--csv", tmp_path / "out.csv", "--save", tmp_path / "out.mp4")
    assert code == 0
    assert 1 <= len(rows(tmp_path / "out.csv")) <= 3
    assert (tmp_path / "out.mp4").exists()
    output = capsys.readouterr()
    assert output.err == "" and output.out.count("\n") == 1 and "0 people, 0 failed, " in output.out


def interrupted(draft: Path, number: signal.Signals, *words: str | Path) -> tuple[int, str]:
    """Start mien, send a signal once the draft is not empty, and return the exit code and stderr."""
    command = [sys.executable, "-m", "mien", *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ.copy()) as program:
        try:
            deadline = time.monotonic() + 120
            while not (draft.exists() and draft.stat().st_size) and time.monotonic() < deadline:
                time.sleep(0.05)
            program.send_signal(number)
            message = program.communicate(timeout=120)[1]
        finally:
            program.kill()
    return program.returncode, message


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_live_finishes_its_files_on_signals(number: signal.Signals, film: Film, tmp_path: Path) -> None:
    path, goal = film(tmp_path / "a.mp4", [k / 10 for k in range(600)]), tmp_path / "out.jsonl"
    draft = tmp_path / "out.jsonl.mien.part"
    assert interrupted(draft, number, "live", path, "--headless", "--jsonl", goal) == (0, "")
    assert json.loads(goal.read_text().splitlines()[0])["index"] == 0
    assert not draft.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_interrupted_video_keeps_its_drafts(film: Film, tmp_path: Path) -> None:
    path, goal = film(tmp_path / "a.mp4", [k / 10 for k in range(1500)]), tmp_path / "out.jsonl"
    draft = tmp_path / "out.jsonl.mien.part"
    code, message = interrupted(draft, signal.SIGINT, "video", path, "--jsonl", goal)
    assert code == 130 and "stopped" in message and "Traceback" not in message
    assert not goal.exists()
    assert all(json.loads(line)["faces"] == [] for line in draft.read_text().splitlines())
