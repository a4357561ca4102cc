"""The commands as a user types them."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console

import mien
from mien import ConfigError, Face, Pipeline
from mien.cli import main, tables

PORTRAIT = Path(mien.__file__).parent / "assets" / "portrait.jpg"


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process of its own would, but in this one, which has imported everything."""
    out, err = (TextIOWrapper(BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as end,
    ):
        patch.setattr(sys, "argv", ["mien", *map(str, words)])
        main.main()
    texts = [text.seek(0) or text.read() for text in (out, err)]
    return subprocess.CompletedProcess(words, end.value.code, *texts)


def run_process(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "mien", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_predict_writes_image_json_csv_and_crops(tmp_path: Path) -> None:
    done = run_process("predict", PORTRAIT, "--save", tmp_path / "a", "--jsonl", tmp_path / "r.jsonl",
                       "--csv", tmp_path / "r.csv", "--crops", tmp_path / "c")  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    (face,) = row["faces"]
    assert sum(face["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert face["emotion"] == "happy"
    assert cv2.imread(str(tmp_path / "a" / "portrait.jpg")).shape == (512, 512, 3)
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 2
    assert len(list((tmp_path / "c").glob("*.png"))) == 1


def test_predict_continues_after_unreadable_image_with_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"not an image")
    cv2.imwrite(str(tmp_path / "empty.png"), np.full((100, 100, 3), 90, np.uint8))
    done = run("predict", tmp_path / "bad.jpg", tmp_path / "empty.png", "--jsonl", tmp_path / "r.jsonl")
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
def test_error_is_one_line_with_exit_code_2(words: list[str], message: str) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


SLOW = """
import sys, time
import mien
from mien import Pipeline
from mien.cli.main import app
from test_cli import Bright

stop = int(sys.argv[1])
mien.load = lambda **_: Pipeline(Bright(stop), Bright())
app(sys.argv[2:], result_action="return_value")
"""


@dataclass
class Bright:
    """A detector that hangs at an image of brightness `stop`, and its classifier."""

    stop: int = -1
    name: str = "bright"
    labels: tuple[str, ...] = ("dark", "bright")
    confidence_threshold: float = 0.0

    def __call__(self, images: np.ndarray) -> Any:
        if images.shape[1:] == (48, 48):
            bright = images.mean(axis=(1, 2), dtype=np.float32) / 255
            return np.stack([1 - bright, bright], axis=1)
        if images[0, 0, 0] == self.stop:
            time.sleep(600)
        return [Face((2, 2, 12, 12))]


def test_predict_resumes_after_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for k in range(70):
        (tmp_path / f"in/{k % 2}").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / f"in/{k % 2}/{k // 2}.png"), np.full((20, 20, 3), k, np.uint8))
    (tmp_path / "in/0/3.png").write_bytes(b"not an image")
    words = ["predict", str(tmp_path / "in"), "--jsonl", str(tmp_path / "a.jsonl"), "--save", str(tmp_path / "a")]
    part = tmp_path / "a.jsonl.mien.part"
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
    assert main.app(again, result_action="return_value") == 1  # an image failed earlier
    output = capsys.readouterr()
    assert f"skipped {before} images done before" in output.out
    assert "3.png" in output.err
    uninterrupted = [word.replace(str(tmp_path / "a"), str(tmp_path / "b")) for word in words]
    main.app(uninterrupted, result_action="return_value")
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert len({json.loads(line)["name"] for line in lines}) == len(lines) == 70
    assert lines == (tmp_path / "b.jsonl").read_text().splitlines()
    assert {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "b").iterdir()
    }
    assert not part.exists()
    main.app(again, result_action="return_value")
    assert (tmp_path / "a.jsonl").read_text().splitlines() == lines


def test_predict_resumes_only_json_lines(tmp_path: Path) -> None:
    for more in ([], ["--jsonl", str(tmp_path / "a"), "--csv", str(tmp_path / "b")]):
        with pytest.raises(ConfigError, match="--jsonl"):
            main.app(["predict", str(PORTRAIT), "--resume", *more], result_action="return_value")


