"""mien video and mien live as a user types them."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import mien
from mien import cli, sources
from mien.types import ConfigError, Frame, SourceError

Film = Callable[..., Path]
PORTRAIT = Path(mien.__file__).parent / "assets" / "portrait.jpg"


def run(*words: str | Path) -> int:
    code = cli.app([*map(str, words)], result_action="return_value")
    assert isinstance(code, int)
    return code


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def portraits(tmp_path: Path) -> Path:
    """A folder of pictures, as a video of four frames with one face."""
    folder = tmp_path / "portraits"
    folder.mkdir()
    small = cv2.resize(cv2.imread(str(PORTRAIT)), (256, 256), interpolation=cv2.INTER_AREA)
    for k in range(4):
        cv2.imwrite(str(folder / f"{k}.png"), np.roll(small, 2 * k, axis=1))
    return folder


def test_video_writes_all_that_is_asked_for(
    portraits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"save": "out.mp4", "csv": "out.csv", "jsonl": "out.jsonl", "parquet": "out.parquet", "timeline": "out.svg"}
    code = run("video", portraits, *(word for key, name in names.items() for word in (f"--{key}", tmp_path / name)))
    assert code == 0
    assert [float(row["time"]) for row in rows(tmp_path / "out.csv")] == [0.0, 0.04, 0.08, 0.12]
    assert {(row["id"], row["emotion"]) for row in rows(tmp_path / "out.csv")} == {("1", "happy")}
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 4
    assert len([item for item in sources.Video(tmp_path / "out.mp4") if isinstance(item, Frame)]) == 4
    assert (tmp_path / "out.svg").read_text().startswith("<?xml")
    assert not list(tmp_path.glob("*.part*"))
    text = capsys.readouterr().out
    assert f"{portraits}: 4 frames, 0.12 s" in " ".join(text.split())
    assert "uncertain" in text and max(len(line) for line in text.splitlines()[1:]) <= 80


def test_several_videos_share_a_table_have_a_copy_each_and_a_bad_one_stops_none(
    portraits: Path, film: Film, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    empty = film(tmp_path / "empty.mp4", [0.0, 0.1])
    code = run("video", bad, portraits, empty, "--save", tmp_path / "copies", "--json", tmp_path / "out.jsonl",
               "--timeline", tmp_path / "plots" / "t.png")  # fmt: skip
    assert code == 1
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["name"] for line in lines] == [str(bad), *[str(portraits / f"{k}.png") for k in range(4)],
                                                str(empty), str(empty)]  # fmt: skip
    assert "error" in lines[0] and lines[-1]["faces"] == []
    assert sorted(path.name for path in (tmp_path / "copies").iterdir()) == ["empty.mp4", "portraits.mp4"]
    assert [path.name for path in (tmp_path / "plots").iterdir()] == ["t-portraits.png"]
    told = capsys.readouterr()
    assert "bad.mp4: not a video" in told.err and "no face was seen, so there is no plot" in told.err
    assert "no face found" in told.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--save", "out.gif"], None),
        (["--save", "out.avi"], "let the name end in"),
        (["--timeline", "out.pdf"], r"\.png or \.svg"),
        (["--detector", "magic"], "yunet"),
        (["--smooth", "-1"], "half_life"),
    ],
)
def test_impossible_wishes_are_refused(
    words: list[str], message: str | None, film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = film(tmp_path / "a.mp4", [0.0, 0.1])
    if message is None:  # no video's suffix: a folder of that name
        assert run("video", path, *words) == 0 and (tmp_path / "out.gif" / "a.mp4").exists()
        return
    with pytest.raises(ConfigError, match=message):
        run("video", path, *words)


def test_predict_takes_jsonl_too(tmp_path: Path) -> None:
    assert run("predict", PORTRAIT, "--jsonl", tmp_path / "a.jsonl") == 0
    assert json.loads((tmp_path / "a.jsonl").read_text())["faces"][0]["emotion"] == "happy"


def test_live_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert len(lines) in (1, 2)  # on a busy machine frames are passed over
    assert "no face" in lines[0] and "camera" in lines[0] and "yunet" in lines[0]


def test_live_headless_with_a_window_of_none_writes_its_files(
    film: Film, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = film(tmp_path / "a.mp4", [0.0, 0.1, 0.2])
    code = run("live", path, "--headless", "--csv", tmp_path / "out.csv", "--save", tmp_path / "out.mp4")
    assert code == 0
    assert 1 <= len(rows(tmp_path / "out.csv")) <= 3
    assert (tmp_path / "out.mp4").exists()
    assert capsys.readouterr() == ("", "")


def interrupted(draft: Path, number: signal.Signals, *words: str | Path) -> tuple[int, str]:
    """Start mien, send the signal once the draft holds something; exit code and what it said on stderr."""
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
def test_live_ends_cleanly_when_it_is_told_to(number: signal.Signals, film: Film, tmp_path: Path) -> None:
    path, goal = film(tmp_path / "a.mp4", [k / 10 for k in range(600)]), tmp_path / "out.jsonl"
    draft = tmp_path / "out.jsonl.part"
    assert interrupted(draft, number, "live", path, "--headless", "--jsonl", goal) == (0, "")
    assert json.loads(goal.read_text().splitlines()[0])["index"] == 0
    assert not draft.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_video_that_is_stopped_leaves_drafts_and_says_so(film: Film, tmp_path: Path) -> None:
    path, goal = film(tmp_path / "a.mp4", [k / 10 for k in range(1500)]), tmp_path / "out.jsonl"
    draft = tmp_path / "out.jsonl.part"
    code, message = interrupted(draft, signal.SIGINT, "video", path, "--jsonl", goal)
    assert code == 130 and "stopped" in message and "Traceback" not in message
    assert not goal.exists()
    assert all(json.loads(line)["faces"] == [] for line in draft.read_text().splitlines())
