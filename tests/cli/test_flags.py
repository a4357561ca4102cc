"""Every command: one flag has one meaning, the flags that make sense, examples that parse, and former names."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mien.cli import examples, flags, main
from mien.cli.options import MODELS
from mien.faces import models
from mien.faces.onnx import ASSETS

COMMANDS = dict(flags.commands(main.app))
FLAGS = flags.flags(main.app)
DETECTING = {"predict", "video", "live", "personalize", "batch", "serve", "explain"}


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mien", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_has_one_meaning_in_all_commands(flag: str) -> None:
    texts = [flags.meaning(argument).rstrip(".") for argument in FLAGS[flag].values()]
    first = min(texts, key=len)
    if flag == "--out":
        assert {text.partition(":")[0] for text in texts} == {"Where the result goes"}
    else:
        assert all(text.startswith(first) for text in texts), texts
    kinds = {str(argument.hint).replace("<class 'bool'>", "bool") for argument in FLAGS[flag].values()}
    assert len(kinds) == 1 or flag in ("--out", "--model", "--seed", "--split", "--data"), kinds
    assert ("bool" in kinds) == (kinds == {"bool"})  # a switch here is no value there


@pytest.mark.parametrize(
    ("names", "commands"),
    [
        (("--quiet",), set(COMMANDS)),
        (("--detector", "--model", "--min-face", "--min-score"), DETECTING),
        (
            ("--save", "--jsonl", "--csv", "--parquet", "--crops", "--failures", "--profile"),
            {"predict", "video", "live"},
        ),
        (("--timeline", "--smoothing"), {"video", "live"}),
        (("--quick-search",), {"predict", "batch", "serve"}),
        (("--data", "--votes", "--kind"), {"train", "evaluate", "report"}),
        (("--votes", "--kind"), {"data info", "data audit", "data montage"}),
        (("--json",), {"evaluate", "data audit"}),
    ],
)
def test_flags_are_everywhere_where_they_make_sense(names: tuple[str, ...], commands: set[str]) -> None:
    for name in names:
        assert commands <= set(FLAGS[name]), name


def test_one_name_is_not_used_for_two_outputs() -> None:
    assert set(FLAGS["--json"]) == {"evaluate", "data audit"}
    assert set(FLAGS["--crops"]) == {"predict", "video", "live"}
    assert set(FLAGS["--cropped"]) == {"batch"}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_that_parse(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    main.app([*command.split(), "--help"], result_action="return_value")
    shown = capsys.readouterr().out
    lines = examples.EXAMPLES[command]
    assert "Examples" in shown and all(line in shown for line in lines)
    for line in lines:
        words = [word for word in shlex.split(line) if not word.startswith("MIEN_TOKEN=")]
        assert words[0] == "mien"
        parsed = main.app.parse_args(main.current_words(words[1:]), exit_on_error=False, print_error=False)
        assert parsed[0].__name__ == words[2 if words[1] == "data" else 1].replace("-", "_") or command == "personalize"
    assert capsys.readouterr().err == ""


def test_every_example_belongs_to_a_command() -> None:
    assert set(examples.EXAMPLES) == {"", "data", *COMMANDS}


def test_help_of_model_names_the_shipped_models(capsys: pytest.CaptureFixture[str]) -> None:
    shipped = {path.stem for path in ASSETS.glob("*.onnx") if not path.name.startswith(("yunet", "mtcnn_"))}
    assert set(MODELS) == shipped and MODELS[0] == models.DEFAULT
    main.app(["predict", "--help"], result_action="return_value")
    shown = " ".join(capsys.readouterr().out.replace("│", "").split())
    assert all(name in shown for name in MODELS)


@pytest.mark.parametrize(
    ("words", "former", "current"),
    [
        (["predict", "a.jpg", "--json", "x.jsonl"], "--json", "--jsonl"),
        (["video", "a.mp4", "--json=x.jsonl"], "--json", "--jsonl"),
        (["live", "--json", "x.jsonl"], "--json", "--jsonl"),
        (["batch", "in", "--out", "o", "--crops"], "--crops", "--cropped"),
    ],
)
def test_renamed_flags_work_with_one_note(
    words: list[str], former: str, current: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = main.current_words(words)
    assert [word.replace(current, former) for word in found] == words and found != words
    assert capsys.readouterr().err.splitlines() == [
        f"note: {former} is now called {current}; the old name works in this version only"
    ]
    main.app.parse_args(found, exit_on_error=False, print_error=False)


def test_flags_that_kept_their_name_are_not_renamed(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "--data", "x", "--json", "y"]
    assert main.current_words(words) == words
    assert main.current_words(["predict", "x", "--crops", "y"]) == ["predict", "x", "--crops", "y"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["photo.jpg"], "photo.jpg is not a command; did you mean: mien predict photo.jpg"),
        (["my photo.png", "--csv", "x"], "did you mean: mien predict 'my photo.png' --csv x"),
        (["talk.MP4"], "did you mean: mien video talk.MP4"),
        (["."], "did you mean: mien predict ."),
        (["predikt", "photo.jpg"], "Unknown command"),
        (["predict"], "--sources"),
        (["predict", "a.jpg", "--min-fase", "3"], "Did you mean --min-face?"),
    ],
)
def test_mistakes_end_in_one_line_with_a_hint_and_exit_code_2(
    words: list[str], hint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mien", *words])
    with pytest.raises(SystemExit, match="2"):
        main.main()
    output = capsys.readouterr()
    (line,) = output.err.splitlines()
    assert (
        line.startswith("error: ") and hint in line.replace('"', "") and output.out == ""
    )  # versions quote differently


def test_version_has_a_short_flag() -> None:
    assert run("-V").stdout == run("--version").stdout != ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_installed_in_the_home_folder(shell: str, tmp_path: Path) -> None:
    done = run("--install-completion", "--shell", shell, HOME=str(tmp_path), ZDOTDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    scripts = [path for path in tmp_path.rglob("*") if path.is_file() and "mien" in path.name]
    assert len(scripts) == 1
    text = scripts[0].read_text("utf-8")
    assert all(word in text for word in ("predict", "soft-labels", "min-face"))


def test_table_of_flags_lists_what_commands_share() -> None:
    lines = flags.table(main.app).splitlines()
    rows = {line.split("|")[1].strip(" `"): line for line in lines[2:]}
    assert set(rows) == {flag for flag, places in FLAGS.items() if len(places) > 1}
    assert rows["--quiet"].endswith("| all |") and "`predict`, `video`, `live`" in rows["--jsonl"]
    assert "Where the result goes. |" in rows["--out"]
