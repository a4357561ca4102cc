"""The commands as a user types them, in a process of their own where the exit code matters."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console

import mien
from mien import ConfigError, Face, Pipeline, cli, cli_train

PORTRAIT = Path(mien.__file__).parent / "assets" / "portrait.jpg"


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mien", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=None)


def test_predict_writes_picture_json_csv_and_crops(tmp_path: Path) -> None:
    done = run("predict", PORTRAIT, "--save", tmp_path / "a", "--json", tmp_path / "r.jsonl",
               "--csv", tmp_path / "r.csv", "--crops", tmp_path / "c")  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    (face,) = row["faces"]
    assert sum(face["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert face["emotion"] == "happy"
    assert cv2.imread(str(tmp_path / "a" / "portrait.jpg")).shape == (512, 512, 3)
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 2
    assert len(list((tmp_path / "c").glob("*.png"))) == 1


def test_a_bad_file_is_reported_the_rest_goes_on_and_the_exit_code_is_1(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    cv2.imwrite(str(tmp_path / "empty.png"), np.full((100, 100, 3), 90, np.uint8))
    done = run("predict", tmp_path / "bad.jpg", tmp_path / "empty.png", "--json", tmp_path / "r.jsonl")
    assert done.returncode == 1
    assert "bad.jpg" in done.stderr
    assert "no face" in done.stdout
    rows = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    assert rows[1]["faces"] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "nowhere.jpg"], "nowhere.jpg"),
        (["predict", str(PORTRAIT), "--detector", "magic"], "yunet"),
        (["predict", str(PORTRAIT), "--model", "magic"], "baseline"),
    ],
)
def test_an_error_is_one_line_that_helps_and_exit_code_2(words: list[str], message: str) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


SLOW = """
import sys, time
import mien
from mien import Pipeline, cli
from test_cli import Bright