def test_predict_lists_failures_and_retries_them_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mien, "load", lambda **_: Pipeline(Bright(), Bright()))
    folder, lines, failures = tmp_path / "in", tmp_path / "a.jsonl", tmp_path / "failures.jsonl"
    folder.mkdir()
    for k in range(4):
        cv2.imwrite(str(folder / f"{k}.png"), np.full((20, 20, 3), k, np.uint8))
    for name in ("1.png", "3.png"):
        (folder / name).write_bytes(b"not an image")
    words = ["predict", str(folder), "--jsonl", str(lines), "--failures", str(failures)]

    def listed(path: Path) -> list[str]:
        return [Path(json.loads(line)["name"]).name for line in path.read_text().splitlines()]

    assert main.app(words, result_action="return_value") == 1
    assert listed(failures) == ["1.png", "3.png"]
    assert "not a" in json.loads(failures.read_text().splitlines()[0])["reason"]
    cv2.imwrite(str(folder / "3.png"), np.full((20, 20, 3), 3, np.uint8))
    assert main.app([*words, "--resume"], result_action="return_value") == 1
    assert listed(failures) == ["1.png", "3.png"] and listed(lines) == ["0.png", "1.png", "2.png", "3.png"]
    capsys.readouterr()
    assert main.app([*words, "--resume", "--retry"], result_action="return_value") == 1
    output = capsys.readouterr()
    assert "skipped 2 images done before" in output.out and output.err.count("not read") == 1
    assert listed(failures) == ["1.png"] and listed(lines) == ["0.png", "2.png", "1.png", "3.png"]
    (folder / "1.png").unlink()
    cv2.imwrite(str(folder / "1.png"), np.full((20, 20, 3), 1, np.uint8))
    assert main.app([*words, "--resume", "--retry"], result_action="return_value") == 0
    assert failures.read_text() == ""
    with pytest.raises(ConfigError, match="--resume"):
        main.app([*words, "--retry"], result_action="return_value")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "a.jpg", "--csv", "a.jpg"], "would be overwritten"),
        (["predict", "a.jpg", "--jsonl", "x", "--csv", "./x"], "named for two outputs"),
        (["video", "a.jpg", "--save", "a.jpg.mp4", "--csv", "a.jpg"], "would be overwritten"),
        (["video", "a.mp4", "--save", "a.mp4"], "would be overwritten"),
        (["predict", "a.jpg", "--csv", "link.jpg"], "would be overwritten"),
        (["live", "a.mp4", "--headless", "--save", "a.mp4"], "would be overwritten"),
    ],
)
def test_output_never_replaces_input_or_other_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "a.mp4"):
        Path(name).write_bytes(PORTRAIT.read_bytes())
    Path("link.jpg").symlink_to("a.jpg")
    with pytest.raises(ConfigError, match=message):
        main.app(words, result_action="return_value")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "a.mp4", "link.jpg"]
    assert Path("a.mp4").read_bytes() == PORTRAIT.read_bytes()


def test_markup_in_names_is_not_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mien, "load", lambda **_: Pipeline(Bright(), Bright(labels=("[dim]", "[/b]"))))
    Path("[red]x[").mkdir()
    Path("[red]x[/foo].jpg").write_bytes(b"not an image")
    cv2.imwrite("[red]x[/[bold]a.png", np.full((20, 20, 3), 9, np.uint8))
    words = ["predict", "[red]x[/foo].jpg", "[red]x[/[bold]a.png", "--save", "[red]x[/out]"]
    assert main.app(words, result_action="return_value") == 1
    output = capsys.readouterr()
    assert all(text in output.out for text in ("[bold]a.png", "[dim]", "annotated images are in [red]x[/out]"))
    assert "not read: [red]x[/foo].jpg: " in output.err


def stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_interrupted_predict_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mien.runner.images", stop)
    done = run("predict", PORTRAIT)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "stopped\n")


def test_interrupted_train_says_how_to_continue(kaggle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr("mien.train.trainer.Trainer.fit", stop)
    done = run("train", "--data", kaggle, "--out", tmp_path / "run")
    assert (done.returncode, done.stderr) == (130, "stopped; the same command with --resume continues\n")


def test_missing_module_names_its_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError(name="torch")

    monkeypatch.setattr(main, "app", missing)
    with pytest.raises(SystemExit, match="2"):
        main.main()
    assert capsys.readouterr().err == "error: this command needs torch: pip install 'mien[train]'\n"


def test_each_imported_module_is_in_the_plain_install_or_has_an_extra() -> None:
    plain = {"IPython", "PIL", "av", "cv2", "cyclopts", "numpy", "onnxruntime", "rich"}  # in IPython it is there
    imported = set()
    for path in Path(mien.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
    assert imported - set(sys.stdlib_module_names) - {"mien"} - plain - set(main._EXTRAS) == set()


def test_train_without_torch_and_matplotlib_names_the_extra_with_both() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['matplotlib'] = None\n"
        "from mien.cli.main import main; sys.argv = ['mien', 'train', '--data', 'x']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'mien[train]'" in done.stderr


def test_before_after_table_does_not_render_markup() -> None:
    reason = "the model knows [bold]calm[/foo]"
    table = tables.before_after({"[b]": reason, "[red]x[/foo]/mine.onnx": reason})
    screen = Console(width=120, file=StringIO(), force_terminal=True)
    table.print(screen)
    shown = screen.file.getvalue()
    assert all(text in shown for text in ("[b]", "[red]x[/foo]/mine.onnx", reason))


def test_predict_imports_neither_torch_nor_matplotlib() -> None:
    code = "import sys, mien; mien.load(); print([m for m in ('torch', 'matplotlib', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_data_info_and_montage_accept_class_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for level, label in enumerate(("calm", "tense")):
        (tmp_path / "set" / label).mkdir(parents=True)
        for k in range(12):
            cv2.imwrite(str(tmp_path / "set" / label / f"{k}.png"), np.full((48, 48), 100 * level + k, np.uint8))
    assert main.app(["data", "info", str(tmp_path / "set")], result_action="return_value") == 0
    text = capsys.readouterr().out
    assert "tense" in text and "24 images, 2 classes" in text
    words = ["data", "montage", str(tmp_path / "set"), "--out", str(tmp_path / "m.png")]
    assert main.app(words, result_action="return_value") == 0
    assert (tmp_path / "m.png").stat().st_size > 1000


def test_data_commands_take_a_kind_before_the_path(kaggle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main.app(["data", "info", f"folder:{kaggle}"], result_action="return_value")
    named = capsys.readouterr().out
    main.app(["data", "info", str(kaggle), "--kind", "folder"], result_action="return_value")
    assert capsys.readouterr().out.splitlines()[:-1] == named.splitlines()[:-1]
    assert "fear" in named  # folders have all their classes, FER2013 five of them


def test_data_info_and_montage_accept_fer2013(kaggle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main.app(["data", "info", str(kaggle)], result_action="return_value")
    text = capsys.readouterr().out
    assert "standard deviation" in text
    assert "surprise" in text
    main.app(["data", "montage", str(kaggle), "--out", str(tmp_path / "m.png")], result_action="return_value")
    assert cv2.imread(str(tmp_path / "m.png")) is not None


@pytest.mark.filterwarnings("ignore")
def test_train_then_evaluate(kaggle: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    recipe = "name: tiny\nwidth: 0.125\nbatch: 15\nstages:\n  - {epochs: 2, size: 24}\n"
    (tmp_path / "tiny.yaml").write_text(recipe)
    done = run("train", "--data", kaggle, "--recipe", tmp_path / "tiny.yaml", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    names = {"log.csv", "curves.png", "config.json", "tiny.onnx", "tiny-fp32.onnx", "best.safetensors", "index.html"}
    assert names <= {path.name for path in (tmp_path / "run").iterdir()}
    lines = done.stdout.splitlines()
    assert (
        lines[0].startswith("epoch 1/2  lr ") and lines[0].endswith(" s  best") and lines[1].startswith("epoch 2/2  ")
    )
    assert sum(line.startswith("epoch ") for line in lines) == 2 and lines[-1].startswith("2 epochs, best ")
    assert "Epoch " in done.stdout and " is kept: " in done.stdout
    assert "most confident mistakes" in (tmp_path / "run" / "index.html").read_text("utf-8")
    done = run("evaluate", "--data", kaggle, "--model", tmp_path / "run/tiny.onnx", "--json", tmp_path / "e.json",
               "--plots", tmp_path / "p")  # fmt: skip
    assert done.returncode == 0, done.stderr
    views = json.loads((tmp_path / "e.json").read_text())["views"]
    assert views["fer2013"]["n"] == 10
    assert (tmp_path / "p" / "confusion-fer2013.png").exists()


def test_predict_imports_neither_video_nor_progress_bar(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 40, 3), 9, np.uint8))
    code = f"""import sys
sys.argv[1:] = ["predict", {str(tmp_path / "a.png")!r}]
from mien.cli import main
try:
    main.main()
except SystemExit as end:
    assert end.code == 0
print(*sorted({{"av", "http.client", "rich.progress", "PIL.ImageFont", "mien.cli.train"}} & set(sys.modules)))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "", done.stdout