stop = int(sys.argv[1])
mien.load = lambda **_: Pipeline(Bright(stop), Bright())
cli.app(sys.argv[2:], result_action="return_value")
"""


@dataclass
class Bright:
    """A detector that sleeps for ever at the picture of one brightness, and the classifier behind it."""

    stop: int = -1
    name: str = "bright"
    labels: tuple[str, ...] = ("dark", "bright")
    uncertain_below: float = 0.0

    def __call__(self, pictures: np.ndarray) -> Any:
        if pictures.shape[1:] == (48, 48):
            bright = pictures.mean(axis=(1, 2), dtype=np.float32) / 255
            return np.stack([1 - bright, bright], axis=1)
        if pictures[0, 0, 0] == self.stop:
            time.sleep(600)
        return [Face((2, 2, 12, 12))]


def test_after_a_kill_a_run_is_gone_on_with_and_each_picture_has_one_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for k in range(70):
        (tmp_path / f"in/{k % 2}").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / f"in/{k % 2}/{k // 2}.png"), np.full((20, 20, 3), k, np.uint8))
    (tmp_path / "in/0/3.png").write_bytes(b"no picture")
    words = ["predict", str(tmp_path / "in"), "--jsonl", str(tmp_path / "a.jsonl"), "--save", str(tmp_path / "a")]
    part = tmp_path / "a.jsonl.part"
    command = [sys.executable, "-c", SLOW, "61", *words]
    with subprocess.Popen(command, cwd=Path(__file__).parent, stderr=subprocess.DEVNULL) as child:
        end = time.monotonic() + 60
        while not part.exists() or part.read_bytes().count(b"\n") < 36:
            assert child.poll() is None and time.monotonic() < end
            time.sleep(0.02)
        child.kill()
    assert not (tmp_path / "a.jsonl").exists()
    with part.open("ab") as file:
        file.write(b'{"name": "torn')
    before = part.read_bytes().count(b"\n")
    assert 36 <= before < 70
    monkeypatch.setattr(mien, "load", lambda **_: Pipeline(Bright(), Bright()))
    again = [*words, "--resume"]
    assert cli.app(again, result_action="return_value") == 1  # for the picture that could not be read before
    told = capsys.readouterr()
    assert f"{before} pictures were done before" in told.out
    assert "3.png" in told.err
    whole = [each.replace(str(tmp_path / "a"), str(tmp_path / "b")) for each in words]
    cli.app(whole, result_action="return_value")
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert len({json.loads(line)["name"] for line in lines}) == len(lines) == 70
    assert lines == (tmp_path / "b.jsonl").read_text().splitlines()
    assert {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "b").iterdir()
    }
    assert not part.exists()
    cli.app(again, result_action="return_value")
    assert (tmp_path / "a.jsonl").read_text().splitlines() == lines


def test_resume_needs_json_lines(tmp_path: Path) -> None:
    for more in ([], ["--jsonl", str(tmp_path / "a"), "--csv", str(tmp_path / "b")]):
        with pytest.raises(ConfigError, match="--jsonl"):
            cli.app(["predict", str(PORTRAIT), "--resume", *more], result_action="return_value")


def test_failures_are_listed_in_a_file_and_tried_again_only_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mien, "load", lambda **_: Pipeline(Bright(), Bright()))
    folder, lines, failures = tmp_path / "in", tmp_path / "a.jsonl", tmp_path / "failures.jsonl"
    folder.mkdir()
    for k in range(4):
        cv2.imwrite(str(folder / f"{k}.png"), np.full((20, 20, 3), k, np.uint8))
    for name in ("1.png", "3.png"):
        (folder / name).write_bytes(b"no picture")
    words = ["predict", str(folder), "--jsonl", str(lines), "--failures", str(failures)]

    def listed(path: Path) -> list[str]:
        return [Path(json.loads(line)["name"]).name for line in path.read_text().splitlines()]

    assert cli.app(words, result_action="return_value") == 1
    assert listed(failures) == ["1.png", "3.png"]
    assert "not a picture" in json.loads(failures.read_text().splitlines()[0])["reason"]
    cv2.imwrite(str(folder / "3.png"), np.full((20, 20, 3), 3, np.uint8))
    assert cli.app([*words, "--resume"], result_action="return_value") == 1
    assert listed(failures) == ["1.png", "3.png"] and listed(lines) == ["0.png", "1.png", "2.png", "3.png"]
    capsys.readouterr()
    assert cli.app([*words, "--resume", "--retry"], result_action="return_value") == 1
    told = capsys.readouterr()
    assert "2 pictures were done before" in told.out and told.err.count("not read") == 1
    assert listed(failures) == ["1.png"] and listed(lines) == ["0.png", "2.png", "1.png", "3.png"]
    (folder / "1.png").unlink()
    cv2.imwrite(str(folder / "1.png"), np.full((20, 20, 3), 1, np.uint8))
    assert cli.app([*words, "--resume", "--retry"], result_action="return_value") == 0
    assert failures.read_text() == ""
    with pytest.raises(ConfigError, match="--resume"):
        cli.app([*words, "--retry"], result_action="return_value")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "a.jpg", "--csv", "a.jpg"], "would be written over"),
        (["predict", "a.jpg", "--json", "x", "--csv", "./x"], "named for two outputs"),
        (["video", "a.jpg", "--save", "a.jpg.mp4", "--csv", "a.jpg"], "would be written over"),
        (["video", "a.mp4", "--save", "a.mp4"], "would be written over"),
        (["predict", "a.jpg", "--csv", "link.jpg"], "would be written over"),
        (["live", "a.mp4", "--headless", "--save", "a.mp4"], "would be written over"),
    ],
)
def test_no_output_takes_the_place_of_what_is_read_or_of_another_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "a.mp4"):
        Path(name).write_bytes(PORTRAIT.read_bytes())
    Path("link.jpg").symlink_to("a.jpg")
    with pytest.raises(ConfigError, match=message):
        cli.app(words, result_action="return_value")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "a.mp4", "link.jpg"]
    assert Path("a.mp4").read_bytes() == PORTRAIT.read_bytes()


@pytest.mark.parametrize("more", [[], ["--csv", "rows.csv"], ["--json", "rows.jsonl"]])
def test_the_terminal_shows_some_rows_and_failures_and_says_how_many_more_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mien, "load", lambda **_: Pipeline(Bright(), Bright()))
    monkeypatch.setattr(cli, "_SHOWN", 3)
    Path("in").mkdir()
    for k in range(10):
        cv2.imwrite(f"in/{k}.png", np.full((20, 20, 3), k, np.uint8))
    for k in range(10, 15):
        Path(f"in/{k}.png").write_bytes(b"no picture")
    assert cli.app(["predict", "in", *more], result_action="return_value") == 1
    told = capsys.readouterr()
    words = " ".join(told.out.split())
    assert sum(line.strip().split(".png")[0].isdigit() for line in told.out.splitlines()) == 3
    assert f"7 more pictures are {'in ' + more[1] if more else 'not shown'}" in words
    assert told.err.count("not read") == 3 and "2 more could not be read" in " ".join(told.err.split())


def test_names_that_look_like_markup_are_shown_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mien, "load", lambda **_: Pipeline(Bright(), Bright(labels=("[dim]", "[/b]"))))
    Path("[red]x[").mkdir()
    Path("[red]x[/foo].jpg").write_bytes(b"no picture")
    cv2.imwrite("[red]x[/[bold]a.png", np.full((20, 20, 3), 9, np.uint8))
    words = ["predict", "[red]x[/foo].jpg", "[red]x[/[bold]a.png", "--save", "[red]x[/out]"]
    assert cli.app(words, result_action="return_value") == 1
    told = capsys.readouterr()
    assert all(text in told.out for text in ("[bold]a.png", "[dim]", "[/b]", "annotated pictures are in [red]x[/out]"))
    assert "not read: [red]x[/foo].jpg: " in told.err


def test_a_missing_extra_is_named_in_brackets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lacking(*_: object, **__: object) -> None:
        raise ModuleNotFoundError(name="torch")

    monkeypatch.setattr(cli, "app", lacking)
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert capsys.readouterr().err == "error: this command needs torch: pip install 'mien[train]'\n"


def test_before_and_after_are_shown_with_their_names_whatever_these_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    from mien.train import evaluate

    def views(*_: object, **__: object) -> Any:
        raise ConfigError("the model knows [bold]calm[/foo]")

    monkeypatch.setattr(evaluate, "evaluate_views", views)
    monkeypatch.setattr(mien.classify, "model", lambda name: name)
    table = cli_train._before_after("[b]", Path("[red]x[/foo]/mine.onnx"), Path(), None, None)
    screen = Console(width=120, file=StringIO())
    screen.print(table)
    shown = screen.file.getvalue()
    assert all(text in shown for text in ("[b]", "[red]x[/foo]/mine.onnx", "the model knows [bold]calm[/foo]"))


def test_predicting_imports_neither_torch_nor_matplotlib() -> None:
    code = "import sys, mien; mien.load(); print([m for m in ('torch', 'matplotlib', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_data_info_and_montage_take_any_class_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for level, label in enumerate(("calm", "tense")):
        (tmp_path / "set" / label).mkdir(parents=True)
        for k in range(12):
            cv2.imwrite(str(tmp_path / "set" / label / f"{k}.png"), np.full((48, 48), 100 * level + k, np.uint8))
    assert cli.app(["data", "info", str(tmp_path / "set")], result_action="return_value") == 0
    assert "tense" in capsys.readouterr().out
    words = ["data", "montage", str(tmp_path / "set"), "--out", str(tmp_path / "m.png")]
    assert cli.app(words, result_action="return_value") == 0
    assert (tmp_path / "m.png").stat().st_size > 1000


def test_data_info_and_montage(kaggle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.app(["data", "info", str(kaggle)], result_action="return_value")
    text = capsys.readouterr().out
    assert "standard deviation" in text
    assert "surprise" in text
    cli.app(["data", "montage", str(kaggle), "--out", str(tmp_path / "m.png")], result_action="return_value")
    assert cv2.imread(str(tmp_path / "m.png")) is not None


@pytest.mark.filterwarnings("ignore")
def test_train_then_evaluate_on_a_tiny_set(kaggle: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text("name: tiny\nbatch: 15\nstages:\n  - {epochs: 1}\n")
    done = run("train", "--data", kaggle, "--recipe", tmp_path / "tiny.yaml", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert {"log.csv", "curves.png", "config.json", "tiny.onnx", "tiny-fp32.onnx", "best.safetensors"} <= {
        p.name for p in (tmp_path / "run").iterdir()
    }
    done = run("evaluate", "--data", kaggle, "--model", tmp_path / "run/tiny.onnx", "--json", tmp_path / "e.json",
               "--plots", tmp_path / "p")  # fmt: skip
    assert done.returncode == 0, done.stderr
    views = json.loads((tmp_path / "e.json").read_text())["views"]
    assert views["T1"]["n"] == 10
    assert (tmp_path / "p" / "confusion-T1.png").exists()
